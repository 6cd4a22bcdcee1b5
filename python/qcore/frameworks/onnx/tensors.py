"""The constants of any ONNX graph, by name: what is in a model that need not be a dense network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.files.formats import Loaded
from qcore.files.source import StoredPart
from qcore.frameworks.onnx.load import GraphReader, load_model
from qcore.frameworks.onnx.metadata import RECIPE, read_text

__all__ = ["GraphTensors"]

_BLOCKS = "MatMulNBits"


class GraphTensors(Loaded):
    """An ONNX graph's constants.

    Codes behind a DequantizeLinear are one tensor with the name of its output, which is that of the
    weight before `quantize_graph`; the weight of a MatMulNBits, (K, N), is decoded.

    Attributes
    ----------
    kind : {"network", "graph"}
        Whether `from_onnx` makes a network of it.
    about : dict
        ``recipe``, where the model has one.

    Raises
    ------
    ImportError
        If the onnx package is not there; says what to install.
    FormatError
        If the file is not ONNX.
    """

    def __init__(self, path: Path) -> None:
        model = load_model(path)
        reader = GraphReader(model)
        recipe = read_text(model, RECIPE)
        self.about: dict[str, Any] = {} if recipe is None else {"recipe": recipe}
        self._stored: dict[str, StoredPart] = {}  # of what is not stored as it is here
        tensors: dict[str, Any] = {}
        parts: set[str] = set()
        for node in model.graph.node:
            if node.op_type == "DequantizeLinear" and node.output[0] in reader.decoded:
                name, decoded = node.output[0], reader.decoded[node.output[0]]
                tensors[name] = decoded
                if not isinstance(decoded, QTensor):
                    codes = _array(reader, node.input[0])
                    nbytes = codes.nbytes + _array(reader, node.input[1]).nbytes
                    self._stored[name] = StoredPart("", codes.dtype.name, codes.shape, nbytes)
                parts.update(node.input)
            elif node.op_type == _BLOCKS:
                names = list(node.input[1:])
                arrays = [_array(reader, name) for name in names]
                name = names[0].removesuffix("_packed")
                tensors[name] = _decoded_blocks(reader, node, arrays)
                nbytes = sum(array.nbytes for array in arrays)
                self._stored[name] = StoredPart("", _BLOCKS, tensors[name].shape, nbytes)
                parts.update(names)
        for name, constant in reader.constants.items():
            if name not in parts and constant is not None:
                tensors[name] = _array(reader, name)
        super().__init__(tensors)
        try:
            reader.network()
        except ValueError:
            self.kind = "graph"
        else:
            self.kind = "network"

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the bytes of a tensor that is decoded here; see `TensorSource.stored_parts`."""
        part = self._stored.get(name)
        return None if part is None else ([part], {})


def _array(reader: GraphReader, name: str) -> NDArray[Any]:
    array = np.asarray(reader.numpy_helper.to_array(reader.constants[name]))
    # Types that NumPy lacks, bfloat16 and such, are exact in float32.
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _decoded_blocks(
    reader: GraphReader, node: Any, arrays: list[NDArray[Any]]
) -> NDArray[np.float32]:
    """Return the weight of a MatMulNBits of 4 bits, symmetric, as `quantize_graph` makes it."""
    options = {a.name: reader.helper.get_attribute_value(a) for a in node.attribute}
    inner, outer, group = options["K"], options["N"], options["block_size"]
    if options["bits"] != 4 or len(arrays) != 2:
        raise ValueError(f"{_BLOCKS} {node.name!r} is not of 4 bits and symmetric")
    pairs = arrays[0].reshape(outer, -1)
    codes = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(outer, -1)[:, :inner]
    scale = arrays[1].reshape(outer, -1).astype(np.float32)
    q = QTensor.from_parts(codes.astype(np.int8) - np.int8(8), scale, bits=4, group_size=group)
    return np.ascontiguousarray(q.dequantize().T)
