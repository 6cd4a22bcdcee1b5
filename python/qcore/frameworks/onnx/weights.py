"""Weights quantized in place in any ONNX graph; all else stays as it is.

A float constant that a MatMul, Gemm, Conv, ConvTranspose or Gather reads becomes codes behind a
DequantizeLinear, with a scale for each output; a MatMul with 4-bit groups becomes ONNX Runtime's
MatMulNBits. Constants are read, and written, one at a time; those of a large model go to a file of
their own beside the graph, as ONNX has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._extras import require
from qcore._table import Report
from qcore._validation import check_path
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.drafts import write_bytes
from qcore.files.paths import open_regular
from qcore.files.source import TensorInfo
from qcore.frameworks.onnx.metadata import RECIPE, write_text

__all__ = ["quantize_graph"]

# Which axis of an operator's weight has its outputs, by operator and place of the input.
_OUTPUT_AXES = {
    ("Conv", 1): 0, ("ConvTranspose", 1): 1, ("Gather", 0): 0, ("Gemm", 1): 1, ("MatMul", 1): -1,
}  # fmt: skip
_FLOAT, _DOUBLE, _FLOAT16, _UINT8, _INT8, _INT4 = 1, 11, 10, 2, 3, 22
_DTYPES = {_FLOAT: np.float32, _FLOAT16: np.float16, _DOUBLE: np.float64}
_BLOCKS = (16, 32, 64, 128, 256)  # of MatMulNBits
_OPSET_FOR_AXIS, _OPSET_FOR_INT4 = 13, 21
# Constants that runtimes look at while they plan, shapes and axes, stay in the graph.
_INLINE_BELOW = 1024
#: A protobuf message holds at most 2 GB; well below it, constants move to a file of their own.
EXTERNAL_FROM = 1 << 30


class _Use(NamedTuple):
    """How a constant is used as a weight."""

    axis: int
    only_matmul: bool


def quantize_graph(
    path: str | PathLike[str],
    output: str | PathLike[str],
    quantizer: Quantizer,
    *,
    external_from: int = EXTERNAL_FROM,
    recipe: str | None = None,
) -> Report:
    """Quantize the weights of an ONNX graph.

    Parameters
    ----------
    path, output : path
        The model, with its external data if it has some; and the file to write. Constants of more
        than `external_from` bytes in all, or those of a model that had a data file, go to
        ``output + ".data"``.
    quantizer : Quantizer
        The recipe: bits 8, or 4; 4-bit groups of 16, 32, 64, 128 or 256 become MatMulNBits.
        ``axis=None`` gives one scale for a tensor, anything else one for each output.
    recipe : str, optional
        A text to keep under ``metadata_props["qcore.recipe"]``.

    Returns
    -------
    Report

    Raises
    ------
    ImportError
        If the onnx package is not there: ``pip install 'qcore[onnx]'``.
    FormatError
        If the file is not ONNX.
    ValueError
        If the recipe is none that ONNX can express.
    """
    onnx = require("onnx", "quantizing ONNX")
    source, target = check_path(path), check_path(output, "output")
    open_regular(source)[0].close()  # a pipe would wait for its writer
    try:
        model = onnx.load_model(fspath(source), load_external_data=False)
    except OSError:
        raise
    except Exception as error:  # protobuf's own
        raise FormatError(f"'{source}' is no ONNX file that can be read: {error}") from error
    if recipe is not None:
        write_text(model, RECIPE, recipe)
    return _Quantization(model, source, target, quantizer, external_from).run()


class _Quantization:
    """One graph on its way."""

    def __init__(
        self, model: Any, source: Path, target: Path, quantizer: Quantizer, external_from: int
    ) -> None:
        onnx = require("onnx", "quantizing ONNX")
        self.helper, self.kinds = onnx.helper, onnx.TensorProto
        self.model, self.graph = model, model.graph
        self.source, self.target = source, target
        self.quantizer = quantizer
        self.rows: list[dict[str, Any]] = []
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        sizes = sum(self._nbytes(tensor) for tensor in self.constants.values())
        had_file = any(_is_external(tensor) for tensor in self.constants.values())
        self.external = had_file or sizes >= external_from
        self.data: _core.AtomicFile | None = None
        self.end = 0

    def run(self) -> Report:
        uses = self._uses()
        infos = {name: self._info(self.constants[name]) for name in uses}
        self.quantizer.fit(infos)
        if self.external:
            self.data = _core.AtomicFile(self.data_path)
        try:
            kept: list[Any] = []
            added: list[Any] = []
            for name, tensor in self.constants.items():
                if name in self.quantizer.bits_:
                    kept.extend(self._quantized(name, tensor, uses[name], added))
                else:
                    kept.append(self._kept(tensor))
            nodes = [*added, *self.graph.node]
            del self.graph.node[:], self.graph.initializer[:]
            self.graph.node.extend(nodes)
            self.graph.initializer.extend(kept)
            if self.data is not None:
                self.data.commit()
            write_bytes(self.target, self.model.SerializeToString())
        finally:
            if self.data is not None:
                self.data.discard()
        totals = {c: sum(row[c] for row in self.rows) for c in ("float bytes", "bytes")}
        return Report("compressed", self.rows, {"tensor": "all"} | totals)

    @property
    def data_path(self) -> Path:
        return self.target.with_name(self.target.name + ".data")

    # what there is -----------------------------------------------------------------------------
    def _uses(self) -> dict[str, _Use]:
        """Return the float constants that are weights: those that every reader reads as one."""
        found: dict[str, list[_Use | None]] = {}
        for node in self.graph.node:
            for place, name in enumerate(node.input):
                if name in self.constants:
                    found.setdefault(name, []).append(self._use(node, place))
        for value in self.graph.output:
            found.setdefault(value.name, []).append(None)
        uses = {}
        for name, ways in found.items():
            good = [way for way in ways if way is not None]
            floats = name in self.constants and self.constants[name].data_type in _DTYPES
            if floats and len(good) == len(ways) and len({way.axis for way in good}) == 1:
                uses[name] = _Use(good[0].axis, all(way.only_matmul for way in good))
        return uses

    def _use(self, node: Any, place: int) -> _Use | None:
        axis = _OUTPUT_AXES.get((node.op_type, place))
        if axis is None or node.domain not in ("", "ai.onnx"):
            return None
        options = {a.name: self.helper.get_attribute_value(a) for a in node.attribute}
        ndim = len(self.constants[node.input[place]].dims)
        if node.op_type == "Gemm" and options.get("transB", 0):
            axis = 0
        if node.op_type == "Gather" and options.get("axis", 0):
            return None
        return _Use(axis % ndim if ndim else 0, node.op_type == "MatMul" and ndim == 2)

    def _info(self, tensor: Any) -> TensorInfo:
        return TensorInfo(tuple(tensor.dims), np.dtype(_DTYPES[tensor.data_type]))

    def _nbytes(self, tensor: Any) -> int:
        kind = self.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return int(np.prod(tensor.dims, dtype=np.int64)) * int(np.dtype(kind).itemsize)

    # what becomes of it ------------------------------------------------------------------------
    def _quantized(self, name: str, tensor: Any, use: _Use, added: list[Any]) -> list[Any]:
        weight = self._array(tensor)
        if weight.dtype == np.float64:
            raise ValueError(f"tensor {name!r} is float64, which no DequantizeLinear gives")
        options = dict(self.quantizer.tensor_options(name))
        if options.get("scheme", "affine") != "affine" or options["bits"] not in (4, 8):
            raise ValueError(f"tensor {name!r}: ONNX has affine codes of 8 and of 4 bits")
        group = options.get("group_size")
        if group is not None and use.only_matmul and options["bits"] == 4 and group in _BLOCKS:
            return self._blocks(name, weight, options)
        if group is not None:
            raise ValueError(
                f"tensor {name!r}: groups need a MatMul, 4 bits and a group_size of "
                f"{', '.join(map(str, _BLOCKS))}; name it in ignore"
            )
        options["axis"] = None if options["axis"] is None else use.axis
        q = quantize(weight, **options)
        self._note(name, weight, q)
        inputs = [self._codes(f"{name}_codes", q)]
        inputs.append(self._make(f"{name}_scale", q.scale.astype(weight.dtype)))
        if q.zero_point.any():
            zeros = QTensor.from_parts(
                q.zero_point.astype(q.values.dtype), bits=q.bits, signed=q.signed
            )
            inputs.append(self._codes(f"{name}_zero_point", zeros))
        attributes = {} if q.axis is None else {"axis": q.axis}
        self._require_opset(_OPSET_FOR_INT4 if q.bits == 4 else _OPSET_FOR_AXIS)
        node = self.helper.make_node(
            "DequantizeLinear",
            [t.name for t in inputs],
            [name],
            name=f"{name}_decode",
            **attributes,
        )
        added.append(node)
        return inputs

    def _blocks(self, name: str, weight: NDArray[Any], options: Mapping[str, Any]) -> list[Any]:
        """Turn each MatMul with this weight (K, N) into a MatMulNBits."""
        inner, outer = weight.shape
        group = options["group_size"]
        q = quantize(np.ascontiguousarray(weight.T), **options)
        if q.zero_point.any() or not q.signed:
            raise ValueError(f"tensor {name!r}: groups of MatMulNBits are symmetric here")
        self._note(name, weight.T, q)
        blocks = -(-inner // group)
        codes = np.full((outer, blocks * group), 8, np.uint8)
        codes[:, :inner] = q.values + 8
        packed = (codes[:, 0::2] | codes[:, 1::2] << 4).reshape(outer, blocks, group // 2)
        parts = [
            self._make(f"{name}_packed", packed),
            self._make(f"{name}_scales", q.scale.reshape(-1).astype(weight.dtype)),
        ]
        for node in self.graph.node:
            if len(node.input) > 1 and node.input[1] == name:
                node.op_type, node.domain = "MatMulNBits", "com.microsoft"
                inputs = [node.input[0], *(part.name for part in parts)]
                del node.input[:]
                node.input.extend(inputs)
                numbers = {"K": inner, "N": outer, "bits": 4, "block_size": group}
                node.attribute.extend(self.helper.make_attribute(k, v) for k, v in numbers.items())
        self._require_opset(1, "com.microsoft")
        return parts

    def _note(self, name: str, before: NDArray[Any], q: QTensor) -> None:
        error = q.error(before)
        self.rows.append(
            {
                "tensor": name, "shape": "x".join(map(str, before.shape)),
                "float bytes": 4 * before.size, "bytes": q.nbytes, "scheme": q.scheme,
                "bits": q.bits, "clipped": q.clipped, "SQNR dB": error.sqnr_db,
                "cosine": error.cosine, "max error": error.max_abs,
            }
        )  # fmt: skip

    def _require_opset(self, least: int, domain: str = "") -> None:
        for opset in self.model.opset_import:
            if opset.domain == domain or (not domain and opset.domain == "ai.onnx"):
                if opset.version < least:
                    raise ValueError(
                        f"the graph is of opset {opset.version}; this recipe needs {least}: "
                        "convert it with onnx.version_converter"
                    )
                return
        self.model.opset_import.append(self.helper.make_opsetid(domain, least))

    # constants in and out ----------------------------------------------------------------------
    def _array(self, tensor: Any) -> NDArray[Any]:
        if not _is_external(tensor):
            from onnx import numpy_helper

            return np.asarray(numpy_helper.to_array(tensor))
        dtype = np.dtype(_DTYPES[tensor.data_type]).newbyteorder("<")
        data = np.empty(self._nbytes(tensor), np.uint8)
        for start, piece in self._pieces(tensor):
            data[start : start + piece.size] = piece
        array: NDArray[Any] = data.view(dtype).reshape(tensor.dims)
        return array

    def _kept(self, tensor: Any) -> Any:
        """Return a constant that stays as it is; its bytes go to the new data file."""
        if self.data is None or not (_is_external(tensor) or tensor.raw_data):
            return tensor
        if self._nbytes(tensor) < _INLINE_BELOW:
            raw = b"".join(piece.tobytes() for _, piece in self._pieces(tensor))
            del tensor.external_data[:]
            tensor.data_location = self.kinds.DEFAULT
            tensor.raw_data = raw
            return tensor
        offset = self._aligned()
        nbytes = 0
        for start, piece in self._pieces(tensor):
            self.data.write_at(offset + start, piece)
            nbytes = start + piece.size
        self._point(tensor, offset, nbytes)
        return tensor

    def _pieces(self, tensor: Any) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if not _is_external(tensor):
            yield 0, np.frombuffer(tensor.raw_data, np.uint8)
            return
        about = {entry.key: entry.value for entry in tensor.external_data}
        name = about.get("location", "")
        if not name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise FormatError(f"'{self.source}' has data at {name!r}, which is not beside it")
        file = _core.RegularFile(self.source.parent / name)
        offset, nbytes = int(about.get("offset", 0)), self._nbytes(tensor)
        step = 1 << 24
        for start in range(0, nbytes, step):
            piece = np.empty(min(step, nbytes - start), np.uint8)
            file.read_at(offset + start, piece)
            yield start, piece

    def _codes(self, name: str, q: QTensor) -> Any:
        if q.bits == 8:
            return self._make(name, q.values)
        flat = q.values.reshape(-1).view(np.uint8) & 15
        flat = np.append(flat, np.uint8(0)) if flat.size % 2 else flat
        raw = (flat[0::2] | flat[1::2] << 4).astype(np.uint8)
        return self._tensor(name, _INT4 if q.signed else 21, q.shape, raw)

    def _make(self, name: str, array: NDArray[Any]) -> Any:
        kind = self.helper.np_dtype_to_tensor_dtype(array.dtype)
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return self._tensor(name, kind, array.shape, little.reshape(-1).view(np.uint8))

    def _tensor(self, name: str, kind: int, shape: tuple[int, ...], raw: NDArray[np.uint8]) -> Any:
        tensor = self.kinds(name=name, data_type=kind, dims=shape)
        if self.data is None or raw.size < _INLINE_BELOW:
            tensor.raw_data = raw.tobytes()
        else:
            offset = self._aligned()
            self.data.write_at(offset, raw)
            self._point(tensor, offset, raw.size)
        return tensor

    def _aligned(self) -> int:
        """Return where the next constant starts: a page, so that runtimes can map it."""
        return -(-self.end // 4096) * 4096

    def _point(self, tensor: Any, offset: int, nbytes: int) -> None:
        self.end = offset + nbytes
        with contextlib.suppress(ValueError):
            tensor.ClearField("raw_data")
        del tensor.external_data[:]
        tensor.data_location = self.kinds.EXTERNAL
        about = {"location": self.data_path.name, "offset": offset, "length": nbytes}
        for key, value in about.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)


def _is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == 1)
