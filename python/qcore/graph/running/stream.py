"""A graph that is run chunk by chunk, and keeps its state between the chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore.graph.running.inputs import check_inputs
from qcore.graph.value import Value

if TYPE_CHECKING:
    from qcore.graph.running.session import Session

__all__ = ["Stream"]


class Stream:
    """Runs a graph on one chunk after another: some outputs are inputs of the next run.

    `Graph.stream` makes it. All states are zeros at first. Like a `Session` it allocates nothing
    after the first run, and one thread at a time may run it.

    Attributes
    ----------
    inputs : tuple of Value
        Those that a chunk has to give.
    outputs : tuple of Value
    state : dict of str to ndarray
        By the names of inputs: what the next run starts from. Copies; `set_state` takes them back.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> from qcore.graph.node import Node
    >>> from qcore.graph.value import Value
    >>> total = qc.Graph(
    ...     [Node("sum", "Add", ("x", "before"), ("after",))],
    ...     inputs=[Value("x", "float32", (2,)), Value("before", "float32", (2,))],
    ...     outputs=[Value("after", "float32")], constants={},
    ... )
    >>> stream = total.stream({"after": "before"})
    >>> for _ in range(3):
    ...     found = stream.run({"x": np.float32([1, 2])})
    >>> found["after"]
    array([3., 6.], dtype=float32)
    """

    def __init__(
        self, session: Session, outputs: tuple[Value, ...], state: Mapping[str, str]
    ) -> None:
        made = {value.name: value for value in outputs}
        taken = {value.name: value for value in session.inputs}
        if not isinstance(state, Mapping):
            raise TypeError(f"state is {state!r}; it must be a mapping from outputs to inputs")
        for output, given in state.items():
            if output not in made:
                raise ValueError(f"state names the output {output!r}; there are {_listed(made)}")
            if given not in taken:
                raise ValueError(f"state names the input {given!r}; there are {_listed(taken)}")
            if list(state.values()).count(given) > 1:
                raise ValueError(f"state gives the input {given!r} two outputs")
            one, two = made[output].dtype, taken[given].dtype
            if one != two:
                raise ValueError(f"output {output!r} is {one} and the input {given!r} is {two}")
        self.inputs = tuple(v for v in session.inputs if v.name not in set(state.values()))
        self.outputs = tuple(outputs)
        self._session = session
        self._pairs = tuple(state.items())
        self._kept = {
            given: np.zeros(_sizes(taken[given]), taken[given].running_dtype)
            for given in state.values()
        }
        self._values = tuple(taken[given] for given in state.values())

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Compute the outputs for a chunk, states among them, and keep the states.

        Parameters
        ----------
        inputs : mapping of str to array_like
            An array for each input that is no state.

        Returns
        -------
        dict of str to ndarray
            They belong to the stream, which overwrites them at its next run.

        Raises
        ------
        ValueError
            If a state is given, or a state comes out in another shape than it goes in.
        """
        for _, given in self._pairs:
            if given in inputs:
                raise ValueError(f"inputs has {given!r}, a state, which the stream keeps")
        found = self._session.run({**inputs, **self._kept})
        for output, given in self._pairs:
            kept = self._kept[given]
            if found[output].shape != kept.shape:
                raise ValueError(
                    f"output {output!r} has shape {found[output].shape}; as the state {given!r} it "
                    f"must be {kept.shape}"
                )
            np.copyto(kept, found[output])
        return found

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What the next run starts from, by the names of inputs; copies."""
        return {name: kept.copy() for name, kept in self._kept.items()}

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Let the next run start from these arrays, one for each state."""
        for name, array in check_inputs(self._values, state).items():
            np.copyto(self._kept[name], array)

    def reset(self) -> None:
        """Let the next run start from zeros: another recording begins."""
        for kept in self._kept.values():
            kept.fill(0)

    def __repr__(self) -> str:
        given = ", ".join(map(repr, self.inputs))
        return f"Stream({given}; states {', '.join(map(repr, self._kept)) or 'none'})"


def _sizes(value: Value) -> tuple[int, ...]:
    return tuple(dim for dim in value.shape or () if isinstance(dim, int))


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names)) or "none"
