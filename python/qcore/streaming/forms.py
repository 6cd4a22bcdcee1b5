"""The kinds of files that a checkpoint is streamed into: one class for each, and a table.

A form says which parts of a tensor a file has, what their bytes are, and where they lie. The tiles,
the threads and the temporary file are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.qparams import FLOAT16
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.foreign.compressed_tensors import (
    FILE_TEXTS,
    dense_array,
    encode_weight,
    no_place,
    weight_scheme,
    write_config,
)
from qcore.files.foreign.float_layouts import float_type
from qcore.files.foreign.gguf import Gguf as GgufFile
from qcore.files.foreign.gguf import check_entry, encode_gguf, gguf_header
from qcore.files.foreign.gguf_blocks import BLOCK, no_blocks
from qcore.files.foreign.gguf_blocks import TYPES as GGUF_TYPES
from qcore.files.foreign.packed_words import SHAPE, ZERO
from qcore.files.formats import format_of
from qcore.files.qcore_format.container import part_bytes, part_dtype, separator_for, texts_of
from qcore.files.qcore_format.parts import Description, dense_parts, describe, encode_tensor
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.streaming.graphs import graph_about
from qcore.streaming.tally import Tally

__all__ = ["FORMATS", "Form", "StoredTensor", "form_of"]

Infos = Mapping[str, TensorInfo]
Source = TensorSource | None
Encoded = list[tuple[StoredPart, NDArray[np.uint8]]]


class StoredTensor(NamedTuple):
    """A tensor as it lies in a file: its parts with their places, and its description."""

    parts: list[tuple[StoredPart, int]]
    description: Description


class Form(ABC):
    """A kind of file.

    Attributes
    ----------
    sparse : bool
        Whether tensors of many zeros are stored smaller.
    zero_part : str
        The part that is left out where all zero points are 0.
    """

    sparse = False
    zero_part = "zero"

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `qcore.quantize` with what the form takes for granted."""
        return dict(options)

    @abstractmethod
    def plan_rows(
        self, name: str, info: TensorInfo, row: QTensor, *, zero: bool
    ) -> tuple[list[StoredPart], Description] | None:
        """Return the parts of a tensor from those of its first row.

        `zero`: whether zero points may come. None: only the whole tensor can tell.
        """

    @abstractmethod
    def encode(self, name: str, value: object) -> tuple[Encoded, Description]:
        """Return the parts and the description of a whole tensor."""

    @abstractmethod
    def encode_rows(self, name: str, q: QTensor) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of each part that some rows may have."""

    @abstractmethod
    def lay_out(
        self, stored: Mapping[str, StoredTensor]
    ) -> tuple[bytes, dict[tuple[str, str], int], int]:
        """Return the header of a file with these tensors, where parts start, and its length."""

    def described(self, description: Description, tally: Tally) -> Description:
        """Return a planned description with what the rows have shown."""
        return description

    def fixed(self, info: TensorInfo) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of parts that no row changes."""
        return {}

    def kept(self, name: str, info: TensorInfo, options: Mapping[str, Any]) -> str | None:
        """Return why the file has no place for the codes of a tensor, which stays wide; or None."""
        return None

    def keeps(self, parts: list[StoredPart]) -> bool:
        """Return whether the file has the types of these parts: not those of GGUF's blocks."""
        return all(part.stored not in GGUF_TYPES for part in parts)

    def check_copied(self, name: str, parts: list[StoredPart]) -> None:  # noqa: B027
        """Raise TypeError where the file cannot hold a tensor as it is."""

    def finish(self, path: Path, stored: Mapping[str, StoredTensor]) -> None:  # noqa: B027
        """Write what belongs beside the file."""


