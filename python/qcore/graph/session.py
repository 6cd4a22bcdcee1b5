"""A graph made ready for one set of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import ArrayLike, NDArray

from qcore._validation import check_int
from qcore.graph.inputs import as_source, check_inputs
from qcore.graph.value import Value

if TYPE_CHECKING:
    from qcore import _core
    from qcore.graph.graph import BaseGraph

__all__ = ["Session", "StepTime"]


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


class Session:
    """Runs a graph for inputs of fixed shapes, in memory that is there before the first call.

    Attributes
    ----------
    inputs : tuple of Value
        With all named dims replaced by their sizes.
    """

    def __init__(
        self,
        graph: BaseGraph,
        compiled: _core.Graph,
        shapes: dict[str, int],
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            check_int(threads, "threads", 1)
        names = {
            dim: None for value in graph.inputs for dim in value.shape or () if isinstance(dim, str)
        }
        for name in shapes:
            if name not in names:
                known = ", ".join(map(repr, names)) or "none"
                raise ValueError(f"shapes names {name!r}; the named dims of the inputs are {known}")
        for name in names:
            if name not in shapes:
                raise ValueError(f"shapes has no size for the named dim {name!r}")
            check_int(shapes[name], f"shapes[{name!r}]", 0)
        self.inputs = tuple(_fixed(value, shapes) for value in graph.inputs)
        self.outputs = graph.outputs
        self._session = compiled.session(shapes, threads)
        # Whether arrays of the declared types are run on, and given back, as they are.
        self._as_given = all(
            value.dtype == value.running_dtype for value in (*self.inputs, *self.outputs)
        )

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Compute the outputs.

        The arrays belong to the session, which overwrites them at its next call; those of types
        other than the ones that run (float16, float64) are new.
        """
        if self._as_given:
            done = self._session.run_as_given(inputs)
            if done is not None:
                return done
        found = self._session.run(check_inputs(self.inputs, inputs))
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
        found = self._session.times(check_inputs(self.inputs, inputs), runs)
        return [StepTime(node, kernel, work, least / 1000) for node, kernel, work, least in found]


def _fixed(value: Value, shapes: dict[str, int]) -> Value:
    if value.shape is None or None in value.shape:
        raise ValueError(
            f"input {value.name!r} has dims without a name; a session needs the size of each"
        )
    shape = tuple(shapes[dim] if isinstance(dim, str) else dim for dim in value.shape)
    return Value(value.name, value.dtype, shape)
