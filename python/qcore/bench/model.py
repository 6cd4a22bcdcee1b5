"""How long one run of a network takes, beside other runtimes that are installed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.chain.chain import Chain
from qcore.graph.graph import BaseGraph
from qcore.graph.running.session import Session, StepTime
from qcore.graph.value import numpy_dtype

__all__ = ["Times", "contenders", "samples_for", "step_times", "times_of"]

Network = BaseGraph | Chain
Run = Callable[[], Any]
Inputs = dict[str, NDArray[Any]]


class Times(NamedTuple):
    """What a run takes, in microseconds.

    Attributes
    ----------
    p50, p99, p999 : float
        So many percent of the runs are not slower.
    least : float
    runs : int
    """

    p50: float
    p99: float
    p999: float
    least: float
    runs: int


def samples_for(net: Network, sizes: Mapping[str, int] | None = None, seed: int = 0) -> Inputs:
    """Return inputs of the declared types and shapes; open dims are 1, or as `sizes` has them."""
    rng = np.random.default_rng(seed)
    found: Inputs = {}
    for value in net.inputs:
        if value.shape is None:
            raise ValueError(f"input {value.name!r} has any rank; it cannot be made up")
        known = dict(sizes or {})
        shape = [known.get(str(dim), 1) if not isinstance(dim, int) else dim for dim in value.shape]
        kind = numpy_dtype(value.dtype)
        if kind is None:
            raise ValueError(f"input {value.name!r} is {value.dtype}; it cannot be made up")
        if kind.kind == "f":
            found[value.name] = rng.standard_normal(shape).astype(kind)
        elif value.name.endswith(("attention_mask", "token_type_ids")):  # no numbers of their own
            found[value.name] = np.full(shape, value.name.endswith("mask"), kind)
        elif kind.kind == "b":
            found[value.name] = rng.integers(0, 2, shape).astype(kind)
        else:
            least = 0 if kind.itemsize > 1 or kind.kind == "u" else -100
            found[value.name] = rng.integers(least, least + 100, shape).astype(kind)
    return found


def contenders(
    net: Network, inputs: Inputs, *, source: Path | None = None, threads: int = 1
) -> Iterator[tuple[str, Run]]:
    """Yield each runtime that is installed, with a call that runs the network once.

    Parameters
    ----------
    net : Graph or Sequential
    inputs : dict of str to array
    source : Path, optional
        The file that the network was read from, which peers of its format take as it is; ONNX
        Runtime and OpenVINO else take what `to_onnx` gives.
    threads : int
        Of each.
    """
    session = _session(net, inputs, threads)
    yield "qcore", lambda: session.run(inputs)
    if source is not None and source.suffix == ".tflite":
        if find_spec("ai_edge_litert") is not None:
            yield "LiteRT", _litert(source, inputs, threads)
        model: Any = source
    else:
        from_file = source is not None and source.suffix == ".onnx"
        model = source if from_file else _exported(net)
        if model is not None and find_spec("onnxruntime") is not None:
            yield "ONNX Runtime", _onnxruntime(model, inputs, threads)
    if model is not None and find_spec("openvino") is not None:
        yield "OpenVINO", _openvino(model, inputs, threads)


def _session(net: Network, inputs: Inputs, threads: int) -> Session:
    from qcore import _core

    _core.set_num_threads(threads)
    sizes = {
        dim: size
        for value in net.inputs
        for dim, size in zip(value.shape or (), inputs[value.name].shape, strict=True)
        if isinstance(dim, str)
    }
    return net.session(sizes)


def step_times(net: Network, inputs: Inputs, seconds: float, threads: int = 1) -> list[StepTime]:
    """Return the least time of each step, in so many seconds of runs."""
    session = _session(net, inputs, threads)
    best = session.times(inputs, 3)
    end = perf_counter_ns() + int(seconds * 1e9)
    while perf_counter_ns() < end:
        found = session.times(inputs, 10)
        best = [min(pair, key=lambda step: step.micros) for pair in zip(best, found, strict=True)]
    return best


def _exported(net: Network) -> bytes | None:
    if find_spec("onnx") is None or not hasattr(net, "to_onnx"):
        return None
    model: bytes = net.to_onnx().SerializeToString()
    return model


def _onnxruntime(model: Path | bytes, inputs: Inputs, threads: int) -> Run:
    ort = import_module("onnxruntime")

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    given = str(model) if isinstance(model, Path) else model
    session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def _openvino(model: Path | bytes, inputs: Inputs, threads: int) -> Run:
    ov = import_module("openvino")

    core = ov.Core()
    read = core.read_model(str(model)) if isinstance(model, Path) else core.read_model(model, b"")
    if len(inputs) == 1:
        read.reshape(list(next(iter(inputs.values())).shape))
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(read, "CPU", options)
    request = compiled.create_infer_request()
    arrays = list(inputs.values())
    return lambda: request.infer(arrays)


def _litert(model: Path, inputs: Inputs, threads: int) -> Run:
    interpreter = import_module("ai_edge_litert.interpreter")
    made = interpreter.Interpreter(str(model), num_threads=threads)
    details = {one["name"]: one for one in made.get_input_details()}
    for name, array in inputs.items():
        made.resize_tensor_input(details[name]["index"], array.shape)
    made.allocate_tensors()
    outputs = [one["index"] for one in made.get_output_details()]

    def run() -> list[Any]:
        for name, array in inputs.items():
            made.set_tensor(details[name]["index"], array)
        made.invoke()
        return [made.get_tensor(index) for index in outputs]

    return run


def times_of(runs: Mapping[str, Run], seconds: float) -> dict[str, Times]:
    """Time calls that take turns, so that a disturbance of the machine meets all of them.

    Parameters
    ----------
    runs : mapping of str to callable
    seconds : float
        For each.
    """
    for run in runs.values():
        for _ in range(3):
            run()
    taken: dict[str, list[int]] = {name: [] for name in runs}
    enabled = gc.isenabled()
    gc.disable()
    try:
        end = perf_counter_ns() + int(seconds * 1e9) * len(runs)
        while perf_counter_ns() < end or not all(taken.values()):
            for name, run in runs.items():
                # Once to bring its weights back into the caches, then in a burst.
                run()
                for _ in range(10):
                    start = perf_counter_ns()
                    run()
                    taken[name].append(perf_counter_ns() - start)
    finally:
        if enabled:
            gc.enable()
    found = {}
    for name, times in taken.items():
        micros = np.asarray(times) / 1000
        p50, p99, p999 = map(float, np.percentile(micros, [50, 99, 99.9]))
        found[name] = Times(p50, p99, p999, float(micros.min()), len(times))
    return found
