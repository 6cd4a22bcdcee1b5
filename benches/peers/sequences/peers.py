"""What other runtimes make of a graph: float, dynamic int8, static QDQ; OpenVINO on the last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from benches.peers.without_avx512 import in_force

__all__ = ["Inputs", "openvino_run", "ort_session", "peer_runs"]

Inputs = Mapping[str, np.ndarray]
Run = Callable[[], Any]


def ort_session(model: Path, threads: int = 1) -> Any:
    """Open a model in ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class _Reader:
    """Samples as ONNX Runtime's calibration takes them."""

    def __init__(self, samples: Sequence[Inputs]) -> None:
        self._left = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        found = next(self._left, None)
        return None if found is None else dict(found)


def quantized_models(model: Path, samples: Sequence[Inputs]) -> Iterator[tuple[str, Path]]:
    """Yield what ONNX Runtime's own tools make of a model: the name and the file."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)
    ready = model.with_suffix(".ready.onnx")
    try:
        quant_pre_process(str(model), str(ready), skip_symbolic_shape=True)
    except Exception as error:
        print(f"quant_pre_process: {str(error).partition(chr(10))[0][:120]}")
        ready = model
    target = model.with_suffix(".dynamic.onnx")
    try:
        quantize_dynamic(str(ready), str(target), per_channel=True, weight_type=QuantType.QInt8)
        yield "ORT dynamic", target
    except Exception as error:
        print(f"quantize_dynamic: {str(error).partition(chr(10))[0][:120]}")
    target = model.with_suffix(".static.onnx")
    for per_channel in (True, False):  # a scale for each channel needs opset 13
        try:
            quantize_static(
                str(ready), str(target), _Reader(samples), quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],  # others cost more than they gain
                per_channel=per_channel, activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )  # fmt: skip
            ort_session(target)
        except Exception as error:
            print(f"quantize_static: {str(error).partition(chr(10))[0][:120]}")
        else:
            yield "ORT static", target
            return


def openvino_run(model: Path, inputs: Inputs, threads: int = 1) -> Run:
    """Return a call that runs a model in OpenVINO, for the shapes of these inputs."""
    import openvino as ov

    core = ov.Core()
    read = core.read_model(str(model))
    read.reshape({name: list(array.shape) for name, array in inputs.items()})
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(read, "CPU", options).create_infer_request()
    given = dict(inputs)
    return lambda: request.infer(given)


def peer_runs(
    model: Path, samples: Sequence[Inputs], inputs: Inputs, threads: int = 1
) -> Iterator[tuple[str, Run, Callable[[Inputs], list[np.ndarray]] | None]]:
    """Yield each peer with a call for the inputs, and one for any inputs where there is one."""

    def of_session(path: Path) -> tuple[Run, Callable[[Inputs], list[np.ndarray]]]:
        session = ort_session(path, threads)
        given = dict(inputs)
        return lambda: session.run(None, given), lambda other: session.run(None, dict(other))

    if find_spec("onnxruntime") is None:
        return
    yield "ORT float", *of_session(model)
    static = None
    for name, path in quantized_models(model, samples):
        static = path if name == "ORT static" else static
        yield name, *of_session(path)
    # It has no way to be kept from AVX-512 that runs these networks.
    if static is not None and find_spec("openvino") is not None and not in_force():
        try:
            yield "OpenVINO int8", openvino_run(static, inputs, threads), None
        except Exception as error:
            print(f"OpenVINO: {str(error).partition(chr(10))[0][:120]}")
