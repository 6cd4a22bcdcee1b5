"""LeNet-300-100 on MNIST's test images: qcore beside ONNX Runtime's static and dynamic int8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from benches.peers.rows import Row
from benches.peers.timing import best_times

import qcore as qc
from qcore import _core
from qcore.files.idx import read_idx

#: Batch: how many times as fast as the best of ONNX Runtime's, with a dot instruction and without.
ASKED = {1: 2.5, 64: 1.25, 1024: 1.25, 10000: 1.4}
ASKED_OF_AVX2 = {1: 1.5, 64: 1.3, 1024: 1.3}


def rows(weights: Path, data: Path, seconds: float) -> Iterator[Row]:
    """Yield a row for each batch size."""
    arrays = np.load(weights)
    count = sum(name.startswith("w") for name in arrays.files)
    layers = [(arrays[f"w{i}"], arrays[f"b{i}"]) for i in range(count)]
    train, test = (
        (read_idx(data / f"{part}-images-idx3-ubyte.gz").reshape(-1, 784) / np.float32(255))
        for part in ("train", "t10k")
    )
    labels = read_idx(data / "t10k-labels-idx1-ubyte.gz")
    net = qc.nn.Sequential.from_arrays(*zip(*layers, strict=True), layout="out_in")
    static = qc.Quantizer(activations="static").fit_transform(net, train)
    dynamic = qc.Quantizer(activations="dynamic").fit_transform(net)
    with TemporaryDirectory() as folder:
        peers = sessions(layers, train[:1000], Path(folder))
        runs: dict[str, Callable[[Any], Any]] = {
            "qcore static": static.predict_logits,
            "qcore dynamic": dynamic.predict_logits,
            "qcore float32": net.predict_logits,
        }
        for name, session in peers.items():
            runs[name] = partial(answer, session)
        accuracy = {
            name: float((run(test).argmax(1) == labels).mean()) for name, run in runs.items()
        }
        without_dot = _core.active_isa() == "avx2"
        for batch in ASKED:
            asked = (ASKED_OF_AVX2 if without_dot else ASKED).get(batch)
            x = np.ascontiguousarray(test[:batch])
            calls = {name: partial(run, x) for name, run in runs.items()}
            times = best_times(calls, seconds)
            best = min(times[name] for name in ("ORT static", "ORT static u8u8", "ORT dynamic"))
            yield Row(
                "network", f"batch {batch}", times, best / times["qcore static"], asked,
                note=", ".join(f"{name} {100 * value:.2f} %" for name, value in accuracy.items()),
            )  # fmt: skip
            if without_dot:
                # The others add with saturation there: other sums than those of the network.
                exact = times["ORT static u8u8"] / times["qcore static"]
                yield Row("network, exact", f"batch {batch}", times, exact)


def answer(session: Any, x: Any) -> Any:
    return session.run(None, {"x": x})[0]


def sessions(layers: list[Any], calibration: Any, folder: Path) -> dict[str, Any]:
    """Return ONNX Runtime's float, static int8 and dynamic int8 form of a network, one thread."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import quantization as oq

    nodes, initializers, current = [], [], "x"
    for index, (weight, bias) in enumerate(layers):
        last = index == len(layers) - 1
        initializers += [
            numpy_helper.from_array(np.ascontiguousarray(weight.T), f"w{index}"),
            numpy_helper.from_array(bias, f"b{index}"),
        ]
        nodes.append(helper.make_node("MatMul", [current, f"w{index}"], [f"m{index}"]))
        target = "y" if last else f"s{index}"
        nodes.append(helper.make_node("Add", [f"m{index}", f"b{index}"], [target]))
        current = target
        if not last:
            current = f"r{index}"
            nodes.append(helper.make_node("Relu", [target], [current]))
    inputs, outputs = layers[0][0].shape[1], layers[-1][0].shape[0]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    plain = folder / "float.onnx"
    onnx.save(model, plain)

    class Reader(oq.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{"x": calibration}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    oq.quantize_dynamic(plain, folder / "dynamic.onnx", per_channel=True)
    # u8 activations, s8 weights by channel, operators fused: its fastest form.
    oq.quantize_static(
        plain, folder / "static.onnx", Reader(), quant_format=oq.QuantFormat.QOperator,
        per_channel=True, activation_type=oq.QuantType.QUInt8, weight_type=oq.QuantType.QInt8,
    )  # fmt: skip
    # The same with weights that its kernels for CPUs without a dot instruction multiply exactly.
    oq.quantize_static(
        plain, folder / "unsigned.onnx", Reader(), quant_format=oq.QuantFormat.QOperator,
        per_channel=True, activation_type=oq.QuantType.QUInt8, weight_type=oq.QuantType.QUInt8,
    )  # fmt: skip
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    names = {
        "ORT float32": "float",
        "ORT static": "static",
        "ORT static u8u8": "unsigned",
        "ORT dynamic": "dynamic",
    }
    return {
        name: ort.InferenceSession(folder / f"{file}.onnx", options) for name, file in names.items()
    }
