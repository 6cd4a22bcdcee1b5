"""A checkpoint compressed tensor by tensor, and its report in the columns of all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qcore._display.table import Report
from qcore.arrays.tensor.kinds import codes_of
from qcore.cli.models import open_model
from qcore.cli.params import limits
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.limits import Limits
from qcore.streaming.forms import form_of

if TYPE_CHECKING:
    from qcore.cli.compressing.job import Job
    from qcore.files.source import TensorInfo, TensorSource

__all__ = ["stream"]


def stream(job: Job, recipe: str) -> Report:
    """Compress the tensors of a file, one after the other, without loading it."""
    from qcore.streaming.compress import compress_file

    assert job.output is not None
    quantizer = Quantizer(**(dict(job.recipe.quantize or {}) | {"activations": None}))
    if not job.in_place:  # a graph tells it itself, with its reasons
        tensors = open_model(job.source)
        infos = {name: tensors.info(name) for name in tensors}
        coded = any(info.bits is not None for info in infos.values())  # goes into another file
        if not quantizer.fit(infos).bits_ and not coded:
            raise ValueError(
                f"'{job.source}' has no float tensor of two or more axes that --ignore does not "
                "name, so there is nothing to quantize and nothing was written"
            )
        _refuse_to_keep_all(job, quantizer, infos)
    done = compress_file(
        job.source, job.output, quantizer,
        file_format=job.file_format, dask=job.dask, recipe=recipe, errors=True,
        limits=Limits(**limits()),
    )  # fmt: skip
    return _as_compared(done.report_, open_model(job.source), job.recipe.quantize or {})


def _refuse_to_keep_all(job: Job, quantizer: Quantizer, infos: Mapping[str, TensorInfo]) -> None:
    """Raise ValueError where the output's format has no place for any of the codes."""
    assert job.output is not None
    form = form_of(job.output, job.file_format, quantizer, infos)
    reasons = {
        name: form.kept(name, infos[name], form.options(quantizer.tensor_options(name)))
        for name in quantizer.bits_
    }
    if reasons and all(reasons.values()):
        name, reason = next(iter(reasons.items()))
        raise ValueError(
            f"'{job.source}' has no tensor whose codes the output holds, so nothing was written "
            f"({name}: {reason})"
        )


def _as_compared(report: Report, source: TensorSource, options: Mapping[str, Any]) -> Report:
    """Return the report in the columns of `compare_tensors`."""
    rows = []
    group = options.get("group_size")
    for found in report.rows:
        info = source.info(found["tensor"])
        parts = source.stored_parts(found["tensor"])
        row = {"tensor": found["tensor"], "shape": found["shape"]}
        row |= {"before": str(info.dtype), "after": str(info.dtype)}
        if "scheme" in found:
            width = found.get("bits", "")
            row["after"] = codes_of(width, found["scheme"]) + (
                f", groups of {group}" if group else ""
            )
        elif "kept" in found:
            row["kept"] = found["kept"]
        row["before bytes"] = info.nbytes if parts is None else sum(p.nbytes for p in parts[0])
        copied = {"SQNR dB": math.inf, "cosine": 1.0, "max error": 0.0}
        columns = ("bytes", *copied, "clipped")
        rows.append(row | copied | {name: found[name] for name in columns if name in found})
    totals: dict[str, Any] = {"tensor": "all"}
    for column in ("before bytes", "bytes"):
        totals[column] = sum(row[column] for row in rows)
    return Report("compressed", rows, totals)
