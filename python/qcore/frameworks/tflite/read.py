"""A TFLite model as a graph: of floats, or of the codes of int8 and uint8."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_one_of, check_path
from qcore._runtime.extras import require
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError, UnsupportedError
from qcore.files.paths import open_regular
from qcore.frameworks.tflite.ops import FIXED, OPS
from qcore.graph.building.check import checked
from qcore.graph.building.images import ImageEmitter
from qcore.graph.graph import EXACT
from qcore.graph.passes import prepared
from qcore.graph.value import SOURCE_DTYPES, Value
from qcore.nn.graph import Graph

__all__ = ["Operator", "from_tflite"]

_BROKEN = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, RecursionError,
    struct.error, AssertionError,
)  # fmt: skip
_IDENTIFIER = b"TFL3"
_INT8, _UINT8, _INT32 = 9, 3, 2


def from_tflite(model: str | PathLike[str] | bytes, *, exact: str | None = None) -> Graph:
    """Build a network from a TFLite model.

    Parameters
    ----------
    model : path or bytes
        The flatbuffer. Weights of float16 become float32, and so do those of int8 where values are
        floats. Where values are int8 or uint8, so are they here; inputs and outputs keep their
        types.
    exact : {None, "onnx", "tflite"}
        Whose integers a quantized graph gives to the bit, as in `Graph`; it is kept in files.
        "tflite": every value of an int8 model has the integers of LiteRT's reference kernels, by
        its fixed-point arithmetic; slower, and refused for ops for which that is not there.

    Returns
    -------
    Graph
        Inputs and outputs keep their layout: images have their channels last. A batch that the
        model leaves open is the named dim "batch".

    Raises
    ------
    ImportError
        If the tflite package is not there; says what to install.
    FormatError
        If it is no TFLite model.
    UnsupportedError
        If it has ops, or quantized values, that there are not: lists each.
    """
    require("tflite", "reading TFLite")
    check_one_of(exact, "exact", EXACT)
    where = "model"
    if isinstance(model, (str, PathLike)):
        path = check_path(model, "model")
        where = f"'{path}'"
        open_regular(path)[0].close()
        data = path.read_bytes()
    elif isinstance(model, (bytes, bytearray, memoryview)):
        data = bytes(model)
    else:
        raise TypeError(f"model is {type(model).__name__}; it must be a path or bytes")
    if data[4:8] != _IDENTIFIER:
        raise FormatError(f"{where} is no TFLite model")
    try:
        return checked(prepared(_Reader(data, exact).graph()))
    except (MemoryError, UnsupportedError):
        raise
    except _BROKEN as error:
        raise FormatError(f"{where} is no valid TFLite model: {error}") from error


def _parameters(tensor: Any, name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the scales and the zero points of a tensor."""
    params = tensor.Quantization()
    scale = np.atleast_1d(np.asarray(params.ScaleAsNumpy(), np.float32))
    zero = np.zeros(scale.size, np.int64)
    if params.ZeroPointLength():
        zero = np.atleast_1d(np.asarray(params.ZeroPointAsNumpy(), np.int64))
    if zero.size != scale.size:
        raise ValueError(f"tensor {name!r} has {scale.size} scales and {zero.size} zero points")
    return scale, zero


def _weights(tensor: Any, buffer: Any, name: str, *, coded: bool) -> Any:
    """Return int8 weights: as codes where the network's values are some, else as floats."""
    codes = np.asarray(buffer.DataAsNumpy(), np.uint8).view(np.int8)
    codes = codes.reshape(tuple(int(dim) for dim in tensor.ShapeAsNumpy()))
    scale, zero = _parameters(tensor, name)
    axis = int(tensor.Quantization().QuantizedDimension()) if scale.size > 1 else None
    if coded and not zero.any():
        parts = (scale, zero) if axis is not None else (scale.reshape(()), zero.reshape(()))
        return QTensor.from_parts(
            codes, parts[0], parts[1].astype(np.int32), axis=axis, bits=8, signed=True
        )
    dims = [1] * codes.ndim
    if axis is not None:
        dims[axis] = scale.size
    real = (codes - zero.reshape(dims)) * scale.reshape(dims)
    return np.ascontiguousarray(real, np.float32)