class Qcore(Form):
    """qcore's own safetensors file; see docs/files.md."""

    sparse = True

    def __init__(
        self, names: Sequence[str], recipe: str | None, graph: Mapping[str, Any] | None = None
    ) -> None:
        self._separator = separator_for(names)
        self._kind = "checkpoint" if graph is None else "graph"
        self._about = dict(graph or {}) | ({} if recipe is None else {"recipe": recipe})

    def plan_rows(
        self, name: str, info: TensorInfo, row: QTensor, *, zero: bool
    ) -> tuple[list[StoredPart], Description]:
        """Return the parts of a tensor; see `Form.plan_rows`."""
        rows = info.shape[0]
        parts = []
        for part, array in _row_parts(row, zero=zero).items():
            packed = part == "" and row.bits < 8
            shape = (rows * array.size,) if packed else (rows, *array.shape[1:])
            parts.append(StoredPart(part, part_dtype(array), shape, rows * array.nbytes))
        description = describe(row)
        description.pop("clipped", None)
        if "shape" in description:
            description["shape"] = list(info.shape)
        return parts, description

    def described(self, description: Description, tally: Tally) -> Description:
        """Count what saturated; see `Form.described`."""
        return description | ({"clipped": tally.clipped} if tally.clipped else {})

    def encode(self, name: str, value: object) -> tuple[Encoded, Description]:
        """Return the parts of a whole tensor; see `Form.encode`."""
        parts, description = encode_tensor(name, value)
        return _encoded(parts), description

    def encode_rows(self, name: str, q: QTensor) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of some rows; see `Form.encode_rows`."""
        return {part: part_bytes(array) for part, array in _row_parts(q, zero=True).items()}

    def lay_out(
        self, stored: Mapping[str, StoredTensor]
    ) -> tuple[bytes, dict[tuple[str, str], int], int]:
        """Return a safetensors header; see `Form.lay_out`."""
        described = {n: tensor.description for n, tensor in stored.items() if tensor.description}
        texts = texts_of(self._kind, self._separator, described, self._about)
        return _safetensors(stored, self._separator, texts)


class CompressedTensors(Form):
    """The layouts of compressed-tensors; see `qcore.files.foreign.compressed_tensors`."""

    zero_part = ZERO

    def __init__(self, *, packed: bool) -> None:
        self._packed = packed

    def plan_rows(
        self, name: str, info: TensorInfo, row: QTensor, *, zero: bool
    ) -> tuple[list[StoredPart], Description] | None:
        """Return the parts of a tensor; see `Form.plan_rows`."""
        if self._packed and zero:
            return None  # their zero points are packed across rows
        rows = info.shape[0]
        parts = []
        found = encode_weight(name, row, packed=self._packed, zero_points=zero)
        for part, array in found.items():
            fixed = part == SHAPE
            shape = array.shape if fixed else (rows, *array.shape[1:])
            nbytes = array.nbytes * (1 if fixed else rows)
            kind = float_type(row.scheme, part) or part_dtype(array)
            parts.append(StoredPart(part, kind, shape, nbytes))
        return parts, weight_scheme(name, row) | {"symmetric": not zero}

    def kept(self, name: str, info: TensorInfo, options: Mapping[str, Any]) -> str | None:
        """Return why a tensor has no codes there: see `no_place`."""
        own = SCHEMES[options.get("scheme", "affine")].group_size
        return no_place(name, info.shape, own or options.get("group_size"))

    def described(self, description: Description, tally: Tally) -> Description:
        """Tell by the zero points what is symmetric; see `Form.described`."""
        if tally.zero_points or not description:
            return description
        return description | {"symmetric": True}

    def fixed(self, info: TensorInfo) -> dict[str, NDArray[np.uint8]]:
        """Return the stored shape; see `Form.fixed`."""
        return {SHAPE: part_bytes(np.array(info.shape, np.int64))} if self._packed else {}

    def encode(self, name: str, value: object) -> tuple[Encoded, Description]:
        """Return the parts of a whole tensor; see `Form.encode`."""
        if isinstance(value, QTensor):
            encoded = _encoded(encode_weight(name, value, packed=self._packed))
            kinds = [float_type(value.scheme, part.part) or part.stored for part, _ in encoded]
            parts = [
                (part._replace(stored=kind), data)
                for (part, data), kind in zip(encoded, kinds, strict=True)
            ]
            return parts, weight_scheme(name, value)
        return _encoded({"": dense_array(name, value)}), {}

    def encode_rows(self, name: str, q: QTensor) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of some rows; see `Form.encode_rows`."""
        parts = encode_weight(name, q, packed=self._packed, zero_points=not self._packed)
        return {part: part_bytes(array) for part, array in parts.items() if part != SHAPE}

    def lay_out(
        self, stored: Mapping[str, StoredTensor]
    ) -> tuple[bytes, dict[tuple[str, str], int], int]:
        """Return a safetensors header; see `Form.lay_out`."""
        return _safetensors(stored, "", FILE_TEXTS)

    def finish(self, path: Path, stored: Mapping[str, StoredTensor]) -> None:
        """Write the configuration beside the file; see `Form.finish`."""
        matrices = {n: tensor for n, tensor in stored.items() if len(tensor.parts[0][0].shape) == 2}
        schemes = {name: tensor.description for name, tensor in matrices.items()}
        write_config(path, schemes, packed=self._packed)


