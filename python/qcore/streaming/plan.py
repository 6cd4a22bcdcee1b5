"""What will be done to each tensor of a checkpoint, and what that leaves, before any is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.container import part_dtype
from qcore.files.parts import Description, Parts, dense_parts, describe
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.quantization.functions import quantize
from qcore.quantization.qparams import FLOAT16, FLOAT32
from qcore.quantization.quantizer import Quantizer
from qcore.quantization.tensor import QTensor

__all__ = ["Job", "TensorPlan", "jobs_of", "plan_tensors", "tile_parts"]


#: Bytes of a tensor that are looked at in one go before it is planned.
_TILE = 1 << 23


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor: what becomes of it, and the parts that it then has.

    Attributes
    ----------
    name : str
    info : TensorInfo
        Of the tensor in the source.
    options : dict or None
        The arguments of `qcore.quantize`; None: the tensor stays as it is.
    parts : tuple of StoredPart or None
        What the output has of it, if nothing comes as a surprise; None where only the whole
        tensor's values can tell.
    description : dict
        Of the tensor in the output.
    """

    name: str
    info: TensorInfo
    options: Mapping[str, Any] | None
    parts: tuple[StoredPart, ...] | None = None
    description: Description = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A tile: rows `start` to `stop` of a tensor, or these bytes of a part that is copied."""

    name: str
    part: str | None
    start: int
    stop: int
    nbytes: int


def plan_tensors(source: TensorSource, quantizer: Quantizer) -> dict[str, TensorPlan]:
    """Return what `quantizer` will make of each tensor."""
    infos = {name: source.info(name) for name in source}
    quantizer.fit(infos)
    plans = {}
    for name, info in infos.items():
        if name in quantizer.bits_:
            options = quantizer.tensor_options(name)
            if info.in_rows and info.size and _row_by_row(options):
                options["scale_dtype"] = _scale_dtype(source, name, info, options)
            plans[name] = _quantized(name, info, options)
        else:
            plans[name] = _copied(source, name, info)
    return plans


def jobs_of(plan: TensorPlan, tile_bytes: int) -> Iterator[Job]:
    """Split the work on a tensor into tiles of about so many bytes; at least one row each."""
    if plan.options is None and plan.parts is not None:
        step = max(8, tile_bytes // 8 * 8)  # no element of any type lies in two tiles
        for part in plan.parts:
            for start in range(0, part.nbytes, step):
                stop = min(start + step, part.nbytes)
                yield Job(plan.name, part.part, start, stop, stop - start)
        return
    rows = plan.info.shape[0] if plan.info.shape else 1
    if plan.parts is None:
        yield Job(plan.name, None, 0, rows, plan.info.nbytes)
        return
    row_bytes = plan.info.nbytes // rows
    step = max(1, tile_bytes // row_bytes)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield Job(plan.name, None, start, stop, (stop - start) * row_bytes)


def tile_parts(plan: TensorPlan, q: QTensor) -> Parts:
    """Return the parts of a tile: those that are planned and no others."""
    assert plan.parts is not None
    found = dense_parts(q) | {"zero": _zero_part(q)}
    return {part.part: found[part.part] for part in plan.parts}


def _zero_part(q: QTensor) -> NDArray[Any]:
    """Return the zero points as they are stored, where any of the tensor's is not 0."""
    zeros: NDArray[Any] = q.zero_point.astype(q.values.dtype)
    return zeros


def _quantized(name: str, info: TensorInfo, options: Mapping[str, Any]) -> TensorPlan:
    if not (info.in_rows and info.size and _row_by_row(options)):
        return TensorPlan(name, info, options)
    # What one row becomes tells what every row does.
    rows = info.shape[0]
    row = np.linspace(-1, 1, info.size // rows).astype(info.dtype)
    probe = quantize(row.reshape(1, *info.shape[1:]), **options)
    parts = []
    found = dense_parts(probe)
    if not (probe.signed and options.get("symmetric") in (None, True)):
        found["zero"] = _zero_part(probe)
    for part, array in found.items():
        packed = part == "" and probe.bits < 8
        shape = (rows * array.size,) if packed else (rows, *array.shape[1:])
        parts.append(StoredPart(part, part_dtype(array), shape, rows * array.nbytes))
    description = describe(probe)
    description.pop("clipped", None)
    if "shape" in description:
        description["shape"] = list(info.shape)
    return TensorPlan(name, info, options, tuple(parts), description)


def _scale_dtype(
    source: TensorSource, name: str, info: TensorInfo, options: Mapping[str, Any]
) -> np.dtype[Any] | None:
    """Return the type that all of a tensor's scales have: what one tile needs, every tile gets.

    Only groups have a choice, and only for them the tensor is read once more.
    """
    asked = options.get("scale_dtype")
    if options.get("group_size") is None and asked != FLOAT16:
        return None if asked is None else np.dtype(asked)
    if asked == FLOAT32:
        return FLOAT32
    rows = info.shape[0]
    step = max(1, _TILE * rows // info.nbytes)
    buffer = np.empty(-(-min(step, rows) * (info.nbytes // rows) // 8), np.uint64).view(np.uint8)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = buffer[: (stop - start) * (info.nbytes // rows)]
        # What is not a number is refused when the codes are made.
        tile = source.read_rows(name, start, stop, part)
        if quantize(tile, **{**options, "nan": "zero"}).scale_dtype != FLOAT16:
            return FLOAT32
    return FLOAT16


def _row_by_row(options: Mapping[str, Any]) -> bool:
    """Whether rows are quantized alike with and without the rest of the tensor."""
    alone = options.get("axis") == 0 or options.get("group_size") is not None
    plain = options.get("scheme", "affine") == "affine" and not options.get("algorithm")
    return alone and plain


def _copied(source: TensorSource, name: str, info: TensorInfo) -> TensorPlan:
    found = source.stored_parts(name)
    if found is None:
        return TensorPlan(name, info, None)
    return TensorPlan(name, info, None, tuple(found[0]), found[1])
