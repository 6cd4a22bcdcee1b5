"""ONNX's Attention and RotaryEmbedding, beside its own reference and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import model_of, normal, refused, runtime, same_as

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node


def reference(model, feeds):
    names = [value.name for value in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))


def kernels(graph, feeds):
    return [name for _, name in graph.kernels(feeds)]


def rows_of(batch, rows, keys, heads, of_keys, size, of_values):
    return {
        "q": normal(batch, rows, heads * size, seed=1),
        "k": normal(batch, keys, of_keys * size, seed=2),
        "v": normal(batch, keys, of_keys * of_values, seed=3),
    }


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 3), rows=st.integers(1, 5), keys=st.integers(1, 6),
    of_keys=st.integers(1, 3), times=st.integers(1, 3), size=st.integers(1, 9),
    of_values=st.integers(1, 9), apart=st.booleans(), causal=st.booleans(),
    mask=st.sampled_from(["", "bool", "float", "whole"]), past=st.integers(0, 3),
    cap=st.sampled_from([0.0, 2.0]), scale=st.sampled_from([None, 0.3]),
    mode=st.sampled_from([None, 0, 1, 2, 3]), opset=st.sampled_from([23, 24]),
)  # fmt: skip
def test_attention_is_what_the_reference_gives(
    batch, rows, keys, of_keys, times, size, of_values, apart, causal, mask, past, cap, scale,
    mode, opset,
):  # fmt: skip
    assume(not (cap and mode == 0))  # there the reference has the capped scores
    heads = of_keys * times
    feeds = rows_of(batch, rows, keys, heads, of_keys, size, of_values)
    attributes = {"is_causal": int(causal), "softcap": cap}
    if apart:
        for name, count in (("q", heads), ("k", of_keys), ("v", of_keys)):
            split = feeds[name].reshape(batch, feeds[name].shape[1], count, -1)
            feeds[name] = np.ascontiguousarray(split.transpose(0, 2, 1, 3))
    else:
        attributes |= {"q_num_heads": heads, "kv_num_heads": of_keys}
    if scale is not None:
        attributes["scale"] = scale
    inputs, outputs = ["q", "k", "v", "", "", ""], {"y": 1}
    total = keys + past
    rng = np.random.default_rng(4)
    if mask:
        shape = (batch, heads, rows, total) if mask == "whole" else (rows, total)
        feeds["m"] = rng.random(shape) < 0.6 if mask != "float" else normal(*shape, seed=5)
        inputs[3] = "m"
    if past:
        feeds |= {
            "pk": normal(batch, of_keys, past, size, seed=6),
            "pv": normal(batch, of_keys, past, of_values, seed=7),
        }
        inputs[4:] = ["pk", "pv"]
        outputs |= {"nk": 1, "nv": 1}
    if mode is not None:
        attributes["qk_matmul_output_mode"] = mode
        outputs["s"] = 1
    names = ["y", "nk" if past else "", "nv" if past else "", "s" if mode is not None else ""]
    while not names[-1]:
        names.pop()
    while not inputs[-1]:
        inputs.pop()
    model = model_of([node("Attention", inputs, names, **attributes)], feeds, outputs, opset=opset)
    same_as(reference(model, feeds), model, feeds)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("of_keys", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_rows_become_one_step_also_where_keys_are_shared(causal, of_keys, masked):
    feeds = rows_of(2, 7, 7, 4, of_keys, 8, 8)
    if masked:
        mask = np.random.default_rng(0).random((2, 1, 7, 7)) < 0.6
        mask[:, :, 2] = False
        feeds["m"] = mask
    attention = node(
        "Attention", list(feeds), ["y"], q_num_heads=4, kv_num_heads=of_keys, is_causal=causal
    )
    dims = {"q": ["b", "s", 32], "k": ["b", "t", 8 * of_keys], "v": ["b", "t", 8 * of_keys]}
    dims["m"] = ["b", 1, "s", "t"]
    model = model_of([attention], feeds, {"y": 1}, opset=24, dims=dims)
    wanted = reference(model, feeds)
    graph = same_as(wanted, model, feeds)
    assert "attention" in kernels(graph, feeds)
    assert not {"softmax", "matmul"}.intersection(kernels(graph, feeds))
    if masked:
        assert not wanted["y"][:, 2].any()
    whole = graph.run(feeds, ["y"])["y"]  # step by step
    np.testing.assert_allclose(whole, wanted["y"], rtol=1e-5, atol=1e-5)
    # What is written is read again, and is the same.
    again = read_graph(graph.to_onnx())
    np.testing.assert_allclose(again.run(feeds)["y"], wanted["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("past", [False, True])
def test_attention_is_what_onnx_runtime_gives(opset, past):
    feeds = rows_of(2, 5, 5, 4, 2, 8, 8)
    inputs, names, outputs = ["q", "k", "v"], ["y"], {"y": 1}
    if past:
        feeds |= {"pk": normal(2, 2, 3, 8, seed=5), "pv": normal(2, 2, 3, 8, seed=6)}
        inputs += ["", "pk", "pv"]
        names += ["nk", "nv"]
        outputs |= {"nk": 1, "nv": 1}
    attention = node("Attention", inputs, names, q_num_heads=4, kv_num_heads=2, is_causal=1)
    model = model_of([attention], feeds, outputs, opset=opset)
    same_as(runtime(model, feeds), model, feeds)


def test_lengths_of_keys_hide_what_is_behind_them():
    feeds = rows_of(3, 4, 6, 2, 2, 8, 8) | {"n": np.array([6, 4, 2])}
    for causal in (0, 1):
        attention = node(
            "Attention", ["q", "k", "v", "", "", "", "n"], ["y"], q_num_heads=2, kv_num_heads=2,
            is_causal=causal,
        )  # fmt: skip
        model = model_of([attention], feeds, {"y": 1}, opset=24)
        same_as(reference(model, feeds), model, feeds)
    # A mask may end where the longest sequence does.
    feeds |= {"n": np.array([5, 4, 2]), "m": np.ones((4, 5), bool)}
    attention = node(
        "Attention", ["q", "k", "v", "m", "", "", "n"], ["y"], q_num_heads=2, kv_num_heads=2
    )
    model = model_of([attention], feeds, {"y": 1}, opset=24)
    same_as(reference(model, feeds), model, feeds)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3), rows=st.integers(1, 5), heads=st.integers(1, 4),
    half=st.integers(1, 4), rest=st.integers(0, 3), interleaved=st.booleans(),
    apart=st.booleans(), placed=st.booleans(),
)  # fmt: skip
def test_rotary_embedding_is_what_the_reference_gives(
    batch, rows, heads, half, rest, interleaved, apart, placed
):
    size = 2 * half + rest
    shape = (batch, heads, rows, size) if apart else (batch, rows, heads * size)
    angles = (7,) if placed else (batch, rows)
    feeds = {
        "x": normal(*shape), "cos": normal(*angles, half, seed=1),
        "sin": normal(*angles, half, seed=2),
    }  # fmt: skip
    if placed:
        feeds["places"] = np.random.default_rng(0).integers(0, 7, (batch, rows))
    attributes = {"interleaved": int(interleaved)} | ({} if apart else {"num_heads": heads})
    if rest:
        attributes["rotary_embedding_dim"] = 2 * half
    rotary = node("RotaryEmbedding", list(feeds), ["y"], **attributes)
    model = model_of([rotary], feeds, {"y": 1}, opset=23)
    same_as(reference(model, feeds), model, feeds)


@settings(deadline=None, max_examples=80)
@given(
    attributes=st.fixed_dictionaries(
        {},
        optional={
            "q_num_heads": st.integers(-1, 5), "kv_num_heads": st.integers(-1, 5),
            "is_causal": st.integers(-1, 2), "softcap": st.sampled_from([-1.0, float("nan"), 1.0]),
            "scale": st.sampled_from([0.0, float("inf"), 2.0]),
            "qk_matmul_output_mode": st.integers(-2, 5), "softmax_precision": st.integers(-1, 20),
            "num_heads": st.integers(0, 3),
        },
    ),
    shapes=st.tuples(
        *[st.lists(st.integers(0, 4), min_size=0, max_size=5).map(tuple) for _ in range(4)]
    ),
    used=st.integers(0, 7),
)  # fmt: skip
def test_what_is_malformed_is_refused_by_name(attributes, shapes, used):
    feeds = {name: np.zeros(shape, np.float32) for name, shape in zip("qkvm", shapes, strict=True)}
    inputs = ["q", "k", "v", "m", "k", "v", "q"][:used]
    attention = node("Attention", inputs, ["y"], name="attend", **attributes)
    model = model_of([attention], feeds, {"y": 1}, opset=24)
    said = refused(model, feeds)
    assert said is None or "attend" in said or "input" in said
