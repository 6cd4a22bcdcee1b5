"""What ``qcore compress`` would do: ``--dry-run``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from qcore import _core
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.kinds import codes_of
from qcore.cli.compressing.job import Job
from qcore.cli.compressing.running import run_job
from qcore.cli.compressing.target_planning import TargetPlan, plan_target
from qcore.cli.models import open_model
from qcore.cli.params import bytes_of
from qcore.estimators.pruner.pruner import Pruner
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.qcore_format.container import separator_for, texts_of
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.streaming.compress import TILE_BYTES
from qcore.streaming.forms import StoredTensor, form_of
from qcore.streaming.plan import TensorPlan, plan_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Plan", "plan_job"]

# Files of fewer bytes are compressed, to tell what would come of it.
_DONE_BYTES = 32 << 20
# What streaming holds at once at the most.
_MOST_STREAMED = 4 * TILE_BYTES
# So many times the bytes of the largest tensor of a graph are held: it, its codes, what they are.
_OF_LARGEST = 5.0
# Elements of the tensor that is tried, to tell how long all of them take.
_SAMPLE = 1 << 18


@dataclass(frozen=True)
class Plan:
    """What would be written.

    Attributes
    ----------
    output : Path or None
    rows : list of dict
        For each tensor, the columns of `qcore.report.compare.comparison.compare` that are known
        before.
    before, nbytes : int
        Bytes of the file that is read, and of the one that would be written.
    exact : bool
        Whether `nbytes` holds to the byte; of what was not done but planned, if no values saturate
        and none are 0.
    seconds, memory : float
        Estimates: of the time, from a sample of the tensors; of the bytes held at once.
    recipe : str
    """

    output: Path | None
    rows: list[dict[str, Any]]
    before: int
    nbytes: int
    exact: bool
    seconds: float
    memory: float
    recipe: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        return {
            "format": 1,
            "dry_run": True,
            "output": None if self.output is None else str(self.output),
            "input_bytes": self.before,
            "output_bytes": self.nbytes,
            "exact": self.exact,
            "seconds": self.seconds,
            "memory_bytes": self.memory,
            "recipe": self.recipe,
            "rows": self.rows,
        }


def plan_job(job: Job) -> Plan | TargetPlan:
    """Say what `run_job` would do."""
    with job.blamed_on_recipe():
        return _plan(job) if job.recipe.compress is None else plan_target(job)


def _plan(job: Job) -> Plan:
    """Say what a job would do: what is small is done, and thrown away, so that it is exact.

    Of larger files, and of training, it says so from the header and a sample of the tensors.
    """
    if job.is_graph or bytes_of(job.source) <= _DONE_BYTES:
        return _plan_by_doing(job)
    if job.in_place:
        return _plan_graph(job)
    source = open_model(job.source)
    options = job.recipe.quantize
    quantizer = None if options is None else Quantizer(**(dict(options) | {"activations": None}))
    form, text = None, job.recipe.to_toml()
    if quantizer is None:
        plans = {name: TensorPlan(name, source.info(name), None) for name in source}
    else:
        infos = {name: source.info(name) for name in source}
        quantizer.fit(infos)
        output = job.output or Path("none.safetensors")
        form = form_of(output, job.file_format, quantizer, infos, text, source)
        plans = plan_tensors(source, infos, quantizer, form)
    kept = _kept_shares(job, source)
    rows, entries, exact = [], [], not kept and job.streams
    for name, tensor in plans.items():
        parts, known = _parts(tensor, kept.get(name, 1.0), source)
        exact = exact and known
        entries += [(name, part) for part in parts]
        rows.append(_row(tensor, sum(part.nbytes for part in parts), source))
    if form is not None and job.streams and all(plan.parts is not None for plan in plans.values()):
        nbytes = form.lay_out(_stored(plans))[2]
    else:
        nbytes = _header_length(plans, entries, text) + sum(part.nbytes for _, part in entries)
    before = bytes_of(job.source)
    return Plan(
        job.output, rows, before, nbytes, exact,
        _seconds(plans, source), _memory(job, plans.values()), text,
    )  # fmt: skip


def _plan_by_doing(job: Job) -> Plan:
    """Do the job in a folder of its own, and say what came of it."""
    name = "small.onnx" if job.in_place else "small.safetensors"
    with TemporaryDirectory(prefix="qcore-dry-run-") as folder:
        # The names of data files, which follow that of the output, count too.
        output = Path(folder) / (job.output.name if job.output is not None else name)
        done = run_job(replace(job, output=output), perf_counter(), look=False)
    infos = [done.report.totals["before bytes"], done.report.totals["bytes"]]
    memory = float(sum(infos) if not job.streams else min(sum(infos), _MOST_STREAMED))
    return Plan(
        job.output, list(done.report.rows), done.before, done.after, True, done.seconds, memory,
        job.recipe.to_toml(),
    )  # fmt: skip


def _plan_graph(job: Job) -> Plan:
    """Say what becomes of an ONNX graph, by a run of it without values."""
    from qcore.frameworks.onnx.weights.quantize import plan_graph

    quantizer = Quantizer(**(dict(job.recipe.quantize or {}) | {"activations": None}))
    text = job.recipe.to_toml()
    found = plan_graph(job.source, quantizer, output=job.output or job.source, recipe=text)
    source = open_model(job.source)
    plans, rows = {}, []
    for row in found.rows:
        name, info = row["tensor"], source.info(row["tensor"])
        options = None if "kept" in row else quantizer.tensor_options(name)
        plans[name] = TensorPlan(name, info, options)
        shown = _row(plans[name], row["bytes"], source)
        rows.append(shown | ({"kept": row["kept"]} if "kept" in row else {}))
    largest = max((plan.info.nbytes for plan in plans.values()), default=0)
    inline = job.source.stat().st_size
    return Plan(
        job.output, rows, bytes_of(job.source), found.nbytes, False,
        _seconds(plans, source), 3.0 * inline + _OF_LARGEST * largest, text,
    )  # fmt: skip


def _kept_shares(job: Job, source: TensorSource) -> dict[str, float]:
    """Return the share of values that pruning would leave in each tensor."""
    if job.recipe.prune is None:
        return {}
    pruner = Pruner(**job.recipe.prune)
    sparsity = pruner.sparsity
    infos = {name: source.info(name) for name in source}
    pruned = [n for n, i in infos.items() if i.ndim >= 2 and np.issubdtype(i.dtype, np.floating)]
    if isinstance(sparsity, Mapping):
        from qcore._arguments.names import matches

        found = {n: next((s for p, s in sparsity.items() if matches(n, p)), 0.0) for n in pruned}
        return {name: 1.0 - share for name, share in found.items()}
    if sparsity is None:
        kept, _, of = pruner.pattern.partition(":")
        sparsity = 1.0 - int(kept) / int(of)
    return dict.fromkeys(pruned, 1.0 - sparsity)


def _parts(tensor: TensorPlan, kept: float, source: TensorSource) -> tuple[list[StoredPart], bool]:
    """Return a tensor's parts in the output, and whether they are known or guessed."""
    info = tensor.info
    if tensor.parts is not None and kept == 1.0:
        # How many values saturate stands in the header; ranges from least to greatest clip none.
        clips = tensor.options is not None and tensor.options.get("observer") != "minmax"
        return list(tensor.parts), not clips
    bits, extra = info.dtype.itemsize * 8, 0
    if tensor.parts is not None:
        extra = sum(part.nbytes for part in tensor.parts[1:])
        bits = int(tensor.description.get("bits", bits))
    elif tensor.options is not None:
        levels = tensor.options.get("levels")
        bits = (int(levels) - 1).bit_length() if levels else int(tensor.options.get("bits", 8))
        extra = 4 * int(levels or info.shape[0])
    dense = info.size * bits // 8
    values = int(info.size * kept)
    # As a file holds it: the kept values, and a bit for each position or a byte for each value.
    sparse = values * bits // 8 + min(info.size // 8, values)
    length = dense if kept == 1.0 else min(dense, sparse)
    return [StoredPart("", "U8", (length + extra,), length + extra)], tensor.options is None


