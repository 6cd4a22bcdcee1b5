"""What a `Sequential` and a `Graph` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike, NDArray

from qcore.graph.running.session import Session
from qcore.graph.value import Value

__all__ = ["Network"]


@runtime_checkable
class Network(Protocol):
    """A network that runs by names: `Sequential` and `Graph` alike.

    For annotations, and for ``isinstance``, which asks whether the methods are there.

    Attributes
    ----------
    inputs, outputs : tuple of Value
        Names, types and shapes; a dim that stays open is a name. A `Sequential` has the input
        "input" and the output "output", as its ONNX model has.
    nbytes : int
        Of all tensors.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> net = qc.nn.Sequential.from_arrays([np.eye(2, 3)], [np.ones(3)], layout="in_out",
    ...                                    output="linear")
    >>> isinstance(net, qc.Network), net.inputs
    (True, (Value('input', float32, (batch, 2)),))
    >>> net.run({"input": np.ones((1, 2), np.float32)})
    {'output': array([[2., 2., 1.]], dtype=float32)}
    """

    @property
    def inputs(self) -> tuple[Value, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[Value, ...]: ...  # noqa: D102
    @property
    def nbytes(self) -> int: ...  # noqa: D102

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Compute outputs by name."""
        ...

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Compute the one output for the one input."""
        ...

    def session(
        self, shapes: Mapping[str, int] | None = None, threads: int | None = None
    ) -> Session:
        """Return the network made ready for inputs of one size."""
        ...

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return labels of a classifier, else the output."""
        ...

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return probabilities of a classifier."""
        ...

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy of a classifier, or R² of a regression."""
        ...

    def named_weights(self) -> dict[str, Any]:
        """Return the tensors by name."""
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a file."""
        ...

    def to_onnx(self, path: str | PathLike[str] | None = None) -> Any:
        """Return the network as an ONNX model."""
        ...
