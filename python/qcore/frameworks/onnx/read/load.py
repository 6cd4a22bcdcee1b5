"""An ONNX model as a network: a chain of dense layers where it is one, else a graph."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_instance, check_one_of, check_path
from qcore._runtime.extras import require
from qcore.arrays.params.qparams import QParams
from qcore.arrays.products.activations import names_in
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError, UnsupportedError
from qcore.files.paths import open_regular
from qcore.frameworks.affine import AffineChain
from qcore.frameworks.onnx.model.checks import check_graph
from qcore.frameworks.onnx.model.codes import attributes_of, dequantized
from qcore.frameworks.onnx.model.constants import array_of
from qcore.frameworks.onnx.model.metadata import CLASSES, read_text
from qcore.frameworks.onnx.read.graph import read_graph
from qcore.graph.building.check import checked
from qcore.graph.graph import EXACT
from qcore.nn.graph import Graph
from qcore.nn.sequential import Sequential

__all__ = ["GraphReader", "from_onnx", "is_rows", "load_model"]

_ACTIVATIONS = names_in("onnx")
# Nodes that change nothing that a dense network can see: what a batch of rows stays.
_PASSED = ("Cast", "Dropout", "Flatten", "Identity")
_ELEMENTWISE = ("Add", "Div", "Mul", "Sub")
_DOMAINS = ("", "ai.onnx")
_FLOATS = (1, 10, 11)  # TensorProto's FLOAT, FLOAT16, DOUBLE
_UINT8, _INT8 = 2, 3


def from_onnx(model: Any, *, exact: str | None = None) -> Sequential | Graph:
    """Build a network from an ONNX graph.

    Parameters
    ----------
    model : path or onnx.ModelProto
        Of opset 7 to 28, with the ops that `docs/graph.md` lists. Constants are folded, and what
        exporters write in several nodes (batch normalization behind a convolution, GELU, layer
        normalization, residuals and activations) becomes one. What is quantized there (between
        QuantizeLinear and DequantizeLinear, by QLinearConv and the like) is codes here.
    exact : {None, "onnx", "tflite"}
        Whose integers a quantized graph gives to the bit, as in `Graph`; it is kept in files. Where
        it is given, a chain of dense layers is a `Graph` too.

    Returns
    -------
    Sequential or Graph
        A `Sequential` where the graph is one chain of dense layers over rows: Gemm, MatMul, Add,
        Sub, Mul, Div (by constants), BatchNormalization, Relu, Sigmoid, Tanh, Softmax, and nodes
        that change nothing. Weights behind a DequantizeLinear stay codes there, and a
        QuantizeLinear before a layer fixes its integer input, so that a quantized chain runs on
        integers. Any other graph is a `Graph`.

    Raises
    ------
    ImportError
        If the onnx package is not there; says what to install.
    FormatError
        If the file is not ONNX, or not a valid graph.
    UnsupportedError
        If it has ops that there are not: lists each with its count and its first node.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> net = qc.nn.Sequential.from_arrays([np.eye(2, 3)], [np.ones(3)], layout="in_out")
    >>> qc.from_onnx(net.to_onnx())
    Sequential([Dense(2, 3, activation='softmax')])
    """
    check_one_of(exact, "exact", (None, "onnx"))
    path = None
    if isinstance(model, (str, PathLike)):
        path = check_path(model, "model")
        model = load_model(path)
    else:
        kind = require("onnx", "reading ONNX").ModelProto
        check_instance(model, (str, PathLike, kind), "model")
        check_graph(model.graph, "model")
    check_one_of(exact, "exact", EXACT)
    network = _as_chain(model, path) if exact is None else None
    if network is not None:
        return network
    try:
        return checked(read_graph(model, path, exact))
    except (MemoryError, UnsupportedError):
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        where = "model" if path is None else f"'{path}'"
        raise FormatError(f"{where} is no valid ONNX graph: {error}") from error


def _as_chain(model: Any, path: Path | None) -> Sequential | None:
    """Return a model as a chain of dense layers; None if it is none, or not well formed."""
    if not is_rows(model):
        return None
    try:
        return GraphReader(model, path).network()
    except MemoryError:
        raise
    except Exception:  # the reader of graphs says what is wrong, where something is
        return None


def is_rows(model: Any) -> bool:
    """Whether a model takes rows of values, as dense layers do, or makes its input rows."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in constants]
    if len(inputs) != 1:
        return False
    kind = inputs[0].type.tensor_type
    if not kind.HasField("shape") or len(kind.shape.dim) == 2:
        return True
    return any(node.op_type in ("Flatten", "Reshape") for node in graph.node)


