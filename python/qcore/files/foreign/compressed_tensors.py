"""The layouts of compressed-tensors, which other engines load: int-quantized and pack-quantized.

A weight is stored as some tensors that are named after it:

==========================  ===============  ======================================================
tensor                      type             what
==========================  ===============  ======================================================
``fc.weight``               I8               int-quantized: the codes, signed
``fc.weight_packed``        I32              pack-quantized: codes + 2^(bits - 1) as a little-endian
                                             bit stream for each row, filled to 32 bits
``fc.weight_shape``         I64              of a packed weight
``fc.weight_scale``         F32, F16, BF16   ``(1,)`` for the tensor, ``(rows, 1)``, or
                                             ``(rows, groups)``
``fc.weight_zero_point``    I8 or I32        asymmetric ones: in the shape of the scales; of packed
                                             weights that have several, packed along the rows
==========================  ===============  ======================================================

Which weights are quantized, and how, stands in ``config.json`` beside the file, under
``quantization_config``.

References
----------
The compressed-tensors library, 0.20: compressors for "int-quantized" and "pack-quantized".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arrays import as_array
from qcore._names import matches
from qcore._validation import check_int
from qcore.arrays.params.qparams import FLOAT16
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.drafts import write_bytes
from qcore.files.dtypes import stored_name
from qcore.files.foreign.wide import widened
from qcore.files.paths import open_regular
from qcore.files.qcore_format.container import part_bytes, part_dtype
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = [
    "FILE_TEXTS",
    "SHAPE",
    "ZERO",
    "CompressedTensors",
    "dense_array",
    "encode_weight",
    "find_weights",
    "is_packed",
    "no_place",
    "schemes_of",
    "weight_scheme",
    "widened_weights",
    "write_config",
    "write_weights",
]

#: What a file's header says besides its tensors.
FILE_TEXTS = {"format": "pt"}
#: The part that has a packed weight's shape.
SHAPE = "_shape"
#: The part that has the zero points.
ZERO = "_zero_point"
_PACKED, _SCALE = "_packed", "_scale"
_WEIGHT = ".weight"
_WORD = 32
_MAX_CONFIG_BYTES = 1 << 24
# The width of codes where no configuration tells: the first that fits the shape.
_LIKELY_BITS = (4, 8, 2, 3, 5, 6, 7, 1)

Scheme = dict[str, Any]


# writing -----------------------------------------------------------------------------------------
def encode_weight(
    name: str, q: QTensor, *, packed: bool, zero_points: bool = False
) -> dict[str, NDArray[Any]]:
    """Return the stored tensors of a weight by what is added to its name.

    `zero_points`: have them even where all are 0.

    Raises
    ------
    ValueError
        If the layouts have no place for it.
    """
    symmetric = weight_scheme(name, q)["symmetric"] and not zero_points
    # Codes are signed there: of unsigned ones the middle is taken off.
    middle = 0 if q.signed else 1 << q.bits - 1
    scale = q.scale.reshape(1 if q.axis is None and q.group_size is None else (len(q), -1))
    zero = (q.zero_point - middle).astype(np.int8).reshape(scale.shape)
    scales = {_SCALE: scale.astype(q.scale_dtype)}
    if not packed:
        codes = q.values if q.signed else (q.values ^ np.uint8(128)).view(np.int8)
        return {"": codes, **scales} | ({} if symmetric else {ZERO: zero})
    # In two's complement as in the codes, half of the range is added by turning the highest bit.
    turned = q.values.view(np.uint8) ^ np.uint8((1 << q.bits - 1) if q.signed else 0)
    shape = np.array(q.shape, np.int64)
    parts: dict[str, NDArray[Any]] = {_PACKED: _pack(turned, q.bits), **scales, SHAPE: shape}
    if not symmetric and scale.ndim == 1:
        parts[ZERO] = zero
    elif not symmetric:
        offset = (zero.astype(np.int16) + (1 << q.bits - 1)).astype(np.uint8)
        columns = _pack(np.ascontiguousarray(offset.reshape(scale.shape).T), q.bits)
        parts[ZERO] = np.ascontiguousarray(columns.T)
    return parts


def weight_scheme(name: str, q: QTensor) -> Scheme:
    """Return how the configuration names the way in which a weight is quantized.

    Raises
    ------
    ValueError
        If it has no name for it.
    """
    if no_place(name, q.shape, None) is not None:
        reason: str | None = f"quantized tensors are matrices whose names end in {_WEIGHT!r}"
    elif q.scheme != "affine" or q.row_bits is not None or q.bits > 8:
        reason = "quantized tensors are affine, of 1 to 8 bits, the same in all rows"
    elif q.axis not in (None, 0) or (q.group_size is not None and q.shape[1] % q.group_size):
        reason = "scales are for the tensor, for rows (axis=0), or for groups that divide the rows"
    elif q.signed and q.bits == 1:
        reason = "codes of 1 bit have no sign"
    else:
        reason = None
    if reason is not None:
        raise ValueError(f"tensor {name!r} is {q!r}; in compressed-tensors {reason}")
    grouped = q.group_size is not None
    strategy = "group" if grouped else "tensor" if q.axis is None else "channel"
    symmetric = q.signed and not bool(q.zero_point.any())
    return {
        "num_bits": q.bits, "type": "int", "symmetric": symmetric, "strategy": strategy,
        "group_size": q.group_size, "dynamic": False,
    }  # fmt: skip


def no_place(name: str, shape: tuple[int, ...], group_size: int | None) -> str | None:
    """Return why the layouts have no codes for a tensor; None if they have.

    Examples
    --------
    >>> no_place("conv.weight", (8, 3, 3), None)
    "it has 3 axes; codes of compressed-tensors are those of matrices"
    """
    if len(shape) != 2:
        return f"it has {len(shape)} axes; codes of compressed-tensors are those of matrices"
    if not name.endswith(_WEIGHT):
        return f"its name does not end in {_WEIGHT!r}, as those of codes in compressed-tensors do"
    if group_size is not None and shape[1] % group_size:
        return f"its rows have {shape[1]} values, which groups of {group_size} do not divide"
    return None


def dense_array(name: str, value: object) -> NDArray[Any]:
    """Return a tensor that is stored as it is.

    Raises
    ------
    TypeError
        If safetensors has no such type.
    """
    array = as_array(value)
    if stored_name(array.dtype) is None:
        raise TypeError(f"tensor {name!r} is {array.dtype}; safetensors has no such type")
    return array


def is_packed(tensors: Mapping[str, object]) -> bool:
    """Whether tensors are stored "pack-quantized": any codes are not of 8 bits."""
    return any(isinstance(value, QTensor) and value.bits != 8 for value in tensors.values())


def write_weights(path: Path, tensors: Mapping[str, object], *, packed: bool) -> None:
    """Write a file of tensors, atomically.

    Raises
    ------
    TypeError, ValueError
        If the layouts have no place for a tensor; names it.
    """
    entries = []
    for name, value in tensors.items():
        parts = (
            encode_weight(name, value, packed=packed)
            if isinstance(value, QTensor)
            else {"": dense_array(name, value)}
        )
        for part, array in parts.items():
            entries.append((name + part, part_dtype(array), array.shape, part_bytes(array)))
    _core.write_tensor_file(path, entries, FILE_TEXTS)


def widened_weights(tensors: Mapping[str, object]) -> dict[str, object]:
    """Return tensors, as floats those whose codes have no place in the layouts."""
    return {
        name: widened(name, value, no_place(name, value.shape, None))
        if isinstance(value, QTensor)
        else value
        for name, value in tensors.items()
    }


def schemes_of(tensors: Mapping[str, object]) -> dict[str, Scheme]:
    """Return the scheme of each matrix; an empty one of those that are not quantized."""
    return {
        name: weight_scheme(name, value) if isinstance(value, QTensor) else {}
        for name, value in tensors.items()
        if isinstance(value, QTensor) or np.ndim(value) == 2  # type: ignore[arg-type]
    }


def write_config(path: Path, schemes: Mapping[str, Scheme], *, packed: bool) -> None:
    """Write ``config.json`` beside a file, or the part of it that is about quantization.

    Parameters
    ----------
    path : Path
        The file with the tensors.
    schemes : mapping of str to dict
        Of each matrix; an empty one of those that are not quantized.
    packed : bool
    """
    target = path.with_name("config.json")
    whole = _read_config(target) if target.exists() else {}
    whole["quantization_config"] = _configuration(schemes, packed=packed)
    write_bytes(target, (json.dumps(whole, indent=2) + "\n").encode())


def _configuration(schemes: Mapping[str, Scheme], *, packed: bool) -> dict[str, Any]:
    members: dict[str, list[str]] = {}
    for name, scheme in schemes.items():
        if scheme:
            members.setdefault(json.dumps(scheme), []).append(name.removesuffix(_WEIGHT))
    # Weights and inputs both of 8 bits are multiplied as integers, as qcore does it.
    inputs = {
        "num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True,
    }  # fmt: skip
    kind = "pack-quantized" if packed else "int-quantized"
    groups = {
        f"group_{index}": {
            "targets": ["Linear"] if len(members) == 1 else modules,
            "weights": json.loads(scheme),
            "input_activations": None if packed else inputs,
            "output_activations": None,
            "format": kind,
        }
        for index, (scheme, modules) in enumerate(members.items())
    }
    ignore = [name.removesuffix(_WEIGHT) for name, scheme in schemes.items() if not scheme]
    return {
        "quant_method": "compressed-tensors",
        "format": kind,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ignore,
        "kv_cache_scheme": None,
    }


def _pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """Pack the rows of a matrix into words."""
    rows, columns = codes.shape
    words = -(-columns * bits // _WORD)
    packed = np.zeros((rows, 4 * words), np.uint8)
    if codes.size:
        row = -(-columns * bits // 8)
        flat = np.ascontiguousarray(codes).reshape(-1)
        stream = flat if bits == 8 else _core.pack_bits(flat, columns, bits)
        packed[:, :row] = stream.reshape(rows, row)
    return packed.view("<i4")


def _unpack(words: NDArray[np.int32], columns: int, bits: int) -> NDArray[np.uint8]:
    """Return the codes that `_pack` packed."""
    rows = len(words)
    row = -(-columns * bits // 8)
    stream = np.ascontiguousarray(words.astype("<i4", copy=False).view(np.uint8)[:, :row])
    if bits == 8 or not stream.size:
        return stream[:, :columns]
    flat = _core.unpack_bits(stream.reshape(-1), rows * columns, columns, bits, False)
    return flat.reshape(rows, columns)


# reading -----------------------------------------------------------------------------------------
def find_weights(names: Mapping[str, Any]) -> list[str]:
    """Return which weights of a checkpoint are quantized, judged by the names of its tensors."""
    found = []
    for name in names:
        if name.endswith(_WEIGHT + _SCALE):
            weight = name.removesuffix(_SCALE)
            if weight in names or weight + _PACKED in names:
                found.append(weight)
    return found


class CompressedTensors(TensorSource):
    """A checkpoint whose quantized weights are stored in these layouts.

    Parameters
    ----------
    source : TensorSource
        With the tensors as they are stored.
    path : Path
        Of the checkpoint; its configuration lies beside it, or in it.
    """

    def __init__(self, source: TensorSource, path: Path) -> None:
        self.path = path
        self._source = source
        self.paths = source.paths
        integers = {
            name
            for name in find_weights(source)
            if name + _PACKED in source or source.info(name).dtype == np.int8
        }
        hidden = {name + part for name in integers for part in (_PACKED, _SCALE, ZERO, SHAPE)}
        names = (name.removesuffix(_PACKED) for name in source)
        self._names = dict.fromkeys(
            name if name in integers else stored
            for name, stored in zip(names, source, strict=True)
            if name in integers or stored not in hidden
        )
        self._integers = integers
        config = (path if path.is_dir() else path.parent) / "config.json"
        self._groups = _groups(_read_config(config)) if config.exists() else []

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._integers:
            return self._source[name]
        with self._checked(name):
            return self._decode(name)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        if name not in self._integers:
            return self._source.info(name)
        if name in self._source:
            shape, bits = self._source.info(name).shape, 8
        else:
            with self._checked(name):
                shape = self._shape(name)
                bits = self._bits(name, *shape)
        return TensorInfo(shape, np.dtype(np.int8), in_rows=False, bits=bits)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        return self._source.read_rows(name, start, stop, buffer)

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        return None if name in self._integers else self._source.stored_parts(name)

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        self._source.copy_part(name, part, offset, out)

    @contextmanager
    def _checked(self, name: str) -> Iterator[None]:
        try:
            yield
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise FormatError(f"'{self.path}' is corrupt: tensor {name!r}: {error}") from error

    def _shape(self, name: str) -> tuple[int, int]:
        rows, columns = (int(length) for length in np.asarray(self._source[name + SHAPE]))
        return rows, columns

    def _decode(self, name: str) -> QTensor:
        scale = np.asarray(self._source[name + _SCALE])
        stored_zero = np.asarray(self._source[name + ZERO]) if name + ZERO in self._source else None
        if name in self._source:
            bits, codes, zero = 8, np.asarray(self._source[name]), stored_zero
        else:
            rows, columns = self._shape(name)
            bits = self._bits(name, rows, columns)
            words = np.asarray(self._source[name + _PACKED])
            middle = 1 << bits - 1
            codes = (_unpack(words, columns, bits).astype(np.int16) - middle).astype(np.int8)
            zero = None
            if stored_zero is not None and stored_zero.dtype == np.int32:
                zero = _unpack(np.ascontiguousarray(stored_zero.T), rows, bits).T - np.int32(middle)
            elif stored_zero is not None:
                zero = stored_zero
        layout: dict[str, Any] = {"axis": 0}
        if scale.size == 1 and len(codes) != 1:
            layout, scale = {}, scale.reshape(())
        elif scale.ndim == 2 and scale.shape[1] > 1:
            layout = {"group_size": codes.shape[1] // scale.shape[1]}
        else:
            scale = scale.reshape(-1)
        if zero is not None:
            zero = np.asarray(zero, np.int32).reshape(scale.shape)
        return QTensor.from_parts(
            codes, scale.astype(np.float32), zero, bits=bits, signed=True, **layout,
            scale_dtype=FLOAT16 if scale.dtype == FLOAT16 else None,
        )  # fmt: skip

    def _bits(self, name: str, rows: int, columns: int) -> int:
        words = self._source.info(name + _PACKED)
        if words.dtype != np.int32 or words.ndim != 2 or words.shape[0] != rows:
            raise ValueError(f"its codes are {words.dtype} of shape {words.shape}")
        module = name.removesuffix(_WEIGHT)
        given = [bits for targets, bits in self._groups if module in targets] or [
            bits for _, bits in self._groups
        ]
        for bits in (*given, *_LIKELY_BITS):
            if 1 <= bits <= 8 and words.shape[1] == -(-columns * bits // _WORD):
                return bits
        raise ValueError(f"its rows of {columns} are {words.shape[1]} words of 32 bits")


def _groups(config: dict[str, Any]) -> list[tuple[list[str], int]]:
    """Return the targets and the width of each group of a configuration that can be understood."""
    groups = (config.get("quantization_config") or {}).get("config_groups") or {}
    found = []
    for group in groups.values():
        if group.get("weights"):
            targets, bits = list(group.get("targets") or ()), group["weights"]["num_bits"]
            for target in targets:
                matches("", target)  # refuses what is no pattern
            found.append((targets, check_int(bits, "num_bits", 1, 16)))
    return found


def _read_config(path: Path) -> dict[str, Any]:
    file, length = open_regular(path)
    with file:
        raw = file.read(min(length, _MAX_CONFIG_BYTES))
    try:
        found = json.loads(raw)
        _groups(found)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise FormatError(f"'{path}' is no configuration of a model: {error}") from error
    return dict(found)
