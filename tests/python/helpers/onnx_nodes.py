"""The node tests of the onnx package, run by qcore: as a command it prints how they end.

python tests/python/helpers/onnx_nodes.py [--names]
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.loader import load_model_tests

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph

#: Cases of ops that there are and that do not pass, by the start of the name: why.
EXPECTED: dict[str, str] = {
    "test_attention_": "bfloat16 all the way there, float32 here: one bit of the 8 differs",
    "test_dft_inverse_opset19": "zeros are sums of hundreds, rounded in float32",
}


class Outcome(NamedTuple):
    name: str
    kind: str  # "passed", "unsupported", "other type" or "failed"
    why: str


class Prepared(BackendRep):
    """A model that is ready to run."""

    def __init__(self, graph: qc.Graph) -> None:
        self.graph = graph

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        names = [value.name for value in self.graph.inputs]
        found = self.graph.run(dict(zip(names, inputs, strict=False)))
        return tuple(found[value.name] for value in self.graph.outputs)


class QcoreBackend(Backend):
    """qcore as a backend of ONNX."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Prepared:
        return Prepared(read_graph(model))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


def plain(values: Any) -> list[Any]:
    """Return the arrays of a data set, of which some are protos."""
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]


def outcome(case: Any) -> Outcome:
    try:
        prepared = QcoreBackend.prepare(case.model)
    except qc.UnsupportedError as error:
        types = error.ops and all(" of type " in op for op, _, _ in error.ops)
        return Outcome(case.name, "other type" if types else "unsupported", str(error))
    except Exception as error:
        return Outcome(case.name, "failed", f"load: {type(error).__name__}: {error}")
    for inputs, outputs in case.data_sets:
        inputs, outputs = plain(inputs), plain(outputs)
        try:
            found = prepared.run(inputs)
        except qc.UnsupportedError as error:
            return Outcome(case.name, "unsupported", str(error))
        except Exception as error:
            return Outcome(case.name, "failed", f"run: {type(error).__name__}: {error}")
        for place, (array, wanted) in enumerate(zip(found, outputs, strict=True)):
            if array.dtype != wanted.dtype or array.shape != wanted.shape:
                said = f"{array.dtype}{array.shape}, not {wanted.dtype}{wanted.shape}"
                return Outcome(case.name, "failed", f"output {place} is {said}")
            one, two = (np.asarray(a, np.float64) if a.dtype.kind in "fV" else a
                        for a in (array, wanted))  # fmt: skip
            if not np.allclose(one, two, rtol=case.rtol, atol=case.atol, equal_nan=True):
                off = np.nanmax(np.abs(one.astype(float) - two.astype(float)))
                return Outcome(case.name, "failed", f"output {place} is off by {off:.3g}")
    return Outcome(case.name, "passed", "")


def outcomes() -> list[Outcome]:
    return [outcome(case) for case in load_model_tests(kind="node")]


def main() -> None:
    found = outcomes()
    counts = Counter(each.kind for each in found)
    print(
        f"{len(found)} node tests of onnx {onnx.__version__}: {counts['passed']} pass, "
        f"{counts['failed']} of supported ops do not, {counts['unsupported']} have ops and "
        f"{counts['other type']} types of values that there are not"
    )
    for each in found:
        if each.kind == "failed" or (each.kind != "passed" and "--names" in sys.argv):
            print(f"  {each.kind}: {each.name}: {each.why[:150]}")


if __name__ == "__main__":
    main()
