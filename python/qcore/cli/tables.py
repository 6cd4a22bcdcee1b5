"""Tables and numbers, as the terminal shows them."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

__all__ = [
    "Column", "bytes_text", "count_text", "json_text", "print_json", "print_table", "ratio_text",
    "share_text", "smaller_text",
]  # fmt: skip

# Wide enough for every column where there is no terminal to ask.
_WIDTH = 160

#: What stands above a column, and what it shows of a row.
Column = tuple[str, Callable[[Mapping[str, Any]], str]]


#: The parts of what commands say that are rows of a table, or a row.
_TABLES = ("curve", "results", "rows", "steps", "totals", "variants")
#: Attributes that the tables of some commands have for what those of others call otherwise.
_SAME = {"nbytes": "bytes"}


def print_json(value: Any) -> None:
    """Print JSON to standard output; see `json_text`."""
    click.echo(json_text(value))


def json_name(heading: str) -> str:
    """Return the name of a column in JSON.

    Examples
    --------
    >>> json_name("SQNR dB"), json_name("batch 1 µs p50"), json_name("accuracy %")
    ('sqnr_db', 'batch_1_us_p50', 'accuracy_percent')
    """
    text = heading.lower().replace("µ", "u").replace("²", "2").replace("%", " percent ")
    return "_".join(re.findall(r"[a-z0-9]+", text))


def _with_names(value: Any) -> Any:
    """Return what commands say, with names for its own keys and for the headings of its tables."""
    if not isinstance(value, Mapping):
        return value
    return {json_name(key): _named(part) if key in _TABLES else part for key, part in value.items()}


def _named(table: Any) -> Any:
    if isinstance(table, Mapping):
        return {
            _SAME.get(heading) or json_name(heading): _sizes(cell) if heading == "shape" else cell
            for heading, cell in table.items()
        }
    return [_named(row) for row in table] if isinstance(table, (list, tuple)) else table


def _sizes(shape: Any) -> Any:
    """Return a shape as numbers, where a table has it as a text."""
    if not isinstance(shape, str):
        return shape
    return [] if shape in ("", "scalar") else [int(size) for size in shape.split("x")]


def json_text(value: Any) -> str:
    """Return JSON, in which keys are names and numbers that are not finite null.

    Examples
    --------
    >>> json_text([1.5, float("inf")]).split()
    ['[', '1.5,', 'null', ']']
    >>> json_text({"int8 products": "fast"}).split()
    ['{', '"int8_products":', '"fast"', '}']
    """
    return json.dumps(_plain(_with_names(value)), indent=1, allow_nan=False, ensure_ascii=False)


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    *,
    left: int = 1,
    spare: Sequence[str] = (),
) -> None:
    """Print a table to standard output, as wide as the terminal, whole where there is none.

    Parameters
    ----------
    columns
        Those that are empty in every row are left out.
    rows
    left : int
        How many columns, from the left, are texts; the others are numbers and stand right.
    spare : sequence of str
        The columns that a narrow terminal can do without, the first ones first.
    """
    from rich.console import Console
    from rich.table import Table

    cells = [[show(row) for _, show in columns] for row in rows]
    widths = [max(len(text) for text in (c[0], *(line[i] for line in cells)))
              for i, c in enumerate(columns)]  # fmt: skip
    used = [i for i in range(len(columns)) if any(line[i] for line in cells)]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    for name in spare:
        if sum(widths[i] + 2 for i in used) - 2 > console.width:
            used = [i for i in used if columns[i][0] != name]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i in used:
        name = columns[i][0]
        if i < left:
            table.add_column(name, overflow="ellipsis" if i else "fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for line in cells:
        table.add_row(*[line[i] for i in used])
    console.print(table, markup=False)


def bytes_text(count: float) -> str:
    """Return bytes in the unit that people would use.

    Examples
    --------
    >>> bytes_text(950), bytes_text(12_345), bytes_text(7_000_000_000)
    ('950 B', '12.3 kB', '7.00 GB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.3g} {unit}" if count >= 100 else f"{count:.{2 if count < 10 else 1}f} {unit}"


def count_text(count: int, things: str) -> str:
    """Return how many there are of what the plural names.

    Examples
    --------
    >>> count_text(1, "samples"), count_text(1234, "samples")
    ('1 sample', '1,234 samples')
    """
    return f"{count:,} {things if count != 1 else things[:-1]}"


def ratio_text(before: float, after: float) -> str:
    """Return how many times smaller something became; nothing for what is new, or gone."""
    if not before or not after:
        return ""
    ratio = before / after
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.1f}×"


def smaller_text(before: float, after: float) -> str:
    """Return how many times smaller something became, or larger.

    Examples
    --------
    >>> smaller_text(40, 10), smaller_text(10, 40)
    ('4.00× smaller', '4.00× larger')
    """
    if after > before > 0:
        return f"{ratio_text(after, before)} larger"
    return f"{ratio_text(before, after)} smaller"


def share_text(share: float | None) -> str:
    """Return a share in percent; nothing for None."""
    return "" if share is None else f"{100 * share:.1f} %"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