def _row(tensor: TensorPlan, nbytes: int, source: TensorSource) -> dict[str, Any]:
    info: TensorInfo = tensor.info
    stored = source.stored_parts(tensor.name)
    after = str(info.dtype)
    if tensor.options is not None:
        levels, group = tensor.options.get("levels"), tensor.options.get("group_size")
        scheme = tensor.options.get("scheme", "affine")
        after = codes_of(tensor.options.get("bits", ""), scheme)
        after += f", groups of {group}" if group else f", {levels} levels" if levels else ""
    return {
        "tensor": tensor.name,
        "shape": "x".join(map(str, info.shape)) or "scalar",
        "before": str(info.dtype),
        "after": after,
        "before bytes": info.nbytes if stored is None else sum(p.nbytes for p in stored[0]),
        "bytes": nbytes,
    } | ({"kept": tensor.kept} if tensor.kept else {})


def _stored(plans: Mapping[str, TensorPlan]) -> dict[str, StoredTensor]:
    return {
        name: StoredTensor([(part, 0) for part in plan.parts or ()], plan.description)
        for name, plan in plans.items()
    }


def _header_length(
    plans: Mapping[str, TensorPlan], entries: Iterable[tuple[str, StoredPart]], recipe: str
) -> int:
    separator = separator_for(plans)
    described = {name: plan.description for name, plan in plans.items() if plan.description}
    named = [
        (f"{name}{separator}{part.part}" if part.part else name, part.stored, part.shape)
        for name, part in entries
    ]
    texts = texts_of("checkpoint", separator, described, {"recipe": recipe})
    return len(_core.plan_tensor_file(named, texts)[0])


def _seconds(plans: Mapping[str, TensorPlan], source: TensorSource) -> float:
    """Quantize a piece of the largest tensor, and tell from it what all of them take."""
    todo = [plan for plan in plans.values() if plan.options is not None and plan.info.size]
    if not todo:
        return 0.0
    largest = max(todo, key=lambda plan: plan.info.size)
    count = largest.info.shape[0] if largest.info.shape else 1
    rows = min(count, max(1, _SAMPLE // (largest.info.size // max(1, count))))
    start = perf_counter()
    if largest.info.in_rows:
        piece = source.read_rows(largest.name, 0, rows)
        each = (perf_counter() - start) / piece.size
    else:
        whole = np.asarray(source[largest.name])
        each = (perf_counter() - start) / whole.size
        piece = whole[:rows] if whole.ndim else whole
    quantize(piece, **(largest.options or {}))  # what is made once is not counted
    start = perf_counter()
    quantize(piece, **(largest.options or {})).error(piece)
    each += (perf_counter() - start) / piece.size
    return each * sum(plan.info.size for plan in todo)


def _memory(job: Job, plans: Iterable[TensorPlan]) -> float:
    """Return about how many bytes are held at once."""
    infos = [plan.info for plan in plans]
    largest = max((info.nbytes for info in infos), default=0)
    if not job.streams:
        return 2.0 * sum(info.nbytes for info in infos) + 4.0 * largest
    whole = max((p.info.nbytes for p in plans if p.options and p.parts is None), default=0)
    return (_core.num_threads() + 1) * 4.0 * max(min(TILE_BYTES, largest), whole)
