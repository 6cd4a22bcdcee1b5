"""The file that a compressed checkpoint becomes: laid out before it is known, mended after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.files.dtypes import decode
from qcore.files.qcore_format.parts import decode_tensor, may_be_sparse
from qcore.streaming.forms import Form, StoredTensor
from qcore.streaming.plan import TensorPlan
from qcore.streaming.tally import Tally
from qcore.streaming.work import Done

__all__ = ["Output"]

_COPY_BYTES = 1 << 22
# No form of a tensor takes more: codes, scales, zero points and positions of an element, and a
# codebook.
_MOST_BYTES = 24
_MOST_HEAD = 1 << 20


class Output:
    """A file in the making, whose tensors come in tiles and in any order.

    Every planned part has its place from the start, so that its tiles are written once, straight
    to where they belong. What could not be planned goes behind the end. If anything is not as
    planned (a tensor that is smaller sparse, values that saturated), a second file is put together
    from the first; no value is computed twice.

    Parameters
    ----------
    path : Path
    plans : mapping of str to TensorPlan
    form : Form
        Its kind.

    Attributes
    ----------
    places : dict of (name, part) to int
        Where planned parts start.
    regions : dict of str to int
        Where there is room for the parts of each tensor that could not be planned. Of a file, only
        what was written takes space.
    tallies : dict of str to Tally
        What was learned of each tensor; after `finish`.
    """

    def __init__(self, path: Path, plans: Mapping[str, TensorPlan], form: Form) -> None:
        self.path = path
        self.form = form
        self.plans = plans
        self.tallies = {name: Tally() for name in plans}
        planned = {
            name: StoredTensor([(part, 0) for part in plan.parts], plan.description)
            for name, plan in plans.items()
            if plan.parts is not None
        }
        self._header, self.places, self._end = form.lay_out(planned)
        self.regions: dict[str, int] = {}
        for name, plan in plans.items():
            if plan.parts is None:
                self.regions[name] = self._end
                self._end += _MOST_BYTES * plan.info.size + _MOST_HEAD
        self._spooled: dict[str, StoredTensor] = {}
        self._file = _core.AtomicFile(path)
        self._file.set_len(self._end)
        for name, plan in plans.items():
            for part, data in (
                form.fixed(plan.info) if plan.parts and plan.options else {}
            ).items():
                if (name, part) in self.places:
                    self.write_at(self.places[name, part], data)

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.discard()

    # while jobs run ----------------------------------------------------------------------------
    @property
    def temporary_path(self) -> Path:
        """Where the bytes lie until the file is complete: for writers in other processes."""
        return self._file.temporary_path

    def write_at(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Write bytes from `offset` on."""
        self._file.write_at(offset, data)

    def note(self, name: str, done: Done) -> None:
        """Take in what a job had to tell."""
        self.tallies[name].add(done.tally)
        if done.spooled is not None:
            self._spooled[name] = done.spooled

    # when they are done ------------------------------------------------------------------------
    def finish(self) -> dict[str, StoredTensor]:
        """Complete the file; returns what it has of each tensor."""
        stored = {name: self._as_it_is(name) for name in self.plans}
        planned = all(
            not self._spooled and stored[name].description == plan.description
            for name, plan in self.plans.items()
        )
        if planned and not any(map(self._changed, stored.items())):
            self.write_at(0, np.frombuffer(self._header, np.uint8))
            self._file.commit()
        else:
            self._put_together(stored)
        return stored

    def _changed(self, item: tuple[str, StoredTensor]) -> bool:
        name, tensor = item
        return len(tensor.parts) != len(self.plans[name].parts or ())

    def _as_it_is(self, name: str) -> StoredTensor:
        """Return where a tensor lies, in its smallest form; a sparse one is spooled for that."""
        if name in self._spooled:
            return self._spooled[name]
        plan, tally = self.plans[name], self.tallies[name]
        assert plan.parts is not None
        description = dict(plan.description)
        if plan.options is not None:
            description = self.form.described(description, tally)
        parts = [
            (part, self.places[name, part.part])
            for part in plan.parts
            if plan.options is None or part.part != self.form.zero_part or tally.zero_points
        ]
        tensor = StoredTensor(parts, description)
        bits = _bits(plan) if self.form.sparse else 0
        if bits and may_be_sparse(plan.info.size, tally.stored, bits):
            return self._smaller(name, tensor)
        return tensor

    def _smaller(self, name: str, tensor: StoredTensor) -> StoredTensor:
        """Return the tensor stored sparsely, if that is smaller."""
        parts, description = self.form.encode(name, self._load(tensor))
        if "at" not in description:
            return tensor
        stored = []
        for part, data in parts:
            place, self._end = self._end, self._end + part.nbytes
            self.write_at(place, data)
            stored.append((part, place))
        return StoredTensor(stored, description)

    def _load(self, tensor: StoredTensor) -> object:
        reader = _core.RegularFile(self._file.temporary_path)
        arrays = {}
        for part, place in tensor.parts:
            data = np.empty(part.nbytes, np.uint8)
            reader.read_at(place, data)
            arrays[part.part] = decode(part.stored, data, list(part.shape))
        return decode_tensor(tensor.description, arrays) if tensor.description else arrays[""]

    def _put_together(self, stored: Mapping[str, StoredTensor]) -> None:
        header, places, end = self.form.lay_out(stored)
        reader = _core.RegularFile(self._file.temporary_path)
        final = _core.AtomicFile(self.path)
        try:
            final.set_len(end)
            final.write_at(0, np.frombuffer(header, np.uint8))
            buffer = np.empty(_COPY_BYTES, np.uint8)
            for name, tensor in stored.items():
                for part, place in tensor.parts:
                    for start, piece in _pieces(part.nbytes, buffer):
                        reader.read_at(place + start, piece)
                        final.write_at(places[name, part.part] + start, piece)
            final.commit()
        finally:
            final.discard()


def _pieces(nbytes: int, buffer: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for start in range(0, nbytes, buffer.size):
        yield start, buffer[: min(buffer.size, nbytes - start)]


def _bits(plan: TensorPlan) -> int:
    """Return the width of an element that a sparse layout could leave out; 0 if none can."""
    if plan.options is None:
        widths = {"F16": 16, "F32": 32, "F64": 64}
        return 0 if plan.description or not plan.parts else widths.get(plan.parts[0].stored, 0)
    bits: int = plan.description["bits"]
    return bits if bits <= 8 else 16
