"""Fourier transforms of fixed length, and rows in reverse: read as products and picks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import check, model_of, normal, refused

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node


def parts(values: Any) -> Any:
    """Return complex numbers as pairs."""
    return np.stack([values.real, values.imag], axis=-1).astype(np.float32)


def close(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("length", [1, 2, 7, 16, 160])
@pytest.mark.parametrize("sided", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_transform_of_real_rows(length: int, sided: int, axis: int) -> None:
    shape = [2, 3, 4, 1]
    shape[axis] = length
    x = normal(*shape, seed=length)
    one = node("DFT", ["x"], ["y"], axis=axis, onesided=sided)
    found = read_graph(model_of([one], {"x": x}, {"y": 1}, opset=17)).run({"x": x})["y"]
    fft = np.fft.rfft if sided else np.fft.fft
    close(found, parts(fft(x[..., 0].astype(np.float64), axis=axis)))


@pytest.mark.parametrize("inverse", [0, 1])
def test_transform_of_complex_rows_and_back(inverse: int) -> None:
    x = normal(3, 12, 2, seed=1)
    one = node("DFT", ["x", "", "axis"], ["y"], inverse=inverse)
    model = model_of([one], {"x": x}, {"y": 1}, opset=20, axis=np.int64(-2))
    found = read_graph(model).run({"x": x})["y"]
    fft = np.fft.ifft if inverse else np.fft.fft
    close(found, parts(fft(x[..., 0] + 1j * x[..., 1].astype(np.float64), axis=1)))


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("sided", [0, 1])
def test_short_time_transform(rank: int, sided: int, tmp_path: Any) -> None:
    """As it is defined, of any number of samples, and with weights of 8 bits."""
    length, step = 32, 10
    window = np.hanning(length).astype(np.float32)
    x = normal(2, 203, seed=2) if rank == 2 else normal(2, 203, 1, seed=2)
    one = node("STFT", ["x", "step", "window"], ["y"], onesided=sided)
    model = model_of(
        [one], {"x": x}, {"y": 1}, dims={"x": ["n", "t", 1][:rank]}, step=np.int64(step),
        window=window,
    )  # fmt: skip
    graph = read_graph(model)
    for given in (x, x[:1, :77]):
        rows = given.reshape(len(given), -1).astype(np.float64)
        starts = range(0, rows.shape[1] - length + 1, step)
        frames = np.stack([rows[:, at : at + length] * window for at in starts], axis=1)
        wanted = parts((np.fft.rfft if sided else np.fft.fft)(frames))
        close(graph.run({"x": given})["y"], wanted)
    small = qc.Quantizer(8, activations=None, progress=False).fit_transform(graph)
    assert small.nbytes < 0.5 * graph.nbytes
    off = np.abs(small.run({"x": x})["y"] - graph.run({"x": x})["y"]).max()
    assert off < 0.02 * np.abs(graph.run({"x": x})["y"]).max()


def test_what_is_no_product_is_refused() -> None:
    x = normal(2, 9, 1, seed=3)
    cut = model_of([node("DFT", ["x", "n"], ["y"], axis=1)], {"x": x}, {"y": 1}, opset=17,
                   n=np.int64(5))  # fmt: skip
    assert "length that is not the input's" in str(refused(cut, {"x": x}))
    open_ = model_of([node("DFT", ["x"], ["y"], axis=1)], {"x": x}, {"y": 1}, opset=17,
                     dims={"x": ["n", "t", 1]})  # fmt: skip
    assert "length that is not" in str(refused(open_, {"x": x}))
    pair = normal(2, 9, 2, seed=4)
    both = model_of([node("STFT", ["x", "s", "", "n"], ["y"])], {"x": pair}, {"y": 1},
                    s=np.int64(2), n=np.int64(4))  # fmt: skip
    assert "STFT of complex values" in str(refused(both, {"x": pair}))


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_rows_in_reverse(time: int, rank: int) -> None:
    """As ONNX Runtime turns them, with open sizes; what is past a length stays."""
    shape = [5, 4, 3, 2][:rank]
    feeds = {"x": normal(*shape, seed=rank)}
    count, most = shape[1 - time], shape[time]
    feeds["lengths"] = np.random.default_rng(time).integers(1, most + 1, count)
    one = node("ReverseSequence", list(feeds), ["y"], time_axis=time, batch_axis=1 - time)
    named = {"x": [f"d{axis}" for axis in range(rank)], "lengths": [f"d{1 - time}"]}
    check(one, feeds, dims=named)
