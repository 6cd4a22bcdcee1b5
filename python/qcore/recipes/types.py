"""What the values of a recipe may be: one table, by the name of the parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["fault_of"]


class _Kind(NamedTuple):
    """What a value may be: one of some types; a list of them; one for each pattern."""

    types: tuple[type, ...]
    listed: bool = False
    by_pattern: bool = False


_INT, _NUMBER, _TEXT, _FLAG = (int,), (int, float), (str,), (bool,)
_KINDS = {
    "activation": _Kind(_TEXT), "activations": _Kind(_TEXT, by_pattern=True),
    "algorithm": _Kind(_TEXT, listed=True, by_pattern=True), "attention": _Kind(_TEXT),
    "axis": _Kind(_INT, by_pattern=True),
    "bits": _Kind((int, str), listed=True, by_pattern=True), "criterion": _Kind(_TEXT),
    "epochs": _Kind(_INT), "granularity": _Kind(_TEXT), "group_size": _Kind(_INT, by_pattern=True),
    "ignore": _Kind(_TEXT, listed=True), "layout": _Kind(_TEXT), "learning_rate": _Kind(_NUMBER),
    "levels": _Kind(_INT, by_pattern=True), "min_score": _Kind(_NUMBER),
    "narrow_range": _Kind(_FLAG, by_pattern=True), "nested": _Kind(_INT),
    "observer": _Kind(_TEXT, by_pattern=True), "output": _Kind(_TEXT), "pattern": _Kind(_TEXT),
    "percentile": _Kind(_NUMBER, by_pattern=True), "random_state": _Kind(_INT),
    "scale_dtype": _Kind(_TEXT, by_pattern=True), "scheme": _Kind(_TEXT, by_pattern=True),
    "scope": _Kind(_TEXT), "sparsity": _Kind(_NUMBER, by_pattern=True),
    "symmetric": _Kind(_FLAG, by_pattern=True), "target_bits": _Kind(_NUMBER),
    "target_bytes": _Kind(_INT), "target_ratio": _Kind(_NUMBER), "target_us": _Kind(_NUMBER),
}  # fmt: skip
_WORDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}


def fault_of(key: str, value: Any) -> str | None:
    """Return what is wrong with the type of a parameter's value; None if nothing is.

    Examples
    --------
    >>> fault_of("bits", {"fc1": 4, "*": 8}), fault_of("percentile", 99)
    (None, None)
    >>> fault_of("group_size", "64")
    "group_size is '64'; it must be an integer"
    """
    kind = _KINDS.get(key)
    if value is None and key == "ignore":
        return "ignore is 'none'; it must be a list, [] where nothing is ignored"
    if kind is None or value is None:
        return None
    parts = list(value.values()) if kind.by_pattern and isinstance(value, Mapping) else [value]
    if kind.listed:
        parts = [item for part in parts for item in (part if _is_list(part) else [part])]
    for part in parts:
        # A bool is an int to Python, never here.
        if part is not None and type(part) not in kind.types:
            words = _WORDS[kind.types[-1]]
            return f"{key} is {part!r}; it must be {words}"
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))
