"""quantize and dequantize, float32 to and from int8, one scale: torch, ORT, pi-quant, NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from benches.peers.rows import Row
from benches.peers.timing import best_times

import qcore as qc
from qcore import _core

SIZES = (1 << 12, 1 << 18, 1 << 24, 1 << 27)
SCALE = np.float32(0.03)


def rows(seconds: float) -> Iterator[Row]:
    """Yield a row for each function and size."""
    import torch

    warnings.filterwarnings("ignore", message="torch.ao.quantization|quantize_per_tensor")
    for size in SIZES:
        x = np.random.default_rng(0).standard_normal(size, np.float32)
        codes, real = np.empty(size, np.int8), np.empty(size, np.float32)
        quantizer, dequantizer = sessions()
        tensor = torch.from_numpy(x)
        coded = torch.quantize_per_tensor(tensor, float(SCALE), 0, torch.qint8)
        q = qc.quantize(x, scale=SCALE)
        calls = {
            "qcore": partial(qc.quantize, x, scale=SCALE, out=codes),
            "torch": partial(torch.quantize_per_tensor, tensor, float(SCALE), 0, torch.qint8),
            "ORT": partial(quantizer.run, None, {"x": x}),
            "pi-quant": _pi_quant(x),
            "NumPy": partial(_numpy_quantize, x, codes),
            "moving alone": partial(_core.move_all, x.view(np.int32), np.empty(size, np.int8)),
        }
        assert np.array_equal(q.values, quantizer.run(None, {"x": x})[0])
        yield _row("quantize", size, best_times(calls, seconds), 2.0)
        calls = {
            "qcore": partial(qc.dequantize, q, out=real),
            "torch": coded.dequantize,
            "ORT": partial(dequantizer.run, None, {"x": q.values}),
            "NumPy": partial(np.multiply, q.values, SCALE, out=real),
        }
        yield _row("dequantize", size, best_times(calls, seconds), 1.5)


#: What was asked of quantize on AVX2: beside the better of torch and ONNX Runtime.
ASKED_OF_AVX2 = dict(zip(SIZES, (1.5, 1.1, 1.1), strict=False))


def _row(section: str, size: int, times: dict[str, float], small: float) -> Row:
    if section == "quantize" and _core.active_isa() == "avx2":
        ratio, asked = min(times["torch"], times["ORT"]) / times["qcore"], ASKED_OF_AVX2.get(size)
        return Row(section, f"{size:,}", times, ratio, asked, 5.0 * size, "GB/s")
    alone = times.get("moving alone", 0.0)
    best = min(time for name, time in times.items() if name not in ("qcore", "moving alone"))
    asked, ratio = (small if size == SIZES[0] else 1.15), best / times["qcore"]
    if size != SIZES[0] and ratio < asked and alone:
        # No faster than the bytes: then the share of a loop that only moves them counts.
        asked, ratio = 0.95, alone / times["qcore"]
    return Row(section, f"{size:,}", times, ratio, asked, 5.0 * size, "GB/s")


def _pi_quant(x: Any) -> Callable[[], Any]:
    """pi-quant's codes are unsigned, and it multiplies by the reciprocal."""
    import piquant

    context, codes = piquant.Context(1), np.empty(x.size, np.uint8)
    kinds, nearest = piquant.DataType, piquant.RoundMode.NEAREST

    def call() -> Any:
        context.quantize_ptr(
            x.ctypes.data, kinds.F32, codes.ctypes.data, kinds.UINT8, x.size, float(SCALE), 128,
            nearest,
        )  # fmt: skip
        return codes

    return call


def _numpy_quantize(x: Any, out: Any) -> Any:
    np.clip(np.rint(x / SCALE), -128, 127, casting="unsafe", out=out)
    return out


def sessions() -> tuple[Any, Any]:
    """Return sessions of one QuantizeLinear and one DequantizeLinear, one thread."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    found = []
    for name, source, target in (
        ("QuantizeLinear", TensorProto.FLOAT, TensorProto.INT8),
        ("DequantizeLinear", TensorProto.INT8, TensorProto.FLOAT),
    ):
        graph = helper.make_graph(
            [helper.make_node(name, ["x", "scale", "zero"], ["y"])], name,
            [helper.make_tensor_value_info("x", source, ["n"])],
            [helper.make_tensor_value_info("y", target, ["n"])],
            [
                numpy_helper.from_array(np.array(SCALE), "scale"),
                numpy_helper.from_array(np.array(0, np.int8), "zero"),
            ],
        )  # fmt: skip
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        found.append(ort.InferenceSession(model.SerializeToString(), options))
    return found[0], found[1]
