"""Attention as exporters spell it, wherever heads come from: one step, the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import qcore as qc
from runtime_models import check, normal

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node
BATCH, ROWS, HEADS, SIZE = 2, 5, 4, 8
WIDTH = HEADS * SIZE
CORE = [
    node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]), node("MatMul", ["q", "kt"], ["s"]),
    node("Mul", ["s", "root"], ["d"]), node("Add", ["d", "mask"], ["m"]),
    node("Softmax", ["m"], ["w"], axis=-1), node("MatMul", ["w", "v"], ["o"]),
]  # fmt: skip
ROOT = np.float32(SIZE**-0.5)
MASK = np.triu(np.full((ROWS, ROWS), -np.inf, np.float32), 1)


def steps(graph, feeds):
    return [name for _, name in graph.kernels(feeds)]


def heads(batch=BATCH, rows=ROWS, count=HEADS, seed=0):
    return normal(batch, count, rows, SIZE, seed=seed)


def named(feeds, axis=2):
    return {n: ["b" if at == 0 else "t" if at == axis else d for at, d in enumerate(a.shape)]
            for n, a in feeds.items()}  # fmt: skip


@pytest.mark.parametrize("end", ["heads", "turned", "tokens first"])
def test_heads_that_come_as_they_are(end):
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    ends = {
        "heads": [node("Relu", ["o"], ["y"])],
        "turned": [node("Transpose", ["o"], ["t"], perm=[0, 2, 1, 3]),
                   node("Reshape", ["t", "join"], ["y"])],
        "tokens first": [node("Transpose", ["o"], ["t"], perm=[2, 0, 1, 3]),
                         node("Relu", ["t"], ["y"])],
    }  # fmt: skip
    graph = check(
        CORE + ends[end], feeds, dims=named(feeds), root=ROOT, mask=MASK,
        join=np.int64([0, 0, WIDTH]),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1
    assert "softmax" not in steps(graph, feeds)
    small = qc.compress(graph, {name: np.repeat(a, 4, 0) for name, a in feeds.items()}, bits=8)
    found, wanted = small.run(feeds)["y"], graph.run(feeds)["y"]
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    assert {"attention", "attention int8"}.intersection(steps(small, feeds))


def test_heads_that_are_turned_by_angles():
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    turn = [
        each for name in "qk" for each in (
            node("Split", [name], [f"{name}a", f"{name}b"], axis=-1, num_outputs=2),
            node("Neg", [f"{name}b"], [f"{name}n"]),
            node("Concat", [f"{name}n", f"{name}a"], [f"{name}r"], axis=-1),
            node("Mul", [f"{name}r", "sin"], [f"{name}s"]),
            node("Mul", [name, "cos"], [f"{name}c"]),
            node("Add", [f"{name}c", f"{name}s"], [f"{name}2"]),
        )
    ]  # fmt: skip
    core = [
        node("Transpose", ["k2"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q2", "kt"], ["s"]), *CORE[2:],
        node("Transpose", ["o"], ["t"], perm=[0, 2, 1, 3]), node("Reshape", ["t", "join"], ["y"]),
    ]  # fmt: skip
    graph = check(
        turn + core, feeds, dims={name: ["b", HEADS, ROWS, SIZE] for name in feeds}, root=ROOT,
        mask=MASK, sin=np.sin(normal(ROWS, SIZE)), cos=np.cos(normal(ROWS, SIZE)),
        join=np.int64([0, 0, WIDTH]),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1


def test_heads_that_were_packed_together():
    feeds = {"x": normal(BATCH, ROWS, 3 * WIDTH)}
    packed = [
        node("Reshape", ["x", "apart"], ["x5"]),
        node("Transpose", ["x5"], ["x0"], perm=[2, 0, 3, 1, 4]),
        *(node("Gather", ["x0", f"i{at}"], [name], axis=0) for at, name in enumerate("qkv")),
    ]
    ends = [
        node("Transpose", ["o"], ["t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "join"], ["y"]),
    ]
    graph = check(
        packed + CORE + ends, feeds, dims={"x": ["b", ROWS, 3 * WIDTH]}, root=ROOT, mask=MASK,
        apart=np.int64([0, 0, 3, HEADS, SIZE]), join=np.int64([0, 0, WIDTH]),
        i0=np.int64(0), i1=np.int64(1), i2=np.int64(2),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1


def test_keys_behind_those_of_the_past():
    feeds = {name: heads(rows=1, seed=at) for at, name in enumerate("qab")}
    feeds |= {"pk": heads(rows=4, seed=4), "pv": heads(rows=4, seed=5)}
    past = [node("Concat", ["pk", "a"], ["k"], axis=2), node("Concat", ["pv", "b"], ["v"], axis=2)]
    dims = {name: ["b", HEADS, "p" if name in ("pk", "pv") else 1, SIZE] for name in feeds}
    plain = [*CORE[:3], node("Softmax", ["d"], ["w"], axis=-1), CORE[5]]
    ends = [node("Transpose", ["o"], ["y"], perm=[0, 2, 1, 3])]
    graph = check(past + plain + ends, feeds, dims=dims, root=ROOT)
    assert steps(graph, feeds).count("attention") == 1


@pytest.mark.parametrize("one", ["q", "k", "v", "kv"])
def test_one_batch_for_all_is_broadcast_as_ever(one):
    feeds = {
        name: heads(batch=1 if name in one else BATCH, seed=at) for at, name in enumerate("qkv")
    }
    check([*CORE[:-1], node("MatMul", ["w", "v"], ["y"])], feeds, root=ROOT, mask=MASK)


def test_rows_that_are_nan_become_zero_where_the_graph_says_so():
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    mask = MASK.copy()
    mask[2] = -np.inf
    guard = [
        *CORE[:5], node("IsNaN", ["w"], ["n"]), node("Where", ["n", "zero", "w"], ["g"]),
        node("MatMul", ["g", "v"], ["y"]),
    ]  # fmt: skip
    graph = check(guard, feeds, dims=named(feeds), root=ROOT, mask=mask, zero=np.float32(0))
    assert steps(graph, feeds).count("attention") == 1
    assert not graph.run(feeds)["y"][:, :, 2].any()


def test_a_factor_that_follows_from_a_shape():
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    scaled = [
        node("Shape", ["q"], ["dims"]), node("Slice", ["dims", "last", "end"], ["size"]),
        node("Cast", ["size"], ["wide"], to=1), node("Sqrt", ["wide"], ["long"]),
        node("Div", ["one", "long"], ["root"]), *CORE[:-1],
        node("MatMul", ["w", "v"], ["y"]),
    ]  # fmt: skip
    graph = check(
        scaled, feeds, dims={name: ["b", HEADS, "t", SIZE] for name in feeds}, mask=MASK,
        last=np.int64([-1]), end=np.int64([np.iinfo(np.int64).max]), one=np.float32([1]),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1


@pytest.mark.parametrize("low", [-1e9, float(np.finfo(np.float32).min), -np.inf])
@pytest.mark.parametrize("hidden", [True, False])
def test_scores_that_a_mask_replaces(low, hidden):
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    rng = np.random.default_rng(0)
    feeds["hide"] = (rng.random((BATCH, 1, ROWS, ROWS)) < 0.5) & ~np.eye(ROWS, dtype=bool)
    if low > -np.inf:
        feeds["hide"][:, :, 2] = True  # then all are alike
    chosen = ["hide", "low", "d"]
    if not hidden:
        feeds["hide"], chosen = ~feeds["hide"], ["hide", "d", "low"]
    filled = [
        *CORE[:3],
        node("Where", chosen, ["m"]),
        CORE[4],
        node("MatMul", ["w", "v"], ["y"]),
    ]
    dims = named(feeds) | {"hide": ["b", 1, "t", "t"]}
    graph = check(filled, feeds, dims=dims, root=ROOT, low=np.float32(low))
    assert steps(graph, feeds).count("attention") == 1


def test_windows_whose_number_is_not_known():
    feeds = {"x": normal(6, ROWS, 3 * WIDTH)}
    parts = [
        node("Reshape", ["x", "apart"], ["x5"]),
        node("Transpose", ["x5"], ["x0"], perm=[2, 0, 3, 1, 4]),
        node("Split", ["x0"], ["q1", "k1", "v1"], axis=0, num_outputs=3),
        *(node("Squeeze", [f"{name}1", "first"], [name]) for name in "qkv"),
        *CORE[:-1],
        node("MatMul", ["w", "v"], ["y"]),
    ]
    graph = check(
        parts, feeds, dims={"x": ["b", ROWS, 3 * WIDTH]}, root=ROOT, mask=MASK,
        apart=np.int64([-1, ROWS, 3, HEADS, SIZE]), first=np.int64([0]),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1


def test_windows_that_come_from_one_value():
    feeds = {"x": normal(6, 2 * ROWS, WIDTH)}
    parts = [
        node("Reshape", ["x", "windows"], ["w0"]),
        *(node("MatMul", ["w0", f"w{name}"], [f"{name}0"]) for name in "qkv"),
        *(node("Reshape", [f"{name}0", "apart"], [f"{name}1"]) for name in "qkv"),
        *(node("Transpose", [f"{name}1"], [name], perm=[0, 2, 1, 3]) for name in "qkv"),
        *CORE[:-1],
        node("MatMul", ["w", "v"], ["o"]),
        node("Transpose", ["o"], ["t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "join"], ["y"]),
    ]
    weights = {f"w{name}": normal(WIDTH, WIDTH, seed=at) for at, name in enumerate("qkv")}
    graph = check(
        parts, feeds, dims={"x": ["b", 2 * ROWS, WIDTH]}, root=ROOT, mask=MASK, **weights,
        windows=np.int64([-1, ROWS, WIDTH]), apart=np.int64([-1, ROWS, HEADS, SIZE]),
        join=np.int64([-1, ROWS, WIDTH]),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1


def test_windows_of_two_values_may_be_broadcast():
    feeds = {"x": normal(6, ROWS, WIDTH), "z": normal(1, ROWS, WIDTH)}
    parts = [
        node("Reshape", ["x", "apart"], ["q1"]), node("Reshape", ["z", "apart"], ["k1"]),
        node("Transpose", ["q1"], ["q"], perm=[0, 2, 1, 3]),
        node("Transpose", ["k1"], ["k"], perm=[0, 2, 1, 3]),
        *CORE[:-1],
        node("MatMul", ["w", "k"], ["y"]),
    ]  # fmt: skip
    check(
        parts, feeds, dims={"x": ["b", ROWS, WIDTH], "z": ["c", ROWS, WIDTH]}, root=ROOT,
        mask=MASK, apart=np.int64([-1, ROWS, HEADS, SIZE]),
    )  # fmt: skip


def test_a_position_bias_beside_the_mask():
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    parts = [
        *CORE[:3], node("Add", ["bias", "d"], ["p"]), node("Add", ["p", "mask"], ["m"]),
        CORE[4], node("MatMul", ["w", "v"], ["y"]),
    ]  # fmt: skip
    graph = check(
        parts, feeds, dims=named(feeds), root=ROOT, mask=MASK, bias=normal(1, HEADS, ROWS, ROWS),
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1


def test_a_factor_of_scores_and_bias_together_is_no_factor_of_one_step():
    feeds = {name: heads(seed=at) for at, name in enumerate("qkv")}
    parts = [
        *CORE[:2], node("Add", ["s", "mask"], ["p"]), node("Mul", ["p", "root"], ["m"]),
        CORE[4], node("MatMul", ["w", "v"], ["y"]),
    ]  # fmt: skip
    check(parts, feeds, dims=named(feeds), root=ROOT, mask=normal(ROWS, ROWS))


def test_one_head_of_keys_for_all_queries():
    feeds = {"q": heads(), "k": heads(count=1, seed=1), "v": heads(count=1, seed=2)}
    graph = check(
        [*CORE[:-1], node("MatMul", ["w", "v"], ["y"])], feeds, dims=named(feeds), root=ROOT,
        mask=MASK,
    )  # fmt: skip
    assert steps(graph, feeds).count("attention") == 1
