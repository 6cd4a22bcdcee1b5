"""Compress a checkpoint file into another one, in memory that does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qcore import _core
from qcore._display.progress import EpochProgress, Progress
from qcore._display.table import Report
from qcore.errors import ArgumentError
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.formats import open_tensors
from qcore.files.limits import USUAL, Limits
from qcore.files.sharded.shard_output import (
    SHARD_BYTES,
    files_nbytes,
    group_by_size,
    is_index,
    write_shards,
)
from qcore.files.source import TensorSource
from qcore.streaming.cluster import run_on_cluster
from qcore.streaming.forms import Form, StoredTensor, form_of
from qcore.streaming.graphs import graph_of, weight_slots
from qcore.streaming.output import Output
from qcore.streaming.plan import Job, TensorPlan, jobs_of, plan_tensors
from qcore.streaming.tally import Tally
from qcore.streaming.threads import run_jobs
from qcore.streaming.work import Done, Worker

__all__ = ["TILE_BYTES", "CompressedFile", "compress_file", "compress_source"]

#: Bytes of a tile as it is read. Large enough that what a tile costs beside its bytes does not
#: count, small enough that it is still in the cache when it is quantized.
TILE_BYTES = 1 << 22


class CompressedFile(NamedTuple):
    """A checkpoint that was compressed into a file.

    Attributes
    ----------
    path : Path
        The file.
    nbytes : int
        What it weighs.
    report_ : Report
        What was done to each tensor.
    """

    path: Path
    nbytes: int
    report_: Report


def compress_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    quantizer: Quantizer,
    *,
    file_format: str | None = None,
    recipe: str | None = None,
    errors: bool = False,
    dask: Any = None,
    progress: Progress = "auto",
    tile_bytes: int = TILE_BYTES,
    shard_bytes: int = SHARD_BYTES,
    limits: Limits = USUAL,
) -> CompressedFile:
    """Compress a checkpoint into a file, a tile at a time.

    Tiles are read, quantized and written by as many threads as operations may use
    (`QCORE_NUM_THREADS`) and one more, so that one's waiting for the disk is another's work. Each
    holds one tile: at most `tile_bytes` of the file or one row of a tensor, whichever is more, and
    about half as much again for its codes; this bounds the memory, whatever the file's size.
    Tensors that are quantized as a whole (a codebook, one scale for the tensor, an algorithm) are
    read as a whole.

    A graph that `qcore.save` wrote stays one: its weights get a scale for each output of their op,
    or groups where their inputs lie side by side, and all else is copied.

    The bytes are those of ``qcore.save(output, qcore.compress(qcore.load_tensors(path)))``,
    whatever the number of threads; types that NumPy lacks (bfloat16, float8) are kept where a
    tensor is not quantized. `output` is written beside its place and renamed when it is complete.

    Parameters
    ----------
    path : str or path-like
        The checkpoint: whatever `qcore.load_tensors` reads; or an ONNX graph.
    output : str or path-like
        The file to write; not `path` itself. One that ends in ``.onnx`` is the graph with its
        weights quantized in place (`qcore.frameworks.onnx.weights.quantize`); one that ends in
        ``.safetensors.index.json`` becomes an index, with files of `shard_bytes` beside it.
    quantizer : Quantizer
        What is done; it is fitted to the checkpoint.
    file_format : {"qcore", "compressed-tensors", "gguf"}, optional
        Of `output`; default: "gguf" where its name ends in ``.gguf``, else "qcore". See
        `qcore.save`.
    recipe : str, optional
        A text to keep in the file, as `Recipe.to_toml` gives it.
    errors : bool, default False
        Measure what each tensor loses (SQNR, cosine, greatest error); costs time.
    dask : str or dask.distributed.Client, optional
        Do the work on a cluster: the address of its scheduler, a client, or "local" for one worker
        process for each CPU. `path` and the folder of `output` must be there for every worker. The
        bytes are the same; a worker that is lost costs its shard, which is done again.
    progress : bool, "auto" or callable
        A bar on standard error; "auto": on a terminal only. A callable gets (bytes done, bytes in
        all, text).
    tile_bytes : int
        See above.
    shard_bytes : int, default 5,000,000,000
        The most that the tensors of a file weigh, where `output` is an index.
    limits : Limits
        What the checkpoint may ask for.

    Returns
    -------
    CompressedFile

    Raises
    ------
    ImportError
        If `dask` is given and not installed: ``pip install 'qcore-cpu[dask]'``.
    OSError
        If a file cannot be read or written, a full disk for one; an old output stays as it was.
    FormatError
        If the checkpoint is corrupt.
    ValueError
        If the recipe does not fit, or a value is NaN; names the tensor.
    """
    source_path, target = Path(path), Path(output)
    _check_other(source_path, target)
    if target.suffix == ".onnx":
        from qcore.frameworks.onnx.weights.quantize import quantize_graph

        report = quantize_graph(source_path, target, quantizer, recipe=recipe, progress=progress)
        data = target.with_name(target.name + ".data")
        sizes = [file.stat().st_size for file in (target, data) if file.exists()]
        return CompressedFile(target, sum(sizes), report)
    return compress_source(
        open_tensors(source_path, limits), source_path, target, quantizer,
        file_format=file_format, recipe=recipe, errors=errors, dask=dask, progress=progress,
        tile_bytes=tile_bytes, shard_bytes=shard_bytes,
    )  # fmt: skip


def compress_source(
    source: TensorSource,
    source_path: Path,
    target: Path,
    quantizer: Quantizer,
    *,
    file_format: str | None = None,
    recipe: str | None = None,
    errors: bool = False,
    dask: Any = None,
    progress: Progress = "auto",
    tile_bytes: int = TILE_BYTES,
    shard_bytes: int = SHARD_BYTES,
) -> CompressedFile:
    """Compress an open checkpoint into a file; see `compress_file`."""
    _check_other(source_path, target)
    infos = {name: source.info(name) for name in source}
    graph = graph_of(source)
    slots = None if graph is None else weight_slots(graph)
    quantizer.fit(infos if slots is None else {name: infos[name] for name in slots})
    if graph is not None:
        quantizer.stands_in(graph)
    form = form_of(target, file_format, quantizer, infos, recipe, source)
    wide: set[str] = set()
    while True:
        plans = plan_tensors(source, infos, quantizer, form, wide, slots)
        try:
            stored, tallies = _written(
                source, source_path, target, plans, form,
                errors=errors, dask=dask, progress=progress,
                tile_bytes=tile_bytes, shard_bytes=shard_bytes,
            )  # fmt: skip
        except _ScalesAreWideError as found:
            wide |= found.names  # rare: groups whose scales no float16 holds
        else:
            break
    form.finish(target, stored)
    report = _report(plans, tallies, stored, errors=errors)
    return CompressedFile(target, files_nbytes(target), report)


def _check_other(source: Path, target: Path) -> None:
    """Refuse to write a file over the one that is read."""
    if target.exists() and source.exists() and target.samefile(source):
        raise ArgumentError(
            "output", f"output is {str(target)!r}, the file to compress; name another one"
        )


class _ScalesAreWideError(Exception):
    """Tensors that were planned with scales of float16 need float32."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names


