"""A graph made ready for one set of shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import check_int, check_out
from qcore.graph.running.inputs import as_source, check_inputs
from qcore.graph.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Runner", "Session", "StepTime"]


class StepTime(NamedTuple):
    """What a step of a graph takes.

    Attributes
    ----------
    node : str
    kernel : str
    work : int
        About how many operations on elements it does; of a product, multiply-adds.
    micros : float
    """

    node: str
    kernel: str
    work: int
    micros: float


class Runner(Protocol):
    """What computes outputs, in arrays of its own that it fills again at each run."""

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the outputs for checked inputs of the sizes that it was made for."""
        ...

    def run_as_given(self, inputs: Any) -> dict[str, NDArray[Any]] | None:
        """Compute the outputs if the inputs plainly need no check, else return None."""
        ...

    def times(self, inputs: dict[str, NDArray[Any]], runs: int) -> list[tuple[str, str, int, int]]:
        """Return each step's node, kernel, work, and least nanoseconds in so many runs."""
        ...


class Session:
    """Runs a network for inputs of fixed shapes, in memory that is there before the first call.

    Threads may share a session where each call gives `out` for all outputs; what belongs to the
    session is what the last call left. A session for each thread lets them run at once.

    Attributes
    ----------
    inputs : tuple of Value
        With all named dims replaced by their sizes.
    """

    def __init__(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        shapes: Mapping[str, int] | None,
        threads: int | None,
        runner: Callable[[dict[str, int], int | None], Runner],
    ) -> None:
        if shapes is not None and not isinstance(shapes, Mapping):
            raise TypeError(f"shapes is {shapes!r}; it must be a mapping of names to sizes")
        shapes = dict(shapes or {})
        if threads is not None:
            check_int(threads, "threads", 1)
        names = {dim: None for value in inputs for dim in value.shape or () if isinstance(dim, str)}
        for name in shapes:
            if name not in names:
                known = ", ".join(map(repr, names)) or "none"
                raise ValueError(f"shapes names {name!r}; the named dims of the inputs are {known}")
        for name in names:
            if name not in shapes:
                raise ValueError(f"shapes has no size for the named dim {name!r}")
            check_int(shapes[name], f"shapes[{name!r}]", 0)
        self.inputs = tuple(_fixed(value, shapes) for value in inputs)
        self.outputs = tuple(outputs)
        self._runner = runner(shapes, threads)
        self._copying = Lock()
        # Whether arrays of the declared types are run on, and given back, as they are.
        self._as_given = all(
            value.dtype == value.running_dtype for value in (*self.inputs, *self.outputs)
        )

    def run(
        self,
        inputs: Mapping[str, ArrayLike],
        out: Mapping[str, NDArray[Any]] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Compute the outputs.

        Parameters
        ----------
        inputs : mapping of str to array_like
            An array for each input.
        out : mapping of str to ndarray, optional
            Arrays for some or all outputs, of their dtypes and shapes, which are filled and
            returned.

        Returns
        -------
        dict of str to ndarray
            Those that `out` does not give belong to the session, which overwrites them at its next
            call; those of types other than the ones that run (float16, float64) are new.
        """
        if self._as_given and out is None:
            done = self._runner.run_as_given(inputs)
            if done is not None:
                return done
        arrays = check_inputs(self.inputs, inputs)
        if out is None:
            return self._run(arrays)
        _check_names(out, {value.name for value in self.outputs})
        # Nobody fills the session's arrays again before they are copied.
        with self._copying:
            made = self._run(arrays)
            given = {
                name: check_out(array, made[name].dtype, made[name].shape, name=f"out[{name!r}]")
                for name, array in out.items()
            }
            for name, array in given.items():
                np.copyto(array, made[name])
        return made | given

    def _run(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = self._runner.run(arrays)
        return {value.name: as_source(found[value.name], value) for value in self.outputs}

    def times(self, inputs: Mapping[str, ArrayLike], runs: int = 100) -> list[StepTime]:
        """Time each step by itself.

        Parameters
        ----------
        inputs : mapping of str to array
        runs : int
            Each step's time is its least in so many runs.

        Returns
        -------
        list of StepTime
            In the order in which they run. A node may be several steps, and a step may do the work
            of several nodes.
        """
        check_int(runs, "runs", 1)
        found = self._runner.times(check_inputs(self.inputs, inputs), runs)
        return [StepTime(node, kernel, work, least / 1000) for node, kernel, work, least in found]


def _check_names(out: object, known: set[str]) -> None:
    if not isinstance(out, Mapping):
        raise TypeError(
            f"out is {type(out).__name__}; it must be a mapping of the outputs' names to arrays"
        )
    for name in out:
        if name not in known:
            names = ", ".join(map(repr, sorted(known)))
            raise ValueError(f"out names {name!r}; the outputs are {names}")


def _fixed(value: Value, shapes: dict[str, int]) -> Value:
    if value.shape is None or None in value.shape:
        raise ValueError(
            f"input {value.name!r} has dims without a name; a session needs the size of each"
        )
    shape = tuple(shapes[dim] if isinstance(dim, str) else dim for dim in value.shape)
    return Value(value.name, value.dtype, shape)
