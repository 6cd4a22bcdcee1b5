"""A report: one row for every tensor, as a table to read and as data to keep."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Report"]


class Report:
    """What was done to a model, tensor by tensor.

    ``str(report)`` is a table. Rows may have different columns; a column that a row lacks is empty.

    Parameters
    ----------
    title
        What the report is about.
    rows
        One mapping for every tensor, column name to a string, number or None.
    totals
        The last row: the same columns for the whole model.
    curve
        Of a mixture of widths: what it was chosen from, a mapping for each point.

    Examples
    --------
    >>> rows = [{"tensor": "fc1.weight", "nnz": 10}]
    >>> report = Report("pruned", rows, {"tensor": "all", "nnz": 10})
    >>> print(report)
    pruned
    tensor      nnz
    fc1.weight   10
    all          10
    >>> report.to_dict()["rows"][0]["nnz"]
    10
    """

    __slots__ = ("curve", "rows", "title", "totals")

    def __init__(
        self,
        title: str,
        rows: Iterable[Mapping[str, Any]],
        totals: Mapping[str, Any] | None = None,
        curve: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.title = title
        self.rows = tuple(dict(row) for row in rows)
        self.totals = dict(totals or {})
        self.curve = tuple(dict(point) for point in curve)

    def to_dict(self) -> dict[str, Any]:
        """Return title, rows, totals and, where there is one, the curve as plain objects."""
        found: dict[str, Any] = {
            "title": self.title,
            "rows": [dict(r) for r in self.rows],
            "totals": dict(self.totals),
        }
        if self.curve:
            found["curve"] = [dict(point) for point in self.curve]
        return found

    def to_json(self) -> str:
        """Return the report as a JSON text; values that are not finite become null."""
        return json.dumps(_finite(self.to_dict()), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """Return the rows and the totals as CSV (RFC 4180): a header, then a line for each.

        Numbers are written in full; what a row lacks is empty.
        """
        columns, body = self._columns()
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(body)
        return text.getvalue()

    def _columns(self) -> tuple[list[str], list[dict[str, Any]]]:
        """Return the names of all columns, and the rows, the totals last."""
        body = [*self.rows, *([self.totals] if self.totals else [])]
        return list(dict.fromkeys(column for row in body for column in row)), body

    def _repr_html_(self) -> str:
        from qcore._display.html import table_html

        rows = [*self.rows, *([self.totals] if self.totals else [])]
        return table_html(self.title, rows, _text)

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.rows)} rows)"

    def __str__(self) -> str:
        columns, body = self._columns()
        cells = [columns] + [[_text(row.get(column)) for column in columns] for row in body]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        numeric = [
            any(isinstance(row.get(column), (int, float)) for row in body) for column in columns
        ]
        lines = [
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in cells
        ]
        return "\n".join([self.title, *lines])


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
