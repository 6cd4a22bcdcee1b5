"""TFLite's float networks, beside LiteRT."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line

pytest.importorskip("tflite")
TINY = Path(__file__).parents[5] / "shared" / "tiny"
pytestmark = [
    pytest.mark.skipif(not TINY.is_dir(), reason="needs MLPerf Tiny's reference networks"),
    pytest.mark.filterwarnings("ignore"),
]
FLOATS = {
    "resnet8_float": (lambda rng, shape: rng.integers(0, 256, shape), 16),
    "dscnn_kws_float": (lambda rng, shape: rng.normal(0, 30, shape), 15),
    "mobilenetv1_vww_float": (lambda rng, shape: rng.random(shape), 33),
    "autoencoder_float": (lambda rng, shape: rng.normal(0, 3, shape), 10),
}


@pytest.mark.parametrize("name", FLOATS)
def test_float_networks_are_litert_s(name):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    path = TINY / f"{name}.tflite"
    net = qc.load(path)
    draw, most_nodes = FLOATS[name]
    assert isinstance(net, qc.Graph)
    assert len(net) <= most_nodes  # nothing is transposed between convolutions
    peer = interpreter(model_path=str(path))
    peer.allocate_tensors()
    into, out = peer.get_input_details()[0], peer.get_output_details()[0]
    shape = net.inputs[0].shape
    assert shape[0] == "batch"
    x = draw(np.random.default_rng(0), (8, *shape[1:])).astype(np.float32)
    wanted = []
    for row in x:
        peer.set_tensor(into["index"], row[None])
        peer.invoke()
        wanted.append(peer.get_tensor(out["index"]).copy())
    wanted = np.concatenate(wanted)
    found = net(x)
    # DS-CNN's file has int8 weights, for which LiteRT rounds each row of activations to 8 bits.
    near = 0.05 if name == "dscnn_kws_float" else 1e-4
    assert np.abs(found - wanted).max() <= near * np.abs(wanted).max()
    np.testing.assert_array_equal(np.concatenate([net(row[None]) for row in x]), found)


def test_keywords_are_told_apart_as_by_litert():
    data = np.load(TINY / "kws_test.npz")
    x = (data["x"].astype(np.float32) - 83) * np.float32(0.58470)
    net = qc.from_tflite(TINY / "dscnn_kws_float.tflite")
    assert net.score(x, data["y"]) >= 0.89  # LiteRT's is 90.0 % on all 1,000


def test_what_is_no_model_is_a_format_error(tmp_path):
    data = (TINY / "dscnn_kws_float.tflite").read_bytes()
    rng = np.random.default_rng(0)
    (tmp_path / "a.tflite").write_bytes(b"no model")
    with pytest.raises(qc.FormatError, match=r"a\.tflite' is no TFLite model"):
        qc.load(tmp_path / "a.tflite")
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(8, len(data), 40):
            broken[place] = rng.integers(0, 256)
        with contextlib.suppress(qc.FormatError, qc.UnsupportedError):
            qc.from_tflite(bytes(broken))
    data = (TINY / "dscnn_kws_int8.tflite").read_bytes()
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(8, len(data), 40):
            broken[place] = rng.integers(0, 256)
        with contextlib.suppress(qc.FormatError, qc.UnsupportedError):
            qc.from_tflite(bytes(broken), exact=("tflite", None)[int(broken[9]) % 2])
    for cut in (20, 100, 3000, len(data) // 2):
        with pytest.raises(qc.FormatError):
            qc.from_tflite(data[:cut])
    with pytest.raises(TypeError, match="model is int"):
        qc.from_tflite(3)


def test_the_command_shows_a_model_and_says_what_it_needs(tmp_path):
    model = str(TINY / "resnet8_float.tflite")
    assert "graph, 21 tensors" in call("inspect", model).stdout
    wrong = call("compress", model, "-o", str(tmp_path / "small.safetensors"))
    check_one_line(wrong, 2, "give samples with --data, or --activations dynamic; see")
