"""How things show themselves in a notebook: small pieces of HTML that bring their own style."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BAR", "FAINT", "LINE", "bars", "facts_html", "number_text", "shades", "table_html"]

#: The accent of figures, as the light theme has it, and colours that can be read on any ground.
BAR, FAINT, LINE = "#2f6fed", "#7c8694", "#7c869455"
_CELL = f"padding:3px 12px 3px 0;border-bottom:1px solid {LINE}"
_MOST_ROWS = 40


def table_html(title: str, rows: Sequence[Mapping[str, Any]], text: Any = str) -> str:
    """Return rows as a table; `text` makes a text of a value.

    Examples
    --------
    >>> table_html("shares", [{"a": 1}]).count("<td")
    1
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    numeric = {c for c in columns if any(isinstance(row.get(c), (int, float)) for row in rows)}

    def cell(tag: str, column: str, content: str) -> str:
        side = "right" if column in numeric else "left"
        return f'<{tag} style="{_CELL};text-align:{side}">{html.escape(content)}</{tag}>'

    head = "".join(cell("th", column, column) for column in columns)
    shown = rows if len(rows) <= _MOST_ROWS else [*rows[: _MOST_ROWS - 1], rows[-1]]
    body = "".join(
        f"<tr>{''.join(cell('td', c, text(row.get(c))) for c in columns)}</tr>" for row in shown
    )
    more = f"<div>… and {len(rows) - len(shown)} more</div>" if len(shown) < len(rows) else ""
    heading = f'<div style="font-weight:600;margin:4px 0">{html.escape(title)}</div>'
    return (
        f'<div style="max-width:100%;overflow-x:auto">{heading}'
        f'<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"
    )


def facts_html(title: str, facts: Mapping[str, str], picture: str = "") -> str:
    """Return a heading, facts in a row, and a picture beside them."""
    shown = "".join(
        f'<span style="margin-right:16px"><span style="color:{FAINT}">{html.escape(key)}</span> '
        f"{html.escape(value)}</span>"
        for key, value in facts.items()
        if value
    )
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:8px 20px;align-items:flex-end">'
        f'<div><div style="font-weight:600">{html.escape(title)}</div><div>{shown}</div></div>'
        f"{picture}</div>"
    )


def bars(shares: Sequence[float], width: int = 160, height: int = 40) -> str:
    """Return a histogram as a small SVG picture; a bin that has any value is seen."""
    if not shares or not max(shares):
        return ""
    step = width / len(shares)
    most = max(shares)
    path = "".join(
        f"M{place * step:.1f} {height}v-{max(1.0, height * share / most):.1f}"
        f"h{0.9 * step:.1f}V{height}z"
        for place, share in enumerate(shares)
        if share
    )
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="histogram of the values">'
        f'<path d="{path}" fill="{BAR}"/></svg>'
    )


def number_text(value: object) -> str:
    """Return a cell of a table as text: nothing for None, thousands with commas."""
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def shades(shares: NDArray[np.float64], size: int = 96) -> str:
    """Return a matrix of shares as a small SVG picture: the fuller, the darker."""
    height, width = shares.shape
    squares = "".join(
        f'<rect x="{j}" y="{i}" width="1" height="1" opacity="{shares[i, j]:.2f}"/>'
        for i, j in zip(*np.nonzero(shares), strict=True)
    )
    return (
        f'<svg width="{size}" height="{size}" viewBox="0 0 {width} {height}" role="img" '
        f'preserveAspectRatio="none" aria-label="where the elements lie" '
        f'style="border:1px solid {LINE}"><g fill="{BAR}">{squares}</g></svg>'
    )
