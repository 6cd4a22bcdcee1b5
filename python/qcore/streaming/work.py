"""One tile at a time: read it, compress it, write it to its place."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.source import StoredPart, TensorSource
from qcore.streaming.forms import Form, StoredTensor
from qcore.streaming.plan import Job, TensorPlan
from qcore.streaming.tally import Tally

__all__ = ["Done", "Sink", "Worker"]

# Stored floats whose zeros a sparse layout could leave out.
_FLOAT_BYTES = {"F16": 2, "F32": 4, "F64": 8}


class Sink(Protocol):
    """A file that takes bytes at any offset, from any thread."""

    def write_at(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Write bytes from `offset` on."""


class Done(NamedTuple):
    """What a job has to tell.

    `spooled` is a whole tensor for which no place was planned. `wide`: nothing was written, since
    the tensor needs scales of float32 and was planned without.
    """

    tally: Tally
    spooled: StoredTensor | None = None
    wide: bool = False


class Worker:
    """Does jobs; threads may use one together.

    Parameters
    ----------
    source : TensorSource
    plans : mapping of str to TensorPlan
    form : Form
        Of the file.
    places : mapping of (name, part) to int
        Where a planned part starts in the file.
    sink : Sink
    regions : mapping of str to int
        Where there is room for the parts of a tensor that could not be planned.
    errors : bool
        Whether to measure what quantization loses.
    """

    def __init__(
        self,
        source: TensorSource,
        plans: Mapping[str, TensorPlan],
        form: Form,
        places: Mapping[tuple[str, str], int],
        sink: Sink,
        regions: Mapping[str, int],
        *,
        errors: bool = False,
    ) -> None:
        self.source = source
        self.plans = plans
        self.form = form
        self.places = places
        self.sink = sink
        self.regions = regions
        self.errors = errors
        self._own = threading.local()

    def run(self, job: Job) -> Done:
        """Do one job."""
        plan = self.plans[job.name]
        if job.part is not None:
            return self._copy(plan, job, job.part)
        if plan.parts is None:
            return self._whole(plan)
        return self._rows(plan, job)

    def _copy(self, plan: TensorPlan, job: Job, part: str) -> Done:
        data = self._buffer(job.nbytes)
        self.source.copy_part(job.name, part, job.start, data)
        self.sink.write_at(self.places[job.name, part] + job.start, data)
        assert plan.parts is not None
        itemsize = _FLOAT_BYTES.get(plan.parts[0].stored)
        if plan.description or itemsize is None:
            return Done(Tally())
        return Done(Tally.of_bytes(data, itemsize))

    def _rows(self, plan: TensorPlan, job: Job) -> Done:
        assert plan.options is not None
        buffer = self._buffer(job.nbytes)
        x = self.source.read_rows(job.name, job.start, job.stop, buffer)
        q = _quantize(plan, x, job.start)
        if q.scale_dtype != plan.scale_dtype:
            return Done(Tally(), wide=True)
        rows = plan.info.shape[0]
        tile = self.form.encode_rows(job.name, q)
        for part in plan.parts or ():
            if part.part in tile:
                place = self.places[job.name, part.part] + job.start * (part.nbytes // rows)
                self.sink.write_at(place, tile[part.part])
        return Done(Tally.of_codes(x, q, errors=self.errors))

    def _whole(self, plan: TensorPlan) -> Done:
        x = self.source[plan.name]
        value, tally = x, Tally()
        if plan.options is not None:
            assert not isinstance(x, QTensor)
            dense = x.to_dense() if isinstance(x, SparseMatrix) else x
            value = _quantize(plan, dense, 0)
            tally = Tally.of_codes(dense, value, errors=self.errors)
        parts, description = self.form.encode(plan.name, value)
        stored: list[tuple[StoredPart, int]] = []
        end = self.regions[plan.name]
        for part, data in parts:
            place, end = end, end + part.nbytes
            self.sink.write_at(place, data)
            stored.append((part, place))
        return Done(tally, StoredTensor(stored, description))

    def _buffer(self, nbytes: int) -> NDArray[np.uint8]:
        """Return so many bytes that the calling thread uses again and again."""
        buffer: NDArray[np.uint8] | None = getattr(self._own, "buffer", None)
        if buffer is None or buffer.size < nbytes:
            # Of eight-byte elements, so that every type lies aligned in it.
            buffer = self._own.buffer = np.empty(-(-nbytes // 8), np.uint64).view(np.uint8)
        return buffer[:nbytes]


def _quantize(plan: TensorPlan, x: NDArray[Any], first_row: int) -> QTensor:
    """Quantize a tile; an error names the tensor, and the row in it."""
    assert plan.options is not None
    try:
        return quantize(x, **plan.options)
    except ValueError as error:
        where = f" from row {first_row} on" if first_row else ""
        raise ValueError(f"tensor {plan.name!r}{where}: {error}") from error
