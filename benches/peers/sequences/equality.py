"""How far floats are from ONNX Runtime's, and both from a result in float64 where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benches.peers.sequences.catalogue import Arrays, models
from benches.peers.sequences.peers import ort_session

__all__ = ["equality"]

#: Of the largest output: what two runtimes may differ by before it is asked which of them is right.
MOST = 1e-4


def equality(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each model."""
    yield "| model | nodes | from ONNX Runtime's | from float64's | ONNX Runtime's from float64's |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, model in models(folder):
        if model.path is None:
            continue
        found = model.net.run(model.inputs)
        given = {**model.inputs, **model.fixed}
        session = ort_session(model.path, threads)
        names = [value.name for value in session.get_outputs()]
        theirs = dict(zip(names, session.run(names, given), strict=True))
        apart = _apart(found, theirs)
        cells = [name, f"{len(model.net)}", f"{apart:.1e}", "", ""]
        if apart > MOST:
            exact = in_float64(model.path, given)
            cells[3:] = (f"{_apart(one, exact):.1e}" for one in (found, theirs))
        yield "| " + " | ".join(cells) + " |"


def _apart(found: Arrays, exact: Arrays) -> float:
    """Return the greatest difference of an output, as a share of its largest value."""
    return max(
        float(np.abs(found[name].astype(np.float64) - value).max() / np.abs(value).max())
        for name, value in exact.items()
    )


def in_float64(path: Path, inputs: Arrays) -> Arrays:
    """Run an ONNX model in ONNX's own reference in NumPy, every float of it in float64."""
    import onnx
    from onnx import AttributeProto, TensorProto, numpy_helper
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class GlobalMaxPool(OpRun):
        """That of onnx takes signals of one dimension for images."""

        def _run(self, x: Any) -> tuple[Any]:
            return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)

    def widen(tensor: Any) -> None:
        if tensor.data_type == TensorProto.FLOAT:
            wide = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        widen(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                widen(attribute.t)
            elif (node.op_type, attribute.name, attribute.i) == ("Cast", "to", TensorProto.FLOAT):
                attribute.i = TensorProto.DOUBLE
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del model.graph.value_info[:]
    given = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array
        for name, array in inputs.items()
    }
    evaluator = ReferenceEvaluator(model, new_ops=[GlobalMaxPool])
    return dict(zip(evaluator.output_names, evaluator.run(None, given), strict=True))
