"""What will be done to each tensor of a checkpoint, and what that leaves, before any is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qcore.arrays.params.qparams import FLOAT32
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.qcore_format.parts import Description
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.graph.slots import WeightSlot
from qcore.streaming.forms import Form

__all__ = ["Job", "TensorPlan", "jobs_of", "plan_tensors"]


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
    scale_dtype : dtype or None
        That the parts are planned with.
    kept : str
        Why it stays as it is although it was to be quantized.
    """

    name: str
    info: TensorInfo
    options: Mapping[str, Any] | None
    parts: tuple[StoredPart, ...] | None = None
    description: Description = field(default_factory=dict)
    scale_dtype: np.dtype[Any] | None = None
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A tile: rows `start` to `stop` of a tensor, or these bytes of a part that is copied."""

    name: str
    part: str | None
    start: int
    stop: int
    nbytes: int


def plan_tensors(
    source: TensorSource,
    infos: Mapping[str, TensorInfo],
    quantizer: Quantizer,
    form: Form,
    wide: Collection[str] = (),
    slots: Mapping[str, WeightSlot] | None = None,
) -> dict[str, TensorPlan]:
    """Return what `quantizer`, which is fitted, will make of each tensor in a file of this form.

    All scales of a tensor are of one type. Where that follows from the values it is planned to be
    float16, but for tensors that are known to need float32: those named in `wide`. `slots` are the
    weights of a graph.
    """
    plans = {}
    for name, info in infos.items():
        if name in quantizer.bits_:
            options = form.options(quantizer.tensor_options(name))
            if slots is not None:
                options |= _layout(slots[name], options)
            if name in wide:
                options["scale_dtype"] = FLOAT32
            reason = form.kept(name, info, options)
            if reason is None:
                plans[name] = _quantized(name, info, options, form)
            else:
                plans[name] = replace(_copied(source, name, info, form), kept=reason)
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
    row = np.ones(info.size // rows, info.dtype)  # float16 holds its scales, in any groups
    probe = quantize(row.reshape(1, *info.shape[1:]), **options)
    plain = probe.signed and options.get("symmetric") in (None, True)
    zero = probe.scheme == "affine" and not plain
    found = form.plan_rows(name, info, probe, zero=zero)
    if found is None:
        return TensorPlan(name, info, options)
    return TensorPlan(name, info, options, tuple(found[0]), found[1], probe.scale_dtype)


def _layout(slot: WeightSlot, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the scales of a weight lie that its op does not read as (out, in)."""
    if options.get("group_size") is not None and not slot.is_matrix:
        return {"axis": slot.out_axis, "group_size": None}
    if options.get("axis") != 0 or slot.out_axis == 0:
        return {}
    if slot.out_axis is None:  # outputs along several axes: each is one group
        return {"axis": None, "group_size": slot.shape[1]}
    return {"axis": slot.out_axis}


def _row_by_row(options: Mapping[str, Any]) -> bool:
    """Whether rows are quantized alike with and without the rest of the tensor."""
    scheme = SCHEMES[options.get("scheme", "affine")]
    alone = options.get("axis") == 0 or options.get("group_size") is not None
    plain = scheme.name == "affine" and not options.get("algorithm")
    return (alone and plain) or scheme.scale_format == "F8_E8M0"


def _copied(source: TensorSource, name: str, info: TensorInfo, form: Form) -> TensorPlan:
    found = source.stored_parts(name)
    # Parts that only another format has are decoded, for a form to encode.
    if found is None or (found[1] and not form.sparse) or not form.keeps(found[0]):
        return TensorPlan(name, info, None)
    form.check_copied(name, found[0])
    return TensorPlan(name, info, None, tuple(found[0]), found[1])
