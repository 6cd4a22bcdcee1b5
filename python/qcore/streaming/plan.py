"""What will be done to each tensor of a checkpoint, and what that leaves, before any is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qcore.files.parts import Description
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.quantization.functions import quantize
from qcore.quantization.qparams import FLOAT16, FLOAT32
from qcore.quantization.quantizer import Quantizer
from qcore.streaming.forms import Form

__all__ = ["Job", "TensorPlan", "jobs_of", "plan_tensors"]


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


def plan_tensors(
    source: TensorSource, infos: Mapping[str, TensorInfo], quantizer: Quantizer, form: Form
) -> dict[str, TensorPlan]:
    """Return what `quantizer`, which is fitted, will make of each tensor in a file of this form."""
    plans = {}
    for name, info in infos.items():
        if name in quantizer.bits_:
            options = form.options(quantizer.tensor_options(name))
            if info.in_rows and info.size and _row_by_row(options):
                options["scale_dtype"] = _scale_dtype(source, name, info, options)
            plans[name] = _quantized(name, info, options, form)
        else:
            plans[name] = _copied(source, name, info, form)
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


def _quantized(name: str, info: TensorInfo, options: Mapping[str, Any], form: Form) -> TensorPlan:
    if not (info.in_rows and info.size and _row_by_row(options)):
        return TensorPlan(name, info, options)
    # What one row becomes tells what every row does.
    rows = info.shape[0]
    row = np.linspace(-1, 1, info.size // rows).astype(info.dtype)
    probe = quantize(row.reshape(1, *info.shape[1:]), **options)
    zero = not (probe.signed and options.get("symmetric") in (None, True))
    found = form.plan_rows(name, info, probe, zero=zero)
    if found is None:
        return TensorPlan(name, info, options)
    return TensorPlan(name, info, options, tuple(found[0]), found[1])


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


def _copied(source: TensorSource, name: str, info: TensorInfo, form: Form) -> TensorPlan:
    found = source.stored_parts(name)
    # Parts that another format describes are decoded, for a form to encode.
    if found is None or (found[1] and not form.sparse):
        return TensorPlan(name, info, None)
    form.check_copied(name, found[0])
    return TensorPlan(name, info, None, tuple(found[0]), found[1])