class Operator(NamedTuple):
    """A node of the model.

    Attributes
    ----------
    kind : str
        As TFLite's schema calls it.
    inputs : tuple of str
        "" where an optional one is absent.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    table: Any

    def options(self, kind: str) -> Any:
        """Return the options of this operator, of a class of the tflite package."""
        import tflite

        found = getattr(tflite, kind)()
        if self.table is None:
            raise ValueError(f"operator {self.name!r} ({self.kind}) has no {kind}")
        found.Init(self.table.Bytes, self.table.Pos)
        return found


class _Reader(ImageEmitter):
    """Takes the operators of a model, one by one."""

    def __init__(self, data: bytes, exact: str | None = None) -> None:
        super().__init__()
        import tflite

        self.exact = exact
        self.codes: dict[str, QParams] = {}
        self._integers: dict[str, NDArray[Any]] = {}

        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.limit = len(data)
        if self.model.SubgraphsLength() != 1:
            count = self.model.SubgraphsLength()
            raise UnsupportedError(f"the model has {count} subgraphs; one is read")
        self.source = self.model.Subgraphs(0)
        self.types = {v: k for k, v in vars(tflite.TensorType).items() if type(v) is int}
        self.kinds = {v: k for k, v in vars(tflite.BuiltinOperator).items() if type(v) is int}
        self.missing: dict[str, tuple[int, str]] = {}
        self.tensors = [
            self.source.Tensors(place) for place in self._range(self.source.TensorsLength())
        ]
        self.tensor_names = self._names()
        self.signatures = {
            name: self._signature(tensor)
            for name, tensor in zip(self.tensor_names, self.tensors, strict=True)
        }
        self.names.update(self.tensor_names)
        self._real = self._coded_ends()

    def _range(self, count: int) -> range:
        if not 0 <= count <= self.limit:
            raise ValueError(f"a list has {count} entries")
        return range(count)

    def _names(self) -> list[str]:
        found: dict[str, None] = {}
        for place, tensor in enumerate(self.tensors):
            name = (tensor.Name() or b"").decode() or f"tensor_{place}"
            found[name if name not in found else f"{name}#{place}"] = None
        return list(found)

    @staticmethod
    def _signature(tensor: Any) -> tuple[int, ...]:
        dims = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else None
        if dims is None:
            dims = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        return tuple(int(dim) for dim in dims)

    def graph(self) -> Graph:
        """Return the graph."""
        for name, tensor in zip(self.tensor_names, self.tensors, strict=True):
            self._take_constant(name, tensor)
        inputs = [
            self._value(self.source.Inputs(i)) for i in self._range(self.source.InputsLength())
        ]
        for name, real in self._real.items():
            if name in {value.name for value in inputs}:
                self.add("DequantizeLinear", [name, *self._step(real)], [real])
        for operator in self._operators():
            read = OPS.get(operator.kind)
            if self.exact == "tflite" and operator.kind not in FIXED:
                self.miss(f"{operator.kind} in exact integers", operator.name)
                continue
            if read is None:
                self.miss(operator.kind, operator.name)
                continue
            self.place = operator
            read(operator, self)
        outputs = [
            self._value(self.source.Outputs(i)) for i in self._range(self.source.OutputsLength())
        ]
        if self.missing:
            found = [(op, count, first) for op, (count, first) in self.missing.items()]
            raise UnsupportedError.of(found)
        self.place = None
        for value in outputs:
            real = self.last(self._real.get(value.name, value.name))
            if real != value.name and value.name not in {one.name for one in inputs}:
                self.add("QuantizeLinear", [real, *self._step(real)], [value.name])
        codes = self.codes | {
            first: self.codes[name] for name, first in self._firsts.items() if name in self.codes
        }
        made = {name for node in self.nodes for name in node.outputs}
        return Graph(
            self.nodes, inputs=inputs, outputs=outputs, constants=self.constants,
            codes={name: params for name, params in codes.items() if name in made},
            exact=self.exact,
        )  # fmt: skip

    def call(self, value: str, name: str) -> None:
        """Give the value that the last node made another name."""
        last = self.nodes[-1] if self.nodes else None
        if last is None or last.outputs != (value,):
            self.add("Identity", [value], [name])
            return
        self.nodes[-1] = last.changed(outputs=(name,))
        self.names.add(name)

    def constant_value(self, name: str) -> NDArray[Any] | None:
        """Return a value that is a constant, codes as what they stand for."""
        found: Any = self.constants.get(name)
        return found.dequantize() if isinstance(found, QTensor) else found

    def bias(self, node: Operator) -> str:
        """Return the bias of a product as floats."""
        name = node.inputs[2]
        integers, weight = self._integers.get(name), self.constants.get(node.inputs[1])
        source = self.codes.get(node.inputs[0])
        if integers is None or source is None or not isinstance(weight, QTensor):
            return name
        made = self.fresh(name)
        if self.exact == "tflite":
            self.constants[made] = integers.astype(np.int32)  # floats do not hold all of them
            return made
        unit = np.float64(source.scale) * weight.scale.reshape(-1).astype(np.float64)
        self.constants[made] = np.asarray(integers * unit, np.float32)
        return made

    def _coded_ends(self) -> dict[str, str]:
        """Find what is quantized; return what the floats of inputs and outputs are called."""
        for name, tensor in zip(self.tensor_names, self.tensors, strict=True):
            buffer = self.model.Buffers(tensor.Buffer())
            quantization = tensor.Quantization()
            scales = 0 if quantization is None else quantization.ScaleLength()
            constant = buffer is not None and buffer.DataLength()
            if constant or not scales or tensor.Type() not in (_INT8, _UINT8):
                continue
            scale, zero = _parameters(tensor, name)
            if scale.size > 1:
                self.miss("value with several scales", name)
                continue
            self.codes[name] = QParams(
                scale.reshape(()), zero.astype(np.int32).reshape(()), signed=tensor.Type() == _INT8
            )
        places = [self.source.Inputs(i) for i in self._range(self.source.InputsLength())]
        places += [self.source.Outputs(i) for i in self._range(self.source.OutputsLength())]
        real = {}
        for name in dict.fromkeys(self.tensor_names[place] for place in places):
            if name in self.codes:
                real[name] = self.fresh(f"{name}:real")
                self.codes[real[name]] = self.codes.pop(name)
                self.signatures[real[name]] = self.signatures[name]
        return real

    def _step(self, name: str) -> tuple[str, str]:
        params = self.codes[name]
        kind = np.int8 if params.signed else np.uint8
        return self.constant(params.scale), self.constant(params.zero_point.astype(kind))

    def miss(self, op: str, where: str) -> None:
        """Note that there is no such op."""
        count, first = self.missing.get(op, (0, where))
        self.missing[op] = (count + 1, first)

    def rank(self, name: str) -> int:
        """Return how many dims a value has."""
        return len(self.signatures[name])

    def _type(self, tensor: Any, name: str) -> str:
        dtype = self.types.get(tensor.Type(), "?").lower()
        quantization = tensor.Quantization()
        if quantization is not None and quantization.ScaleLength() and name not in self._real:
            dtype = f"quantized {dtype}"
        if dtype not in SOURCE_DTYPES:
            self.miss(f"value of {dtype}", name)
            return "float32"
        return str(dtype)

    def _value(self, place: int) -> Value:
        name, tensor = self.tensor_names[place], self.tensors[place]
        shape = tuple(
            dim if dim >= 0 else "batch" if axis == 0 else None
            for axis, dim in enumerate(self.signatures[name])
        )
        return Value(name, self._type(tensor, name), shape)

    def _take_constant(self, name: str, tensor: Any) -> None:
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer is None or not buffer.DataLength():
            if name not in self.codes:
                self._type(tensor, name)  # notes what is quantized otherwise
            return
        quantized = tensor.Quantization() is not None and tensor.Quantization().ScaleLength()
        if tensor.Type() == _INT8 and quantized:
            weights = _weights(tensor, buffer, name, coded=bool(self.codes))
            if self.exact == "tflite" and not isinstance(weights, QTensor):
                self.miss("weights with zero points in exact integers", name)
            self.constants[name] = weights
            return
        if tensor.Type() == _INT32 and quantized:
            data = np.asarray(buffer.DataAsNumpy(), np.uint8).copy().view("<i4").astype(np.int64)
            scale, _ = _parameters(tensor, name)
            self._integers[name] = data
            self.constants[name] = np.asarray(data * scale.astype(np.float64), np.float32)
            return
        dtype = self._type(tensor, name)
        data = np.asarray(buffer.DataAsNumpy(), np.uint8)
        if dtype == "bfloat16":
            self.miss("constant of bfloat16", name)
            return
        shape = tuple(int(dim) for dim in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
        if not self.missing:
            array: NDArray[Any] = data.copy().view(np.dtype(dtype)).reshape(shape)
            self.add_constant(name, np.ascontiguousarray(array, SOURCE_DTYPES[dtype]))

    def _operators(self) -> Iterator[Operator]:
        for place in self._range(self.source.OperatorsLength()):
            operator = self.source.Operators(place)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            kind = self.kinds.get(number, f"operator {number}")
            if kind == "CUSTOM":
                kind = f"CUSTOM {(code.CustomCode() or b'').decode()}"
            outputs = tuple(self._tensor_names(operator.OutputsAsNumpy()))
            yield Operator(
                outputs[0] if outputs else f"{kind}_{place}",
                kind,
                tuple(self._tensor_names(operator.InputsAsNumpy())),
                outputs,
                operator.BuiltinOptions(),
            )

    def _tensor_names(self, places: Any) -> Iterator[str]:
        for place in np.atleast_1d(places):
            name = self.tensor_names[place] if place >= 0 else ""
            yield self._real.get(name, name)
