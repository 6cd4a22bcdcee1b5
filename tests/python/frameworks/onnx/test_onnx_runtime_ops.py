"""What ONNX Runtime's optimizer and its exporters leave, beside ONNX Runtime itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import check, coded, model_of, normal, own, refused

pytestmark = pytest.mark.filterwarnings("ignore")


X, GAIN, SHIFT = normal(2, 3, 8), normal(8, seed=1), normal(8, seed=2)


@pytest.mark.parametrize("op", ["FastGelu", "Gelu", "QuickGelu"])
def test_gelu_in_its_forms(op):
    check(own(op, ["x"], ["y"]), {"x": 3 * X})


def test_gelu_of_a_sum():
    check(own("BiasGelu", ["x", "b"], ["y"]), {"x": X}, b=SHIFT)
    check(own("FastGelu", ["x", "b"], ["y"]), {"x": X}, b=SHIFT)
    check(own("QuickGelu", ["x"], ["y"], alpha=0.7), {"x": X})


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("simple", [False, True])
def test_norms_of_a_sum(bias, total, simple):
    op = "SkipSimplifiedLayerNormalization" if simple else "SkipLayerNormalization"
    inputs = ["x", "skip", "g"] + ([] if simple else ["s"]) + (["b"] if bias else [])
    outputs = ["y", "", "", "sum"] if total else ["y"]
    constants = {name: value for name, value in (("g", GAIN), ("s", SHIFT)) if name in inputs}
    if bias:
        constants["b"] = normal(8, seed=3)
    feeds = {"x": X, "skip": normal(2, 3, 8, seed=4)}
    wanted = {"y": 1, "sum": 1} if total else {"y": 1}
    check(own(op, inputs, outputs, epsilon=1e-5), feeds, wanted, **constants)


def test_root_mean_square_norm():
    simple = own("SimplifiedLayerNormalization", ["x", "g"], ["y"], domain="", epsilon=1e-6)
    check(simple, {"x": X}, g=GAIN)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_embeddings_that_are_normalized(segments, placed, masked):
    rng = np.random.default_rng(0)
    feeds = {"t": rng.integers(0, 9, (2, 5)).astype(np.int32)}
    if segments:
        feeds["k"] = rng.integers(0, 2, (2, 5)).astype(np.int32)
    if masked:
        feeds["m"] = np.int32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    if placed:
        feeds["ids"] = np.broadcast_to(np.arange(5, dtype=np.int32), (2, 5)).copy()
    inputs = [
        "t", "k" if segments else "", "words", "places", "kinds" if segments else "", "g", "s",
        "m" if masked else "", "ids" if placed else "",
    ]  # fmt: skip
    while not inputs[-1]:
        inputs.pop()
    outputs = {"y": 1, "n": 6}
    constants = {"words": normal(9, 8), "places": normal(7, 8, seed=1), "g": GAIN, "s": SHIFT}
    if segments:
        constants["kinds"] = normal(2, 8, seed=3)
    embed = own("EmbedLayerNormalization", inputs, list(outputs))
    check(embed, feeds, outputs, **constants)


@settings(deadline=None, max_examples=30)
@given(a=st.booleans(), b=st.booleans(), alpha=st.sampled_from([1.0, 0.5]), constant=st.booleans())
def test_fused_products(a, b, alpha, constant):
    feeds = {"x": normal(2, 4, 3) if a else normal(2, 3, 4)}
    other = {"w": normal(5, 4, seed=1) if b else normal(4, 5, seed=1)}
    product = own("FusedMatMul", ["x", "w"], ["y"], transA=int(a), transB=int(b), alpha=alpha)
    if constant:
        check(product, feeds, **other)
    else:
        check(product, feeds | other)
    # Behind an op of which ONNX's own inference knows nothing.
    before = own("QuickGelu", ["x"], ["h"])
    after = own("FusedMatMul", ["h", "w"], ["y"], transA=int(a), transB=int(b), alpha=alpha)
    check([before, after], feeds, **other)


@pytest.mark.parametrize("activation", ["", "Relu", "LeakyRelu", "Clip", "Tanh", "HardSigmoid"])
@pytest.mark.parametrize("residual", [False, True])
def test_fused_convolutions_and_gemm(activation, residual):
    parameters = {"LeakyRelu": [0.1], "Clip": [-0.2, 0.3], "HardSigmoid": [0.3, 0.4]}
    attributes = {"pads": [1, 1, 1, 1]}
    if activation:
        attributes |= {
            "activation": activation, "activation_params": parameters.get(activation, [])
        }  # fmt: skip
        if activation not in parameters:
            del attributes["activation_params"]
    feeds = {"x": normal(2, 3, 6, 6)} | ({"z": normal(2, 4, 6, 6, seed=3)} if residual else {})
    inputs = ["x", "w", "b", "z"][: 4 if residual else 3]
    constants = {"w": normal(4, 3, 3, 3, seed=1), "b": normal(4, seed=2)}
    conv = own("FusedConv", inputs, ["y"], **attributes)
    if not (residual and activation in ("HardSigmoid", "Tanh")):
        check(conv, feeds, **constants)
    if activation and not residual and activation != "Clip":
        given_ = dict(zip(("activation_alpha", "activation_beta"),
                          parameters.get(activation, []), strict=False))  # fmt: skip
        gemm = own("FusedGemm", ["x", "w", "b"], ["y"], activation=activation, transB=1, **given_)
        check(gemm, {"x": normal(3, 4)}, w=normal(5, 4, seed=1), b=normal(5, seed=2))


# integers ------------------------------------------------------------------------------------
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_products_of_floats_that_become_integers(columns, bias):
    codes, scale = coded(normal(8, 6, seed=1), columns)
    inputs = ["x", "w", "ws", "", "b"][: 5 if bias else 3]
    zero = {"b": normal(6, seed=2)} if bias else {}
    check(own("DynamicQuantizeMatMul", inputs, ["y"]), {"x": X}, w=codes, ws=scale, **zero)


def test_products_of_integers_that_give_floats():
    codes, scale = coded(normal(8, 6, seed=1), True)
    first = own("DynamicQuantizeLinear", ["x"], ["c", "cs", "cz"], domain="")
    inputs = ["c", "w", "cs", "ws", "cz", "", "b"]
    second = own("MatMulIntegerToFloat", inputs, ["y"])
    check([first, second], {"x": X}, w=codes, ws=scale, b=normal(6, seed=2))


# what is refused -----------------------------------------------------------------------------
_OPS = [
    "Attention", "BiasGelu", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu",
    "FusedConv", "FusedGemm", "FusedMatMul", "Gelu", "GroupQueryAttention",
    "MatMulIntegerToFloat", "MultiHeadAttention", "QAttention", "QuickGelu", "RotaryEmbedding",
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    op=st.sampled_from(_OPS), used=st.integers(0, 9), made=st.integers(1, 4),
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=5).map(tuple), min_size=9, max_size=9),
    whole=st.lists(st.booleans(), min_size=9, max_size=9),
    attributes=st.dictionaries(
        st.sampled_from([
            "num_heads", "kv_num_heads", "epsilon", "alpha", "transA", "transB", "activation",
            "scale", "unidirectional", "qkv_hidden_sizes", "rotary_embedding_dim", "do_rotary",
            "mask_filter_value", "local_window_size",
        ]),
        st.sampled_from([-1, 0, 1, 2, 3, 0.5, float("nan"), "Relu", [1, 2, 3]]), max_size=4,
    ),
)  # fmt: skip
def test_what_is_malformed_ends_in_an_error_of_ours(op, used, made, shapes, whole, attributes):
    feeds = {
        f"i{at}": np.zeros(shape, np.int32 if kind else np.float32)
        for at, (shape, kind) in enumerate(zip(shapes, whole, strict=True))
    }
    names = [f"y{at}" for at in range(made)]
    broken = own(op, list(feeds)[:used], names, name="broken", **attributes)
    model = model_of([broken], feeds, {"y0": 1})
    said = refused(model, feeds)
    assert said is None or "broken" in said or "input" in said or "output" in said


def test_what_is_not_read_is_said_with_its_own():
    x = {"x": normal(2, 3, 8)}
    sink = own("GroupQueryAttention", ["x", "x", "x", "", "", "n", "t"], ["y"], name="deep",
                num_heads=2, kv_num_heads=2, smooth_softmax=1)  # fmt: skip
    feeds = x | {"n": np.int32([2, 2]), "t": np.array(3, np.int32)}
    with pytest.raises(qc.UnsupportedError, match=r"sink.*deep"):
        read_graph(model_of([sink], feeds, {"y": 1}))
    heads = own("MultiHeadAttention", ["x", "x", "x"], ["y"], name="many")
    with pytest.raises(ValueError, match=r"'many'.*num_heads"):
        read_graph(model_of([heads], x, {"y": 1}))
