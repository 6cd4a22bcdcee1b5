"""How a pattern names tensors and layers: in one place, for every estimator and command."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

__all__ = ["matches", "matches_any"]


def matches(name: str, pattern: str) -> bool:
    """Whether `pattern` names the tensor `name`, or the layer that it belongs to.

    A pattern is a glob (``"*bias"``, ``"fc?"``), or a regular expression to be found in the name
    when it starts with ``"re:"`` (``"re:^head"``). The tensor ``"fc1.weight"`` belongs to the layer
    ``"fc1"``.

    Examples
    --------
    >>> matches("fc1.weight", "fc1"), matches("fc1.bias", "*bias"), matches("head.bias", "re:^he")
    (True, True, True)
    >>> matches("fc10.weight", "fc1")
    False
    """
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern is {pattern!r}; it must be a string")
    if pattern.startswith("re:"):
        try:
            return re.search(pattern[3:], name) is not None
        except re.error as error:
            raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether any of `patterns` names the tensor `name`; see `matches`."""
    if isinstance(patterns, (str, bytes)) or not isinstance(patterns, Iterable):
        raise TypeError(f"patterns must be a list of strings, found {patterns!r}")
    return any(matches(name, pattern) for pattern in patterns)
