"""How many codes of exported graphs differ from those that ONNX Runtime computes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benches.tiny import networks
from benches.tiny.hashes import NETWORKS, samples

import qcore as qc


def runtime(model):
    """Return a session of ONNX Runtime's."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    given = model.SerializeToString()
    return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def compared(small: qc.Graph, x: np.ndarray) -> tuple[int, int, int]:
    """Return how many codes there are, how many differ from ONNX Runtime's, and by how much."""
    import onnx

    model = small.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    source, output = small.inputs[0].name, small.outputs[0].name
    names = [name for name in small.codes if name in small.producers and name != output]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    wanted = runtime(model).run(names, {source: x})
    found = small.run({source: x}, names)
    total, differ, largest = 0, 0, 0
    for name, value in zip(names, wanted, strict=True):
        steps = np.rint(np.abs(found[name] - value) / float(small.codes[name].scale))
        total += steps.size
        differ += int(np.count_nonzero(steps))
        largest = max(largest, int(steps.max(initial=0)))
    return total, differ, largest


def rows(data: Path) -> None:
    print(
        "Codes of exported graphs that ONNX Runtime computes otherwise; onnx.checker passes all\n"
    )
    print("| network | codes | differ | share | largest, codes |\n|---|---|---|---|---|")
    for name in NETWORKS:
        net, x = networks.load(data, name), samples(data, name)
        small = qc.Quantizer(8, progress=False, algorithm=()).fit_transform(net, x)
        total, differ, largest = compared(small, x)
        share = f"{differ / total:.3%}"
        print(f"| {name} | {total:,} | {differ:,} | {share} | {largest} |", flush=True)
