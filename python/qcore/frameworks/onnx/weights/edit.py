"""An ONNX graph in which codes take the place of constants, and what is told of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._runtime.extras import require
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.onnx.model.constants import array_of, nbytes_of, shape_of
from qcore.frameworks.onnx.model.scopes import Scope, graphs_of
from qcore.frameworks.onnx.model.uses import Weight
from qcore.frameworks.onnx.weights.store import DryStore, Store

__all__ = ["FLOAT", "GraphEdit", "encoded", "names_in"]

#: ONNX's number of float32.
FLOAT = 1


class GraphEdit:
    """A model that is changed.

    Attributes
    ----------
    model : onnx.ModelProto
    source : Path
        Its file, beside which constants may lie.
    rows : list of dict
        What became of each weight.
    dry : bool
        Whether nothing is read or written.
    names : set of str
        All that are taken.
    store : Store or DryStore
        Takes what is new.
    """

    names: set[str]
    store: Store | DryStore

    def __init__(self, model: Any, source: Path) -> None:
        self.helper = require("onnx", "quantizing ONNX").helper
        self.model, self.source = model, source
        self.rows: list[dict[str, Any]] = []
        self.dry = False

    def _replace(self, weight: Weight, inputs: list[Any], attributes: dict[str, int]) -> None:
        """Let a DequantizeLinear give what a constant gave."""
        constant, kind = weight.constant, weight.constant.tensor.data_type
        decoded = constant.name
        if kind != FLOAT:
            decoded = self._new(f"{constant.name}_float32")
        nodes = [
            self.helper.make_node(
                "DequantizeLinear", [t.name for t in inputs], [decoded],
                name=self._new(f"{constant.name}_decode"), **attributes,
            )
        ]  # fmt: skip
        if kind != FLOAT:
            cast = self._new(f"{constant.name}_decode_cast")
            nodes.append(
                self.helper.make_node("Cast", [decoded], [constant.name], name=cast, to=kind)
            )
        self._put(constant.scope, constant, nodes, inputs)

    def _put(self, scope: Scope, constant: Any, nodes: list[Any], tensors: list[Any]) -> None:
        """Put nodes and constants in the place of a constant in its graph."""
        graph = scope.graph
        rest = [node for node in graph.node if not (constant.node is not None
                and len(node.output) == 1 and node.output[0] == constant.name)]  # fmt: skip
        kept = [tensor for tensor in graph.initializer if tensor.name != constant.name]
        inputs = [value for value in graph.input if value.name != constant.name]
        if len(inputs) < len(graph.input):
            del graph.input[:]
            graph.input.extend(inputs)
        self.model.ir_version = max(self.model.ir_version, 4)  # constants that are no inputs
        del graph.node[:], graph.initializer[:]
        graph.node.extend([*nodes, *rest])
        graph.initializer.extend([*kept, *tensors])

    def _array(self, weight: Weight) -> NDArray[Any]:
        return array_of(weight.constant.tensor, self.source)

    def _row(self, key: str, tensor: Any) -> dict[str, Any]:
        shape = shape_of(tensor)
        size = int(np.prod(shape, dtype=np.int64))
        return {"tensor": key, "shape": "x".join(map(str, shape)), "float bytes": 4 * size}

    def _note(self, key: str, weight: Weight, before: NDArray[Any], q: QTensor) -> None:
        error = q.error(before)
        self.rows.append(
            self._row(key, weight.constant.tensor)
            | {
                "bytes": q.nbytes, "scheme": q.scheme, "bits": q.bits, "clipped": q.clipped,
                "SQNR dB": error.sqnr_db, "cosine": error.cosine, "max error": error.max_abs,
            }
        )  # fmt: skip

    def _note_planned(
        self, key: str, weight: Weight, options: dict[str, Any], parts: list[Any]
    ) -> None:
        nbytes = sum(nbytes_of(part) for part in parts)
        row = {"bytes": nbytes, "scheme": "affine", "bits": options["bits"]}
        self.rows.append(self._row(key, weight.constant.tensor) | row)

    def _new(self, name: str) -> str:
        """Return a name that nothing in the model has: this one, or one like it."""
        unique, count = name, 1
        while unique in self.names:
            unique, count = f"{name}_{count}", count + 1
        self.names.add(unique)
        return unique


def encoded(key: str, array: NDArray[Any], options: dict[str, Any]) -> QTensor | str:
    """Return a weight's codes, or why it has none; a NaN is an error that names it."""
    try:
        q = quantize(array, **options)
    except OverflowError as error:
        return str(error)
    except ValueError as error:
        if not np.isnan(array).any():
            raise ValueError(f"tensor {key!r}: {error}") from error
        raise ValueError(
            f"tensor {key!r}: {error}; or leave it as it is: --ignore '{key}', ignore=[{key!r}]"
        ) from error
    if not np.isfinite(q.scale).all():
        return "its values are out of the range of float32 scales"
    return q


def names_in(graph: Any) -> set[str]:
    """Return every name of a value or of a node in a graph and in those inside it."""
    names = {value.name for values in (graph.input, graph.output, graph.initializer, graph.node)
             for value in values}  # fmt: skip
    names |= {value.values.name for value in graph.sparse_initializer}
    for node in graph.node:
        names |= {*node.input, *node.output}
        for _, inner in graphs_of(node):
            names |= names_in(inner)
    return names
