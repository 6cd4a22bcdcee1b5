"""Ops of ONNX that are read as a few steps, and those that put or order elements."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import check, coded, model_of, normal, refused, runtime, same_as

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node


def reference(model, feeds):
    names = [value.name for value in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))


EQUATIONS = {
    "bhid,bhjd->bhij": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bhij,bhjd->bhid": [(2, 3, 4, 6), (2, 3, 6, 5)],
    "bqhd,bkhd->bhqk": [(2, 4, 3, 5), (2, 6, 3, 5)],
    "bij,jk->bik": [(2, 3, 4), (4, 5)],
    "bij,kj->bik": [(2, 3, 4), (5, 4)],
    "i,j->ij": [(3,), (4,)],
    "i,i->": [(4,), (4,)],
    "ij->ji": [(3, 4)],
    "ij->": [(3, 4)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 5)],
    "bchw,bkc->bkhw": [(2, 3, 4, 5), (2, 6, 3)],
    "abcd,abde->abce": [(2, 3, 4, 5), (2, 3, 5, 6)],
    "...ij,...jk->...ik": [(2, 3, 4), (2, 4, 5)],
    "...d,d->...d": [(2, 3, 4), (4,)],
    "xbc,xyc->byx": [(2, 3, 4), (2, 5, 4)],
    "ab,cd->acbd": [(2, 3), (4, 5)],
    "ij,ij": [(2, 3), (2, 3)],
    "abij,abij->ab": [(2, 3, 4, 5), (2, 3, 4, 5)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    shapes = EQUATIONS[equation]
    feeds = {f"x{at}": normal(*shape, seed=at) for at, shape in enumerate(shapes)}
    model = model_of([node("Einsum", list(feeds), ["y"], equation=equation)], feeds, {"y": 1})
    same_as(runtime(model, feeds), model, feeds)
    named = {name: [f"{name}{axis}" for axis in range(array.ndim)] for name, array in feeds.items()}
    check(node("Einsum", list(feeds), ["y"], equation=equation), feeds, dims=named)


@settings(deadline=None, max_examples=60)
@given(
    equation=st.text("ab.,->i", max_size=9), count=st.integers(1, 3),
    shape=st.lists(st.integers(0, 3), max_size=4).map(tuple),
)  # fmt: skip
def test_an_einsum_that_says_nothing_is_refused_by_name(equation, count, shape):
    feeds = {f"x{at}": np.zeros(shape, np.float32) for at in range(count)}
    einsum = node("Einsum", list(feeds), ["y"], name="sum", equation=equation)
    said = refused(model_of([einsum], feeds, {"y": 1}), feeds)
    assert said is None or "sum" in said


def test_attention_by_einsum_is_one_step():
    feeds = {name: normal(2, 5, 32, seed=at) for at, name in enumerate("qkv")}
    nodes = [node("Reshape", [name, "split"], [f"{name}4"]) for name in "qkv"]
    nodes += [
        node("Einsum", ["q4", "k4"], ["s"], equation="bqhd,bkhd->bhqk"),
        node("Softmax", ["s"], ["w"]),
        node("Einsum", ["w", "v4"], ["o"], equation="bhqk,bkhd->bqhd"),
        node("Reshape", ["o", "join"], ["y"]),
    ]
    graph = check(
        nodes, feeds, split=np.int64([0, 0, 4, 8]), join=np.int64([0, 0, 32]),
        dims={name: ["b", "s", 32] for name in "qkv"},
    )  # fmt: skip
    assert "attention" in [name for _, name in graph.kernels(feeds)]


@settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.integers(0, 4), min_size=2, max_size=4).map(tuple), k=st.integers(-5, 5),
    upper=st.integers(0, 1), kind=st.sampled_from(["float32", "int64", "bool"]),
)  # fmt: skip
def test_triangles(shape, k, upper, kind):
    x = (normal(*shape) * 9).astype(kind)
    number = {"float32": 1, "int64": 7, "bool": 9}[kind]
    model = model_of(
        [node("Trilu", ["x", "k"], ["y"], upper=upper)], {"x": x}, {"y": number}, k=np.int64(k)
    )
    found = read_graph(model).run({"x": x})["y"]
    np.testing.assert_array_equal(found, np.triu(x, k) if upper else np.tril(x, k))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple), axis=st.integers(-4, 3),
    exclusive=st.integers(0, 1), reverse=st.integers(0, 1),
    kind=st.sampled_from(["float32", "int32", "int64"]),
)  # fmt: skip
def test_sums_so_far(shape, axis, exclusive, reverse, kind):
    x = (normal(*shape) * 9).astype(kind)
    number = {"float32": 1, "int32": 6, "int64": 7}[kind]
    sums = node("CumSum", ["x", "a"], ["y"], name="sums", exclusive=exclusive, reverse=reverse)
    model = model_of([sums], {"x": x}, {"y": number}, a=np.int64(axis))
    if not -len(shape) <= axis < len(shape):
        assert "sums" in (refused(model, {"x": x}) or "")
        return
    wanted = np.flip(x, axis) if reverse else x
    wanted = np.cumsum(wanted.astype(np.float64), axis)
    if exclusive:
        wanted -= np.flip(x, axis) if reverse else x
    wanted = np.flip(wanted, axis) if reverse else wanted
    found = read_graph(model).run({"x": x})["y"]
    assert found.dtype == x.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), axis=st.integers(-3, 2),
    largest=st.integers(0, 1), k=st.integers(0, 7), coarse=st.booleans(), given_=st.booleans(),
)  # fmt: skip
def test_the_largest_few(shape, axis, largest, k, coarse, given_):
    x = np.round(normal(*shape)) if coarse else normal(*shape)
    top = node("TopK", ["x", "k"], ["v", "i"], name="top", axis=axis, largest=largest)
    feeds = {"x": x} | ({"k": np.int64([k])} if given_ else {})
    constants = {} if given_ else {"k": np.int64([k])}
    model = model_of([top], feeds, {"v": 1, "i": 7}, **constants)
    if not -len(shape) <= axis < len(shape) or k > shape[axis]:
        assert "top" in (refused(model, feeds) or "")
        return
    found = read_graph(model).run(feeds)
    order = np.argsort(-x if largest else x, axis, kind="stable")
    places = np.take(order, range(k), axis)
    np.testing.assert_array_equal(found["i"], places)
    np.testing.assert_array_equal(found["v"], np.take_along_axis(x, places, axis))


def test_the_largest_with_nan_and_alike():
    x = np.float32([3, np.nan, 3, -1])
    model = model_of(
        [node("TopK", ["x", "k"], ["v", "i"])], {"x": x}, {"v": 1, "i": 7}, k=np.int64([3])
    )
    found = read_graph(model).run({"x": x})
    np.testing.assert_array_equal(found["i"], [1, 0, 2])


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), depth=st.integers(1, 5),
    rows=st.integers(0, 4), reduction=st.sampled_from(["none", "add", "mul", "max", "min"]),
    seed=st.integers(0, 9), kind=st.sampled_from(["float32", "int64"]),
)  # fmt: skip
def test_slices_are_put_where_indices_say(shape, depth, rows, reduction, seed, kind):
    rng = np.random.default_rng(seed)
    x = (normal(*shape) * 5).astype(kind)
    used = min(depth, len(shape))
    places = np.stack([rng.integers(-n, n, rows) for n in shape[:used]], -1)
    if depth > len(shape):
        places = np.zeros((rows, depth), np.int64)
    new = (normal(rows, *shape[depth:], seed=seed) * 5).astype(kind)
    feeds = {"x": x, "i": places, "u": new}
    put = node("ScatterND", ["x", "i", "u"], ["y"], name="put", reduction=reduction)
    model = model_of([put], feeds, {"y": 1 if kind == "float32" else 7})
    if depth > len(shape):
        assert "put" in (refused(model, feeds) or "")
        return
    wanted = x.copy()
    how = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    for row, part in zip(map(tuple, places), new, strict=True):
        wanted[row] = part if reduction == "none" else how[reduction](wanted[row], part)
    np.testing.assert_allclose(read_graph(model).run(feeds)["y"], wanted, rtol=1e-6)
    if rows:
        feeds["i"] = places.copy()
        feeds["i"][0, 0] = shape[0]
        assert "put" in (refused(model, feeds) or "")


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), axis=st.integers(-1, 0),
    reduction=st.sampled_from(["none", "add", "mul", "max", "min"]), seed=st.integers(0, 9),
)  # fmt: skip
def test_elements_are_put_where_indices_say(shape, axis, reduction, seed):
    rng = np.random.default_rng(seed)
    part = tuple(int(rng.integers(0, n + 1)) for n in shape)
    places = np.argsort(rng.random(shape), axis)[tuple(slice(n) for n in part)].astype(np.int64)
    feeds = {"x": normal(*shape), "i": places, "u": normal(*part, seed=seed)}
    put = node("ScatterElements", ["x", "i", "u"], ["y"], axis=axis, reduction=reduction)
    model = model_of([put], feeds, {"y": 1})
    same_as(reference(model, feeds), model, feeds)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_marked_places(axis):
    feeds = {"i": np.array([[0, 3, -1], [2, 9, -4]])}
    hot = node("OneHot", ["i", "d", "v"], ["y"], axis=axis)
    check(hot, feeds, d=np.int64([4]), v=np.float32([-1, 2]))


@pytest.mark.parametrize(("op", "attributes"), [
    ("LRN", {"size": 3}), ("LRN", {"size": 5, "alpha": 0.1, "beta": 0.6, "bias": 2.0}),
    ("LpNormalization", {"p": 1, "axis": 1}), ("LpNormalization", {"axis": -1}),
    ("MeanVarianceNormalization", {}), ("Hardmax", {"axis": 1}), ("Mish", {}),
    ("Celu", {"alpha": 0.7}), ("ThresholdedRelu", {"alpha": 0.3}), ("Tan", {}),
    ("Shrink", {"bias": 0.2, "lambd": 0.4}),
])  # fmt: skip
def test_functions_and_norms(op, attributes):
    feeds = {"x": normal(2, 5, 3, 4)}
    check(node(op, ["x"], ["y"], **attributes), feeds, dims={"x": ["n", 5, "h", "w"]})


def test_what_is_no_number():
    feeds = {"x": np.float32([0, np.nan, np.inf, -np.inf, 3])}
    check(node("IsNaN", ["x"], ["y"]), feeds, {"y": 9})
    for attributes in ({}, {"detect_negative": 0}, {"detect_positive": 0},
                       {"detect_negative": 0, "detect_positive": 0}):  # fmt: skip
        check(node("IsInf", ["x"], ["y"], **attributes), feeds, {"y": 9})


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_slices_by_indices_of_several_axes(depth):
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(-n, n, (2, 3)) for n in (3, 4, 5)[:depth]], -1)
    feeds = {"x": normal(3, 4, 5), "i": places}
    check(node("GatherND", ["x", "i"], ["y"]), feeds, dims={"x": ["a", "b", "c"]})


# codes by scales that are computed -----------------------------------------------------------
@pytest.mark.parametrize("axis", [None, 0, 2])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_codes_by_scales_that_are_inputs(axis, kind):
    count = () if axis is None else ((2, 3, 4)[axis],)
    scale = np.asarray(np.abs(normal(*count, seed=3)) + 0.1, np.float32).reshape(count)
    zero = np.full(count, 3, kind)
    feeds = {"x": 3 * normal(2, 3, 4), "s": scale, "z": zero}
    attributes = {} if axis is None else {"axis": axis}
    there = node("QuantizeLinear", ["x", "s", "z"], ["c"], **attributes)
    back = node("DequantizeLinear", ["c", "s", "z"], ["y"], **attributes)
    check([there, back], feeds, {"c": 2 if kind == "uint8" else 3, "y": 1})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_weights_in_blocks_stay_codes_of_few_bits(axis, zeros, kind):
    signed = kind == "INT4"
    rng = np.random.default_rng(0)
    codes = rng.integers(-8 if signed else 0, 8 if signed else 16, (64, 64))
    steps = (np.abs(normal(64, 2, seed=1)) / 9 + 0.01).astype(np.float32)
    steps = steps if axis == 1 else np.ascontiguousarray(steps.T)
    points = rng.integers(-3 if signed else 5, 3 if signed else 11, steps.shape)
    inputs = ["w", "s", "z"][: 3 if zeros else 2]
    nodes = [
        node("DequantizeLinear", inputs, ["f"], axis=axis, block_size=32),
        node("MatMul", ["x", "f"], ["y"]),
    ]
    model = model_of(nodes, feeds := {"x": normal(3, 64)}, {"y": 1})
    number = getattr(onnx.TensorProto, kind)
    for name, values in (("w", codes), ("z", points)):
        tensor = onnx.helper.make_tensor(name, number, values.shape, values.reshape(-1).tolist())
        if name in inputs:
            model.graph.initializer.append(tensor)
    model.graph.initializer.append(onnx.numpy_helper.from_array(steps, "s"))
    graph = same_as(runtime(model, feeds), model, feeds, 1e-4)
    kept = [each for each in graph.constants.values() if getattr(each, "bits", 0) == 4]
    if signed or zeros:  # an unsigned code with no zero point is far from the middle
        assert len(kept) == 1
        assert graph.nbytes < 64 * 64


def test_products_of_codes_by_scales_that_are_inputs():
    a, a_scale = coded(normal(3, 4), False)
    b, b_scale = coded(normal(4, 5, seed=1), False)
    zero = np.array(0, np.int8)
    scales = {"as": np.array(a_scale), "bs": np.array(b_scale)}
    feeds = {"a": a, "b": b, **scales, "ys": np.array(0.05, np.float32)}
    product = node("QLinearMatMul", ["a", "as", "z", "b", "bs", "z", "ys", "z"], ["y"])
    check(product, feeds, {"y": 3}, z=zero)


@pytest.mark.parametrize("given_", [True, False])
def test_convolutions_of_integers_with_a_zero_point_for_each_output(given_):
    rng = np.random.default_rng(0)
    feeds = {"x": rng.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8)}
    others = {
        "w": rng.integers(0, 255, (3, 2, 3, 3)).astype(np.uint8),
        "wz": np.uint8([3, 100, 250]), "xz": np.array(7, np.uint8),
    }  # fmt: skip
    conv = node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], pads=[1, 1, 1, 1])
    everything = feeds | others
    wanted = reference(model_of([conv], everything, {"y": 6}), everything)
    if given_:
        same_as(wanted, model_of([conv], everything, {"y": 6}), everything)
    else:
        same_as(wanted, model_of([conv], feeds, {"y": 6}, **others), feeds)


@pytest.mark.parametrize("opset", [7, 8, 9, 10])
def test_old_opsets_are_raised(opset):
    feeds = {"x": normal(2, 3, 6, 6)}
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "g", "b", "m", "v"], ["c"]),
        node("Clip", ["c"], ["d"], min=-0.4, max=0.6),
        node("Pad", ["d"], ["e"], pads=[0, 0, 1, 0, 0, 0, 0, 1], value=0.5),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2]),
        node("ReduceMean", ["f"], ["h"], axes=[2, 3], keepdims=0),
        node("Dropout", ["h"], ["i"], ratio=0.5), node("Softmax", ["i"], ["y"], axis=1),
    ]  # fmt: skip
    model = model_of(
        nodes, feeds, {"y": 1}, opset=opset, w=normal(4, 3, 3, 3, seed=1), g=normal(4, seed=2),
        b=normal(4, seed=3), m=normal(4, seed=4), v=np.abs(normal(4, seed=5)),
    )  # fmt: skip
    model.ir_version = 4
    same_as(runtime(model, feeds), model, feeds)