def _written(
    source: TensorSource,
    source_path: Path,
    target: Path,
    plans: Mapping[str, TensorPlan],
    form: Form,
    *,
    errors: bool,
    dask: Any,
    progress: Progress,
    tile_bytes: int,
    shard_bytes: int,
) -> tuple[dict[str, StoredTensor], dict[str, Tally]]:
    """Write the planned tensors; returns where they lie, and what was learned of them."""
    total = sum(job.nbytes for plan in plans.values() for job in jobs_of(plan, tile_bytes))
    stored: dict[str, StoredTensor] = {}
    tallies: dict[str, Tally] = {}
    read = 0
    with EpochProgress(progress, total, target.name, unit="bytes") as shown:

        def write(place: Path, names: Sequence[str]) -> None:
            nonlocal read
            some = {name: plans[name] for name in names}
            with Output(place, some, form) as out:
                for job in _done(source, source_path, out, tile_bytes, errors=errors, dask=dask):
                    read += job.nbytes
                    shown.update(read, job.name)
                stored.update(out.finish())
                tallies.update(out.tallies)

        if is_index(target):
            sizes = [(name, _planned_bytes(plan)) for name, plan in plans.items()]
            write_shards(target, group_by_size(sizes, shard_bytes), write, source.paths)
        else:
            write(target, list(plans))
    return stored, tallies


def _done(
    source: TensorSource, path: Path, out: Output, tile_bytes: int, *, errors: bool, dask: Any
) -> Iterator[Job]:
    """Do the jobs of one output, and yield each that is done."""
    jobs = [job for plan in out.plans.values() for job in jobs_of(plan, tile_bytes)]
    done: dict[int, Done] = {}
    if dask is None:
        worker = Worker(source, out.plans, out.form, out.places, out, out.regions, errors=errors)
        results = run_jobs(worker.run, jobs, _thread_count())
    else:
        results = run_on_cluster(dask, path, out, out.plans, jobs, errors=errors)
    for index, found in results:
        done[index] = found
        yield jobs[index]
    wide = {jobs[index].name for index, found in done.items() if found.wide}
    if wide:
        raise _ScalesAreWideError(wide)
    for index, job in enumerate(jobs):  # in order, so that sums come out alike
        out.note(job.name, done[index])


def _planned_bytes(plan: TensorPlan) -> int:
    """Return what a tensor will weigh, or, where that is not known, what it weighs at most."""
    if plan.parts is None:
        return plan.info.nbytes
    return sum(part.nbytes for part in plan.parts)


def _thread_count() -> int:
    threads = _core.num_threads()
    return threads + 1 if threads > 1 else 1


def _report(
    plans: Mapping[str, TensorPlan],
    tallies: Mapping[str, Tally],
    stored: Mapping[str, StoredTensor],
    *,
    errors: bool,
) -> Report:
    rows = []
    for name, plan in plans.items():
        nbytes = sum(part.nbytes for part, _ in stored[name].parts)
        shape = "x".join(map(str, plan.info.shape)) or "scalar"
        row: dict[str, Any] = {"tensor": name, "shape": shape}
        row |= {"float bytes": 4 * plan.info.size, "bytes": nbytes}
        if plan.options is not None:
            row["scheme"] = plan.options.get("scheme", "affine")
            if "bits" in plan.options:
                about = stored[name].description
                found = about.get("bits", about.get("num_bits"))
                row["bits"] = plan.options["bits"] if found is None else found
            row["clipped"] = tallies[name].clipped
            if errors:
                row |= tallies[name].errors()
        if plan.kept:
            row["kept"] = plan.kept
        rows.append(row)
    totals = {"tensor": "all"} | {
        column: sum(row[column] for row in rows) for column in ("float bytes", "bytes")
    }
    return Report("compressed", rows, totals)