class Gguf(Form):
    """llama.cpp's files; see `qcore.files.foreign.gguf`."""

    def __init__(self, recipe: str | None, source: TensorSource | None) -> None:
        self._recipe = recipe
        source = getattr(source, "source", source)  # of a view
        self._source = source if isinstance(source, GgufFile) else None
        self._kinds: dict[str, str] = {}

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `qcore.quantize`, with the scales that GGUF has."""
        if options.get("scheme", "affine") != "affine":
            return dict(options)
        return {**options, "scale_dtype": options.get("scale_dtype") or FLOAT16}

    def plan_rows(
        self, name: str, info: TensorInfo, row: QTensor, *, zero: bool
    ) -> tuple[list[StoredPart], Description]:
        """Return the one part of a tensor; see `Form.plan_rows`."""
        # What one row's zero points are tells nothing of the others'.
        kind, data = encode_gguf(name, row, "Q4_1" if zero and row.bits == 4 else None)
        self._kinds[name] = kind
        return [StoredPart("", kind, info.shape, info.shape[0] * data.nbytes)], {}

    def encode(self, name: str, value: object) -> tuple[Encoded, Description]:
        """Return the one part of a whole tensor; see `Form.encode`."""
        kind, data = encode_gguf(name, value)
        return [(StoredPart("", kind, np.shape(value), data.nbytes), data)], {}  # type: ignore[call-overload]

    def encode_rows(self, name: str, q: QTensor) -> dict[str, NDArray[np.uint8]]:
        """Return the blocks of some rows; see `Form.encode_rows`."""
        return {"": encode_gguf(name, q, self._kinds.get(name))[1]}

    def kept(self, name: str, info: TensorInfo, options: Mapping[str, Any]) -> str | None:
        """Return why a tensor has no blocks: see `no_blocks`."""
        return no_blocks(info.shape) if options.get("group_size") == BLOCK else None

    def keeps(self, parts: list[StoredPart]) -> bool:
        """Return True: what is left as it is keeps its blocks; see `Form.keeps`."""
        return True

    def check_copied(self, name: str, parts: list[StoredPart]) -> None:
        """Refuse what GGUF has no type for; see `Form.check_copied`."""
        check_entry(name, parts[0].stored, parts[0].shape)

    def lay_out(
        self, stored: Mapping[str, StoredTensor]
    ) -> tuple[bytes, dict[tuple[str, str], int], int]:
        """Return a header of GGUF; see `Form.lay_out`."""
        entries = [
            (name, part.stored, part.shape, part.nbytes)
            for name, tensor in stored.items()
            for part, _ in tensor.parts
        ]
        header, starts, length = gguf_header(entries, self._source, recipe=self._recipe)
        return header, {(n, ""): at for n, at in zip(stored, starts, strict=True)}, length


def _row_parts(q: QTensor, *, zero: bool) -> dict[str, NDArray[Any]]:
    """Return the parts of some rows, zero points among them even where all are 0."""
    extra = {"zero": q.zero_point.astype(q.values.dtype)} if zero else {}
    return dense_parts(q) | extra


def _encoded(parts: Mapping[str, NDArray[Any]]) -> Encoded:
    return [
        (StoredPart(part, part_dtype(array), array.shape, array.nbytes), part_bytes(array))
        for part, array in parts.items()
    ]


def _safetensors(
    stored: Mapping[str, StoredTensor], separator: str, texts: dict[str, str]
) -> tuple[bytes, dict[tuple[str, str], int], int]:
    keys = [(name, part) for name, tensor in stored.items() for part, _ in tensor.parts]
    entries = [
        (f"{name}{separator}{part.part}" if part.part else name, part.stored, part.shape)
        for name, part in keys
    ]
    header, starts = _core.plan_tensor_file(entries, texts)
    places = {(n, part.part): start for (n, part), start in zip(keys, starts, strict=True)}
    return header, places, len(header) + sum(part.nbytes for _, part in keys)


def _qcore(quantizer: Quantizer, infos: Infos, recipe: str | None, source: Source) -> Form:
    return Qcore(list(infos), recipe, graph_about(source, quantizer))


def _compressed_tensors(
    quantizer: Quantizer, infos: Infos, recipe: str | None, source: Source
) -> Form:
    widths = {info.bits for info in infos.values()} | set(quantizer.bits_.values())
    return CompressedTensors(packed=not widths <= {None, 8})


def _gguf(quantizer: Quantizer, infos: Infos, recipe: str | None, source: Source) -> Form:
    return Gguf(recipe, source)


#: Which forms there are, by the name of their format.
FORMATS: dict[str, Callable[[Quantizer, Infos, str | None, Source], Form]] = {
    "qcore": _qcore,
    "compressed-tensors": _compressed_tensors,
    "gguf": _gguf,
}


def form_of(
    output: Path,
    file_format: str | None,
    quantizer: Quantizer,
    infos: Infos,
    recipe: str | None = None,
    source: Source = None,
) -> Form:
    """Return the form of a file, for what a fitted quantizer makes of these tensors.

    A GGUF file has the metadata of `source`, where that is one, too.

    Raises
    ------
    ValueError
        If the format is not known, or does not fit the file's name.
    """
    return FORMATS[format_of(output, file_format)](quantizer, infos, recipe, source)