def load_model(path: str | PathLike[str]) -> Any:
    """Return the onnx.ModelProto of a file, without data beside it; FormatError if it has none."""
    onnx = require("onnx", "reading ONNX")
    place = check_path(path, "model")
    name = str(place)
    open_regular(place)[0].close()  # a pipe would wait for its writer
    try:
        model = onnx.load_model(name, load_external_data=False)
    except OSError:
        raise
    except Exception as error:  # protobuf's own
        raise FormatError(f"'{name}' is no ONNX file that can be read: {error}") from error
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError(f"'{name}' is no ONNX file that can be read: it has no graph")
    check_graph(model.graph, f"'{name}'")
    return model


class GraphReader:
    """Follows the chain of nodes.

    Attributes
    ----------
    path : Path, optional
        The model's file, beside which its data may lie.
    constants : dict of str to TensorProto
    """

    def __init__(self, model: Any, path: Path | None = None) -> None:
        require("onnx", "reading ONNX")
        self.model = model
        self.path = path
        self.graph = model.graph
        self.constants = {t.name: t for t in self.graph.initializer}
        self.nodes: list[Any] = []
        self._coded: dict[str, Any] = {}
        for node in self.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = self._attributes(node).get("value")
            elif node.op_type == "DequantizeLinear" and node.input[0] in self.constants:
                self._coded[node.output[0]] = node
            else:
                self.nodes.append(node)

    def network(self) -> Sequential:
        """Return the graph as a network; ValueError if it is none."""
        inputs = [i.name for i in self.graph.input if i.name not in self.constants]
        if len(inputs) != 1:
            raise ValueError(f"the graph has {len(inputs)} inputs; a network has one")
        self.value = inputs[0]
        self.chain = AffineChain()
        if len(self.graph.output) != 1:
            raise ValueError(f"the graph has {len(self.graph.output)} outputs; a network has one")
        output = self.graph.output[0].name
        readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        seen = {self.value}
        self.quantizer: Any = None
        while self.value != output:
            found = readers.get(self.value, [])
            if len(found) != 1:
                count = f"{len(found)} nodes" if found else "no node"
                raise ValueError(f"{count} read {self.value!r}; a network is one chain")
            self._take(found[0])
            self.value = found[0].output[0] if found[0].output else ""
            if self.value in seen:
                raise ValueError(f"{self.value!r} is made of itself; a network is one chain")
            seen.add(self.value)
        if self.chain.pending_input is not None:
            raise ValueError(
                f"{self._name(self.quantizer)} quantizes the output, which no layer does: remove it"
            )
        network = self.chain.network()
        classes = read_text(self.model, CLASSES)
        if classes is not None:
            network.classes_ = np.array(json.loads(classes))
        return network

    # nodes -------------------------------------------------------------------------------------
    def _take(self, node: Any) -> None:
        kind = node.op_type
        if node.domain not in _DOMAINS:
            raise self._unknown(node)
        if kind in ("Gemm", "MatMul"):
            self._take_product(node)
        elif kind in _ACTIVATIONS:
            self._take_activation(node)
        elif kind in _ELEMENTWISE:
            self._take_elementwise(node)
        elif kind == "BatchNormalization":
            self._take_normalization(node)
        elif kind == "QuantizeLinear":
            self.chain.quantize_input(self._input_qparams(node))
            self.quantizer = node
        elif kind == "DequantizeLinear":
            self._check_pair(node)
        elif kind == "Reshape":
            shape = self._array(node.input[1]).tolist()
            if len(shape) != 2 or shape[0] not in (0, -1):
                raise ValueError(f"{self._name(node)} makes shape {shape}; rows have to stay rows")
        elif kind not in _PASSED or not self._passes(node):
            raise self._unknown(node)

    def _take_product(self, node: Any) -> None:
        options = self._attributes(node)
        if node.input[0] != self.value or options.get("transA", 0):
            raise ValueError(f"{self._name(node)} has its input on the right; it must be the left")
        weight = self._weight(node.input[1], node)
        out_in = bool(options.get("transB", 0))
        if not isinstance(weight, QTensor) and self.chain.pending_input is not None:
            raise ValueError(
                f"{self._name(node)} has a quantized input and weights that are no codes of 8 bits "
                "or fewer; layers have both or neither"
            )
        if not isinstance(weight, QTensor):
            weight = weight * options.get("alpha", 1.0)
        elif options.get("alpha", 1.0) != 1:
            raise self._unknown(node)
        self.chain.product(weight if out_in else weight.T)
        if len(node.input) > 2 and node.input[2]:
            self.chain.affine(1.0, self._array(node.input[2]) * options.get("beta", 1.0))

    def _take_activation(self, node: Any) -> None:
        axis = self._attributes(node).get("axis", -1)
        if node.op_type == "Softmax" and axis not in (-1, 1):
            raise ValueError(f"{self._name(node)} has axis {axis}; it must be the last")
        self.chain.activation(_ACTIVATIONS[node.op_type])

    def _take_elementwise(self, node: Any) -> None:
        left, right = node.input
        reverse = right == self.value
        constant = self._array(left if reverse else right)
        kind = node.op_type
        if reverse and kind == "Div":
            raise self._unknown(node)
        if kind == "Add":
            self.chain.affine(1.0, constant)
        elif kind == "Sub":
            self.chain.affine(*((-1.0, constant) if reverse else (1.0, -constant)))
        else:
            self.chain.affine(constant if kind == "Mul" else 1.0 / constant, 0.0)

    def _take_normalization(self, node: Any) -> None:
        options = self._attributes(node)
        if options.get("training_mode", 0):
            raise self._unknown(node)
        gain, shift, mean, variance = (self._array(name) for name in node.input[1:5])
        factor = gain / np.sqrt(variance + options.get("epsilon", 1e-5))
        self.chain.affine(factor, shift - mean * factor)

    def _passes(self, node: Any) -> bool:
        options = self._attributes(node)
        if node.op_type == "Cast":
            return options.get("to") in _FLOATS
        return node.op_type != "Flatten" or options.get("axis", 1) in (1, -1)

    # constants ---------------------------------------------------------------------------------
    def _weight(self, name: str, node: Any) -> NDArray[np.float64] | QTensor:
        if name in self._coded:
            return self._quantized(self._coded[name])
        weight = self._array(name)
        if weight.ndim != 2:
            raise ValueError(
                f"{self._name(node)} has weights of shape {weight.shape}; 2-D it must be"
            )
        return weight

    def _array(self, name: str) -> NDArray[np.float64]:
        if name in self._coded:
            return np.asarray(self._quantized(self._coded[name]), np.float64)
        if self.constants.get(name) is None:
            raise ValueError(f"{name!r} is not a constant; a network is one chain")
        return np.asarray(self._tensor(self.constants[name]), np.float64)

    def _quantized(self, node: Any) -> QTensor | NDArray[np.float64]:
        """Return a constant behind a DequantizeLinear: codes, or decoded where they cannot stay."""
        scale, zero = (self.constants.get(name) if name else None
                       for name in [*node.input[1:], ""][:2])  # fmt: skip
        if scale is None or (zero is None and len(node.input) > 2 and node.input[2]):
            raise ValueError(f"{self._name(node)} has a scale or a zero point that is no constant")
        found = dequantized(node, self.constants[node.input[0]], scale, zero, self._tensor)
        # Layers take codes of up to 8 bits; what has other types is decoded.
        if isinstance(found, QTensor) and found.bits <= 8 and found.ndim == 2:
            return found
        return np.asarray(found, np.float64)

    def _tensor(self, tensor: Any) -> NDArray[Any]:
        return array_of(tensor, self.path)

    def _input_qparams(self, node: Any) -> QParams:
        """Return how a QuantizeLinear makes codes, which layers take where they have 8 bits."""
        options = self._attributes(node)
        scale = self._array(node.input[1]).astype(np.float32)
        if scale.size != 1 or options.get("block_size", 0):
            raise ValueError(f"{self._name(node)} has {scale.size} scales; an input has one")
        zero, kind = np.zeros((), np.int32), int(options.get("output_dtype", 0) or _UINT8)
        if len(node.input) > 2 and node.input[2]:
            tensor = self.constants.get(node.input[2])
            if tensor is None or not 1 <= np.prod(tensor.dims) <= 1:
                raise ValueError(f"{self._name(node)} has a zero point that is no constant")
            kind = int(tensor.data_type)
            if kind in (_UINT8, _INT8):
                zero = self._tensor(tensor).astype(np.int32).reshape(())
        if kind not in (_UINT8, _INT8):
            raise ValueError(
                f"{self._name(node)} makes codes of type {kind}; the inputs of layers are "
                "uint8 (2) or int8 (3)"
            )
        return QParams(scale.reshape(()), zero, signed=kind == _INT8, symmetric=False)

    def _check_pair(self, node: Any) -> None:
        """Check that a DequantizeLinear undoes the QuantizeLinear before it."""
        if self.chain.pending_input is None or self.quantizer is None:
            raise self._unknown(node)
        made = self._input_qparams(self.quantizer)
        scale = self._array(node.input[1])
        given = len(node.input) > 2 and node.input[2]
        zero = self._array(node.input[2]) if given else np.zeros(())
        same = scale.size == zero.size == 1 and np.float32(scale.reshape(())) == made.scale
        if not same or int(zero.reshape(())) != int(made.zero_point):
            raise ValueError(
                f"{self._name(node)} does not undo {self._name(self.quantizer)}: their scales and "
                "zero points differ"
            )

    def _attributes(self, node: Any) -> dict[str, Any]:
        return attributes_of(node)

    def _name(self, node: Any) -> str:
        return f"{node.op_type} {node.name!r}"

    def _unknown(self, node: Any) -> ValueError:
        return ValueError(f"{self._name(node)} does what no dense layer does")
