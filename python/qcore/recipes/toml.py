"""TOML: read with the line of what is wrong, written in one canonical form."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["dumps", "line_of", "loads"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def loads(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises
    ------
    ValueError
        If it is none; names the line.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(_with_line_first(str(error), text)) from error
    return tables


def dumps(tables: Mapping[str, Any]) -> str:
    """Return tables as TOML: plain values first, then a section for each table that has any.

    Values are bool, int, float, str, and lists and tables of them. The same values give the same
    text.

    Examples
    --------
    >>> print(dumps({"format": 1, "quantize": {"bits": {"fc1": 4, "*": 8}, "ignore": ["*bias"]}}))
    format = 1
    <BLANKLINE>
    [quantize]
    ignore = ["*bias"]
    bits = {fc1 = 4, "*" = 8}
    """
    plain = {key: value for key, value in tables.items() if not isinstance(value, Mapping)}
    sections = {key: value for key, value in tables.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for name, table in sections.items():
        lines += ["", f"[{_key(name)}]"]
        ordered = sorted(table.items(), key=lambda item: isinstance(item[1], Mapping))
        lines += [f"{_key(key)} = {_value(value)}" for key, value in ordered]
    return "\n".join(lines).lstrip("\n")


def line_of(text: str, section: str, key: str | None = None) -> int | None:
    """Return the line, counted from 1, on which a section, or a key of it, stands."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.match(r"\s*\[([^\[\]]+)\]", line)
        if heading:
            current = heading[1].strip().strip("\"'")
            if key is None and current == section:
                return number
        found = re.match(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*[.=]", line)
        if found and current == section and found[1].strip("\"'") == key:
            return number
    return None


def _with_line_first(message: str, text: str) -> str:
    """Return tomllib's message as "line 3: what is wrong"."""
    found = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", message)
    if found is None:
        return message
    line = found[1] or str(max(1, len(text.splitlines())))
    return f"line {line}: {message[: found.start()].strip()}"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for this one, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise TypeError(f"{type(value).__name__} {value!r} has no place in a recipe")
