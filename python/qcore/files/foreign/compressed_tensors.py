"""The layouts of compressed-tensors, which other engines load; floats are in `float_layouts`.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.arrays import as_array
from qcore._arguments.names import matches
from qcore._arguments.validation import check_int
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.drafts import write_bytes
from qcore.files.dtypes import stored_name
from qcore.files.foreign.config import MAX_CONFIG_BYTES
from qcore.files.foreign.float_layouts import LAYOUTS, float_parts, float_type
from qcore.files.foreign.packed_words import PACKED, SCALE, SHAPE, WEIGHT, ZERO, pack
from qcore.files.foreign.wide import widened
from qcore.files.paths import open_regular
from qcore.files.qcore_format.container import part_bytes, part_dtype

__all__ = [
    "FILE_TEXTS",
    "config_groups",
    "dense_array",
    "encode_weight",
    "is_packed",
    "no_place",
    "read_config",
    "schemes_of",
    "weight_scheme",
    "widened_weights",
    "write_config",
    "write_weights",
]

#: What a file's header says besides its tensors.
FILE_TEXTS = {"format": "pt"}


Scheme = dict[str, Any]
# What the configuration calls the types of scales and of zero points.
_SCALE_TYPES = ("scale_dtype", "zp_dtype")


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
    if q.scheme in LAYOUTS:
        return float_parts(q)
    # Codes are signed there: of unsigned ones the middle is taken off.
    middle = 0 if q.signed else 1 << q.bits - 1
    scale = q.scale.reshape(1 if q.axis is None and q.group_size is None else (len(q), -1))
    zero = (q.zero_point - middle).astype(np.int8).reshape(scale.shape)
    scales = {SCALE: scale.astype(q.scale_dtype)}
    if not packed:
        codes = q.values if q.signed else (q.values ^ np.uint8(128)).view(np.int8)
        return {"": codes, **scales} | ({} if symmetric else {ZERO: zero})
    # In two's complement as in the codes, half of the range is added by turning the highest bit.
    turned = q.values.view(np.uint8) ^ np.uint8((1 << q.bits - 1) if q.signed else 0)
    shape = np.array(q.shape, np.int64)
    parts: dict[str, NDArray[Any]] = {PACKED: pack(turned, q.bits), **scales, SHAPE: shape}
    if not symmetric and scale.ndim == 1:
        parts[ZERO] = zero
    elif not symmetric:
        offset = (zero.astype(np.int16) + (1 << q.bits - 1)).astype(np.uint8)
        columns = pack(np.ascontiguousarray(offset.reshape(scale.shape).T), q.bits)
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
        reason: str | None = f"quantized tensors are matrices whose names end in {WEIGHT!r}"
    elif q.scheme not in ("affine", *LAYOUTS) or q.row_bits is not None or q.bits > 8:
        kinds = ", ".join(LAYOUTS)
        reason = f"quantized tensors are affine, of 1 to 8 bits, the same in all rows, or {kinds}"
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
    if q.scheme in LAYOUTS:
        layout = LAYOUTS[q.scheme]
        types = {} if layout.scale is None else dict.fromkeys(_SCALE_TYPES, layout.scale)
        return {
            "num_bits": q.bits, "type": "float", "symmetric": True,
            "strategy": layout.strategy or strategy, "group_size": q.group_size, "dynamic": False,
            **types, "format": layout.format,
        }  # fmt: skip
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
    'it has 3 axes; codes of compressed-tensors are those of matrices'
    """
    if len(shape) != 2:
        return f"it has {len(shape)} axes; codes of compressed-tensors are those of matrices"
    if not name.endswith(WEIGHT):
        return f"its name does not end in {WEIGHT!r}, as those of codes in compressed-tensors do"
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
    return any(
        isinstance(value, QTensor) and value.scheme == "affine" and value.bits != 8
        for value in tensors.values()
    )


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
            scheme = value.scheme if isinstance(value, QTensor) else ""
            kind = float_type(scheme, part) or part_dtype(array)
            entries.append((name + part, kind, array.shape, part_bytes(array)))
    _core.write_tensor_file(path, entries, FILE_TEXTS)


def widened_weights(tensors: Mapping[str, object]) -> dict[str, object]:
    """Return tensors, as floats those whose codes have no place in the layouts."""
    return {
        name: widened(name, value, no_place(name, value.shape, SCHEMES[value.scheme].group_size))
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
    whole = read_config(target) if target.exists() else {}
    whole["quantization_config"] = _configuration(schemes, packed=packed)
    write_bytes(target, (json.dumps(whole, indent=2) + "\n").encode())


def _configuration(schemes: Mapping[str, Scheme], *, packed: bool) -> dict[str, Any]:
    members: dict[str, list[str]] = {}
    for name, scheme in schemes.items():
        if scheme:
            members.setdefault(json.dumps(scheme), []).append(name.removesuffix(WEIGHT))
    groups: dict[str, dict[str, Any]] = {}
    for index, (text, modules) in enumerate(members.items()):
        weights = json.loads(text)
        kind = weights.pop("format", "pack-quantized" if packed else "int-quantized")
        # Weights and inputs both of 8 bits are multiplied as they are, as qcore does it.
        inputs = {
            "num_bits": 8, "type": weights["type"], "symmetric": True, "strategy": "token",
            "dynamic": True,
        }  # fmt: skip
        groups[f"group_{index}"] = {
            "targets": ["Linear"] if len(members) == 1 else modules,
            "weights": weights,
            "input_activations": inputs if kind in ("int-quantized", "float-quantized") else None,
            "output_activations": None,
            "format": kind,
        }
    kinds = dict.fromkeys(group["format"] for group in groups.values())
    ignore = [name.removesuffix(WEIGHT) for name, scheme in schemes.items() if not scheme]
    return {
        "quant_method": "compressed-tensors",
        "format": next(iter(kinds), "dense") if len(kinds) < 2 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ignore,
        "kv_cache_scheme": None,
    }


def config_groups(config: dict[str, Any]) -> list[tuple[list[str], int]]:
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


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration beside a checkpoint."""
    file, length = open_regular(path)
    with file:
        raw = file.read(min(length, MAX_CONFIG_BYTES))
    try:
        found = json.loads(raw)
        config_groups(found)
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
