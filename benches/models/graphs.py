"""Models that packages bring, as graphs that run here: equal to ONNX Runtime, and as integers.

    python -m benches.models.graphs [PACKAGE, FOLDER or MODEL.onnx ...]

Each is loaded, run on inputs like those that it is made for, compared with ONNX Runtime's floats,
compressed by ``qc.compress(net, X)``, and run again. Networks whose branches or sizes a value
chooses are fixed to what those inputs are. Without names: the packages that are installed.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from benches.models.__main__ import files
from benches.models.inputs import inputs_for

import qcore as qc

PACKAGES = ("silero_vad", "magika", "basic_pitch", "rapidocr", "rapidocr_onnxruntime")
HEADS = ("model", "nodes", "float", "bytes", "compressed", "SQNR", "same label", "wide", "says")


def row_of(path: Path) -> dict[str, str]:
    """Return what became of one model."""
    row = {"model": path.name}
    try:
        net = qc.load(path)
    except (NotImplementedError, ValueError) as error:
        return row | {"says": str(error)[:120]}
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(path, options)
    samples = inputs_for(path.name, {v.name: tuple(v.shape) for v in session.get_inputs()})
    if samples is None:
        return row | {"says": "no inputs are known"}
    X = dict(samples) if isinstance(samples, Mapping) else {net.inputs[0].name: samples}
    exact = dict(zip((v.name for v in session.get_outputs()), session.run(None, X), strict=True))
    single = {"sr"} & set(X)
    if single or any(node.op == "If" for node in net):
        shapes = {name: array.shape for name, array in X.items() if name not in single}
        net = net.fixed({name: X[name] for name in single}, shapes)
        X = {name: array for name, array in X.items() if name not in single}
    row["nodes"] = str(len(net))
    found = net.run(X)
    row["float"] = f"{max(_apart(found[name], value) for name, value in exact.items()):.1e}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small = qc.compress(net, X)
    coded = small.run(X)
    row |= {"bytes": f"{net.nbytes:,}", "compressed": f"{small.nbytes:,}"}
    row["SQNR"] = f"{min(_sqnr(coded[name], value) for name, value in exact.items()):.1f} dB"
    first = next(iter(exact))
    if np.abs(exact[first].sum(axis=-1) - 1).max() < 1e-3:  # probabilities
        same = np.mean(coded[first].argmax(axis=-1) == exact[first].argmax(axis=-1))
        row["same label"] = f"{same:.1%}"
    row["wide"] = str(len(small.report_.totals.get("left wide", ())) or "")
    row["says"] = "; ".join(str(one.message).partition(":")[0] for one in told)
    return row


def _apart(found: Any, exact: Any) -> float:
    most = float(np.abs(exact).max(initial=0.0)) or 1.0
    return float(np.abs(found.astype(np.float64) - exact).max(initial=0.0)) / most


def _sqnr(found: Any, exact: Any) -> float:
    noise = float(np.sum((found.astype(np.float64) - exact) ** 2))
    return 10 * np.log10(float(np.sum(exact.astype(np.float64) ** 2)) / max(noise, 1e-30))


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names or list(PACKAGES)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| " + " | ".join(HEADS) + " |")
    print("| --- |" + " ---: |" * (len(HEADS) - 2) + " --- |")
    for path in files(names):
        row = row_of(path)
        print("| " + " | ".join(row.get(head, "") for head in HEADS) + " |", flush=True)


if __name__ == "__main__":
    main()
