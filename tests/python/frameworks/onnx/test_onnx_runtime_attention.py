"""Attention as ONNX Runtime's optimizer and its exporters leave it, beside ONNX Runtime itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import check, coded, model_of, normal, own, runtime, same_as
from small_encoder import HEADS, WIDTH, cosine, sentences, small_encoder

pytestmark = pytest.mark.filterwarnings("ignore")


# attention -----------------------------------------------------------------------------------
MASKS = {
    "": None,
    "rows": np.int32([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]]),
    "counts": np.int32([4, 6]),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_with_its_products(mask, causal, past, bias):
    if past and bias:
        return  # which ONNX Runtime refuses
    feeds = {"x": normal(2, 6, 16)}
    inputs = ["x", "w", "b", "", "", ""]
    if mask:
        feeds["m"] = MASKS[mask]
        inputs[3] = "m"
    total = 6
    if past:
        feeds["p"] = normal(2, 2, 4, 3, 4, seed=5)
        inputs[4] = "p"
        total = 9
        if mask == "rows":
            feeds["m"] = np.concatenate([np.ones((2, 3), np.int32), feeds["m"]], 1)
        if mask == "counts":
            feeds["m"] = feeds["m"] + np.int32(3)
    if bias:
        feeds["s"] = normal(1, 4, 6, total, seed=6)
        inputs[5] = "s"
    while not inputs[-1]:
        inputs.pop()
    outputs = {"y": 1} | ({"n": 1} if past else {})
    attention = own("Attention", inputs, list(outputs), num_heads=4, unidirectional=causal)
    graph = check(attention, feeds, outputs, w=normal(16, 48, seed=1) / 4, b=normal(48, seed=2))
    if not past:
        assert "attention" in [name for _, name in graph.kernels(feeds)]


def test_attention_with_other_sizes_of_values():
    attention = own("Attention", ["x", "w", "b"], ["y"], num_heads=2, qkv_hidden_sizes=[8, 8, 20])
    feeds = {"x": normal(2, 6, 16)}
    check(attention, feeds, w=normal(16, 36, seed=1) / 4, b=normal(36, seed=2))
    # Weights that are computed.
    check(attention, feeds | {"w": normal(16, 36, seed=1) / 4}, b=normal(36, seed=2))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("past", [False, True])
def test_attention_of_many_heads(mask, bias, causal, past):
    wide = 16 if past else 24
    feeds = {"q": normal(2, 6, 16), "k": normal(2, 6, 16, seed=1), "v": normal(2, 6, wide, seed=2)}
    inputs = ["q", "k", "v", "b" if bias else "", "", "", "", ""]
    constants = {"b": normal(32 + wide, seed=3)} if bias else {}
    outputs = {"y": 1}
    if mask:
        feeds["m"] = MASKS[mask]
        inputs[4] = "m"
    if past:
        if mask == "counts":
            return
        feeds |= {"pk": normal(2, 4, 3, 4, seed=5), "pv": normal(2, 4, 3, 4, seed=6)}
        inputs[6:8] = ["pk", "pv"]
        outputs |= {"nk": 1, "nv": 1}
        if mask:
            feeds["m"] = np.concatenate([np.ones((2, 3), np.int32), feeds["m"]], 1)
    while not inputs[-1]:
        inputs.pop()
    attention = own(
        "MultiHeadAttention", inputs, list(outputs), num_heads=4, unidirectional=causal, scale=0.4
    )
    check(attention, feeds, outputs, **constants)


def test_attention_of_packed_rows():
    attention = own("MultiHeadAttention", ["p"], ["y"], num_heads=2)
    model = model_of([attention], feeds := {"p": normal(2, 5, 2, 3, 4)}, {"y": 1})
    packed = feeds["p"]
    rows = {
        name: np.ascontiguousarray(packed[:, :, :, at].reshape(2, 5, 8))
        for at, name in enumerate("qkv")
    }
    plain = own("MultiHeadAttention", list("qkv"), ["y"], num_heads=2)
    same_as(runtime(model_of([plain], rows, {"y": 1}), rows), model, feeds)
    both = own("MultiHeadAttention", ["q", "kv"], ["y"], num_heads=2)
    feeds = {"q": rows["q"], "kv": np.ascontiguousarray(packed[:, :, :, 1:])}
    model = model_of([both], feeds, {"y": 1})
    same_as(runtime(model_of([plain], rows, {"y": 1}), rows), model, feeds)
    # Keys and values whose heads lie apart, as decoders keep those of what they look at.
    crossed = own("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=2)
    apart = {
        name: np.ascontiguousarray(rows[name].reshape(2, 5, 2, 4).transpose(0, 2, 1, 3))
        for name in "kv"
    }
    check(crossed, {"q": rows["q"]} | apart)


def cache(length, half, seed):
    angles = normal(length, half, seed=seed)
    return {"cos": np.cos(angles), "sin": np.sin(angles)}


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3), of_keys=st.integers(1, 2), times=st.integers(1, 3),
    rows=st.integers(1, 4), past=st.integers(0, 5), rotary=st.booleans(),
    interleaved=st.integers(0, 1), packed=st.booleans(), window=st.sampled_from([-1, 2]),
    cap=st.sampled_from([0.0, 3.0]), ragged=st.booleans(),
)  # fmt: skip
def test_grouped_attention_is_what_onnx_runtime_gives(
    batch, of_keys, times, rows, past, rotary, interleaved, packed, window, cap, ragged
):
    heads, size = of_keys * times, 16
    rows = rows if past == 0 else 1  # as decoders run: all of the prompt, then one by one
    total = rows + past
    q = normal(batch, rows, heads * size)
    k, v = (normal(batch, rows, of_keys * size, seed=seed) for seed in (1, 2))
    feeds = {"q": np.concatenate([q, k, v], 2)} if packed else {"q": q, "k": k, "v": v}
    rng = np.random.default_rng(0)
    counts = rng.integers(rows, total + 1, batch) if ragged and past else np.full(batch, total)
    counts[0] = total
    feeds |= {
        "pk": normal(batch, of_keys, past, size, seed=3),
        "pv": normal(batch, of_keys, past, size, seed=4),
        "n": (counts - 1).astype(np.int32),
        "all": np.array(total, np.int32),
    }
    inputs = ["q", "" if packed else "k", "" if packed else "v", "pk", "pv", "n", "all"]
    constants = {}
    if rotary:
        inputs += ["cos", "sin"]
        constants = cache(16, size // 2, 5)
    attributes = {"num_heads": heads, "kv_num_heads": of_keys, "local_window_size": window}
    attributes |= {"do_rotary": int(rotary), "rotary_interleaved": interleaved, "softcap": cap}
    grouped = own("GroupQueryAttention", inputs, ["y", "nk", "nv"], **attributes)
    outputs = {"y": 1, "nk": 1, "nv": 1}
    model = model_of([grouped], feeds, outputs, **constants)
    wanted = runtime(model, feeds)
    found = read_graph(model).run(feeds)
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-4, atol=1e-5)
    for name in ("nk", "nv"):
        assert found[name].shape == wanted[name].shape
        for at, count in enumerate(counts):  # what is behind a sequence's end is anything
            one, two = (array[name][at, :, :count] for array in (found, wanted))
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("rest", [0, 4])
def test_rotary_embedding(apart, first, interleaved, rest):
    size = 8 + rest
    x = normal(2, 3, 5, size) if apart else normal(2, 5, 3 * size)
    places = np.int64([2]) if first else np.int64([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]])
    attributes = {"interleaved": interleaved}
    if rest:
        attributes |= {"rotary_embedding_dim": 8, "num_heads": 3}
    rotary = own("RotaryEmbedding", ["x", "places", "cos", "sin"], ["y"], **attributes)
    check(rotary, {"x": x, "places": places}, **cache(9, 4, 1))


@pytest.mark.parametrize("mask", MASKS)
def test_attention_made_by_integers(mask):
    codes, scale = coded(normal(16, 48, seed=1) / 4, False)
    first = own("DynamicQuantizeLinear", ["x"], ["c", "cs", "cz"], domain="")
    inputs = ["c", "w", "b", "cs", "ws", "m" if mask else "", "cz"]
    second = own("QAttention", inputs, ["y"], num_heads=4)
    feeds = {"x": normal(2, 6, 16)} | ({"m": MASKS[mask]} if mask else {})
    check([first, second], feeds, w=codes, ws=scale, b=normal(48, seed=2))


def test_an_encoder_as_the_optimizer_leaves_it_is_the_encoder(tmp_path):
    pytest.importorskip("sympy")  # which the optimizer infers shapes with, and does not ask for
    optimizer = pytest.importorskip("onnxruntime.transformers.optimizer")
    net, X = small_encoder(), sentences()
    source = net.to_onnx()
    onnx.save(source, tmp_path / "encoder.onnx")
    made = optimizer.optimize_model(
        str(tmp_path / "encoder.onnx"), "bert", HEADS, WIDTH, opt_level=0
    )
    made.save_model_to_file(str(tmp_path / "fused.onnx"))
    fused = onnx.load(tmp_path / "fused.onnx")
    kinds = {each.op_type for each in fused.graph.node}
    assert {"Attention", "BiasGelu", "SkipLayerNormalization"} <= kinds
    one, two = qc.load(tmp_path / "encoder.onnx"), qc.load(tmp_path / "fused.onnx")
    found = two.run(X)
    for name, wanted in runtime(fused, X).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5)
    plan = {"product", "attention", "layer_norm"}

    def counts(graph):
        names = [name for _, name in graph.kernels(X)]
        return {name: names.count(name) for name in names if name in plan}

    assert counts(one) == counts(two)
    assert counts(one)["attention"] == 2
    mean = net.outputs[1].name
    small = qc.compress(two, [sentences(seed=seed) for seed in range(4)], bits=8)
    assert small.nbytes < two.nbytes / 2
    angles = cosine(small.run(X)[mean], net.run(X)[mean])
    assert angles.min() > 0.99
    again = qc.compress(one, [sentences(seed=seed) for seed in range(4)], bits=8)
    assert cosine(small.run(X)[mean], again.run(X)[mean]).min() > 0.999
    small.save(tmp_path / "small.safetensors")
    loaded = qc.load(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(loaded.run(X)[mean], small.run(X)[mean])


def test_layers_that_onnx_runtime_itself_fused(tmp_path):
    net, X = small_encoder(), sentences()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnx.save(net.to_onnx(), tmp_path / "encoder.onnx")
    ort.InferenceSession(
        str(tmp_path / "encoder.onnx"), options, providers=["CPUExecutionProvider"]
    )
    fused = onnx.load(tmp_path / "fused.onnx")
    assert any(each.op_type == "FusedMatMul" for each in fused.graph.node)
    found = qc.load(tmp_path / "fused.onnx")
    for name, wanted in runtime(fused, X).items():
        np.testing.assert_allclose(found.run(X)[name], wanted, rtol=1e-5, atol=1e-5)
    assert [name for _, name in found.kernels(X)].count("attention") == 2
