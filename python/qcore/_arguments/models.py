"""What a model is to the estimators: a network, or a dict of named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qcore._arguments.arrays import as_array

__all__ = ["named_weights", "rebuilt"]


def named_weights(model: Any) -> dict[str, Any]:
    """Return the tensors of a network, or of a dict, by name; not copied.

    Arrays of other libraries, such as those of a ``state_dict``, become NumPy's.
    """
    if isinstance(model, Mapping):
        for name, value in model.items():
            if not isinstance(name, str):
                raise TypeError(f"model has the name {name!r}; names must be strings")
            if isinstance(value, (list, tuple)):
                continue  # nested numbers, which become an array
            is_array = hasattr(value, "ndim") and hasattr(value, "nbytes")
            if not is_array and not hasattr(value, "__dlpack__"):
                raise TypeError(f"model[{name!r}] is {type(value).__name__}; it must be an array")
        return {name: _plain(name, value) for name, value in model.items()}
    if hasattr(model, "named_weights"):
        weights: dict[str, Any] = model.named_weights()
        return weights
    kinds = "a Sequential or a dict of named arrays"
    raise TypeError(f"model is {type(model).__name__}; it must be {kinds}")


def _plain(name: str, value: Any) -> Any:
    if type(value).__module__.partition(".")[0] == "qcore":
        return value
    array = as_array(value, f"model[{name!r}]")
    if array.dtype.kind in "OSUVMm" and array.dtype.name != "bfloat16":
        raise TypeError(f"model[{name!r}] is of {array.dtype}; it must be an array of numbers")
    return array


def rebuilt(model: Any, weights: dict[str, Any]) -> Any:
    """Return a model of the same kind with these tensors."""
    return weights if isinstance(model, Mapping) else model.with_weights(weights)
