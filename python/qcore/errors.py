"""The exceptions and warnings that NumPy's ecosystem has no name for."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["AccuracyWarning", "ArgumentError", "FormatError", "UnsupportedError"]


class ArgumentError(ValueError):
    """An argument whose value is not allowed.

    Attributes
    ----------
    argument : str
        Its name.
    """

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument

    def __reduce__(self) -> tuple[type[ArgumentError], tuple[str, str]]:
        return type(self), (self.argument, str(self))


class AccuracyWarning(UserWarning):
    """A network that was compressed answers otherwise than before on the samples it was given."""


class FormatError(ValueError):
    """A file that is not what it says it is: truncated, corrupt, or of a newer format."""


class LimitError(FormatError):
    """A file that asks for more than it may: names the argument that allows more."""


class UnsupportedError(NotImplementedError):
    """A model with operations that qcore does not have.

    Attributes
    ----------
    ops : tuple of (str, int, str)
        Each such op, how often it is there, and the name of the first node.

    Examples
    --------
    >>> print(UnsupportedError.of([("LSTM", 2, "lstm_1")]))
    the model has ops that qcore does not have: LSTM (2 nodes, the first is 'lstm_1')
    """

    ops: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def of(cls, ops: Iterable[tuple[str, int, str]], hint: str = "") -> UnsupportedError:
        """Return the error for these ops."""
        found = tuple(ops)
        listed = ", ".join(
            f"{op} ({count} node{'s' if count != 1 else ''}, the first is {first!r})"
            for op, count, first in found
        )
        error = cls(f"the model has ops that qcore does not have: {listed}{hint}")
        error.ops = found
        return error
