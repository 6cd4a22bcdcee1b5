"""The same tiles on a Dask cluster: shards of them are tasks, results are small.

A task reads its tiles from the source and writes their codes to their places in the temporary file,
both of which every worker sees; what it returns is what was learned of the tensors. A task that is
run again writes the same bytes to the same places, so that a lost worker costs its shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._runtime.extras import require
from qcore.files.formats import open_tensors
from qcore.files.limits import UNLIMITED
from qcore.files.source import TensorSource
from qcore.streaming.forms import Form
from qcore.streaming.plan import Job, TensorPlan
from qcore.streaming.work import Done, Worker

if TYPE_CHECKING:
    from qcore.streaming.output import Output

__all__ = ["SHARD_BYTES", "connected", "run_on_cluster"]

#: Bytes of a task as they are read: enough that sending it off does not count.
SHARD_BYTES = 1 << 26


class _Shard(NamedTuple):
    """Everything that a worker needs to do some jobs."""

    source: str
    version: tuple[int, int]
    target: str
    jobs: tuple[Job, ...]
    plans: Mapping[str, TensorPlan]
    form: Form
    places: Mapping[tuple[str, str], int]
    regions: Mapping[str, int]
    errors: bool


def run_on_cluster(
    dask: Any,
    source: Path,
    out: Output,
    plans: Mapping[str, TensorPlan],
    jobs: Sequence[Job],
    *,
    errors: bool,
    shard_bytes: int = SHARD_BYTES,
) -> Iterator[tuple[int, Done]]:
    """Do jobs on a cluster, and yield the index of each and what it has to tell.

    Parameters
    ----------
    dask : str or dask.distributed.Client
        The address of a scheduler, a client, or "local" for a cluster on this machine.
    source : Path
    out : Output
        The file in the making.
    plans, jobs, errors
        As in `Worker`.
    shard_bytes : int
    """
    distributed = require("dask.distributed", "compress with dask")
    status = source.stat()
    version = (status.st_mtime_ns, status.st_size)
    shards = {}
    with connected(distributed, dask) as client:
        for indices in _shards(jobs, shard_bytes):
            mine = tuple(jobs[index] for index in indices)
            names = {job.name for job in mine}
            shard = _Shard(
                str(source.absolute()), version, str(out.temporary_path.absolute()), mine,
                {name: plans[name] for name in names}, out.form,
                {key: place for key, place in out.places.items() if key[0] in names},
                {name: out.regions[name] for name in names if name in out.regions},
                errors,
            )  # fmt: skip
            # A shard that kills its worker will kill the next: then the error is told.
            shards[client.submit(_work, shard, pure=False, retries=0)] = indices
        for future, results in distributed.as_completed(shards, with_results=True):
            yield from zip(shards[future], results, strict=True)
            future.release()


def _shards(jobs: Sequence[Job], shard_bytes: int) -> Iterator[list[int]]:
    indices: list[int] = []
    nbytes = 0
    for index, job in enumerate(jobs):
        indices.append(index)
        nbytes += job.nbytes
        if nbytes >= shard_bytes:
            yield indices
            indices, nbytes = [], 0
    if indices:
        yield indices


@contextmanager
def connected(distributed: Any, dask: Any) -> Iterator[Any]:
    """Give a client: the caller's own, which stays open, or one for the time."""
    if isinstance(dask, distributed.Client):
        yield dask
    elif dask == "local":
        cluster = distributed.LocalCluster(
            n_workers=_core.num_threads(), threads_per_worker=1, dashboard_address=None
        )
        with cluster, distributed.Client(cluster) as client:
            yield client
    else:
        with distributed.Client(dask) as client:
            yield client


# on a worker -------------------------------------------------------------------------------------
def _work(shard: _Shard) -> list[Done]:
    _core.work_alone()
    source = _opened(shard.source, shard.version)
    with _SharedFile(shard.target) as target:
        worker = Worker(
            source,
            shard.plans,
            shard.form,
            shard.places,
            target,
            shard.regions,
            errors=shard.errors,
        )
        return [worker.run(job) for job in shard.jobs]


@lru_cache(maxsize=4)
def _opened(path: str, version: tuple[int, int]) -> TensorSource:
    """Open a checkpoint once for all shards of it; another version of the file is another one.

    What it may ask for was settled where the work was handed out.
    """
    return open_tensors(Path(path), UNLIMITED)


class _SharedFile:
    """The temporary file of another process."""

    def __init__(self, path: str) -> None:
        # Not `os.pwrite`, which Windows lacks: one shard at a time writes through this file.
        self._file = Path(path).open("r+b", buffering=0)  # noqa: SIM115

    def __enter__(self) -> _SharedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_at(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Write bytes from `offset` on."""
        self._file.seek(offset)
        rest = data.data
        while len(rest):
            rest = rest[self._file.write(rest) :]
