"""How things show themselves in a notebook: small pieces of HTML that bring their own style."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.report.compare.tensors import kind_of
from qcore.report.page.theme import PALETTES

if TYPE_CHECKING:
    from qcore.arrays.products.matrix import SparseMatrix
    from qcore.nn.sequential import Sequential
    from qcore.report.compare.comparison import Comparison

__all__ = [
    "bars",
    "comparison_html",
    "facts_html",
    "network_html",
    "shades",
    "sparse_html",
    "table_html",
]

_LIGHT = PALETTES["light"]
# Colours that can be read on a light and on a dark ground.
_FAINT, _LINE, _BAR = "#7c8694", "#7c869455", _LIGHT["after"]
_CELL = f"padding:3px 12px 3px 0;border-bottom:1px solid {_LINE}"
_MOST_FIGURES = 4
_MOST_ROWS = 40
_MAP = 24


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
        f'<span style="margin-right:16px"><span style="color:{_FAINT}">{html.escape(key)}</span> '
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
        f'<path d="{path}" fill="{_BAR}"/></svg>'
    )


def network_html(network: Sequential) -> str:
    """Return a network's layers as a table."""
    rows: list[dict[str, Any]] = []
    for layer in network.layers:
        weight, qparams = layer.weight, layer.input_qparams
        tensors = layer.tensors().values()
        rows.append(
            {
                "layer": layer.name,
                "widths": f"{layer.in_features} → {layer.out_features}",
                "activation": layer.activation,
                "weights": "not trained" if weight is None else kind_of(weight),
                "input": qparams if qparams is None or isinstance(qparams, str) else "static",
                "parameters": sum(int(value.size) for value in tensors),
                "bytes": sum(int(value.nbytes) for value in tensors),
            }
        )
    sums = {key: sum(row[key] for row in rows) for key in ("parameters", "bytes")}
    return table_html("Sequential", [*rows, {"layer": "all", **sums}], _text)


def _text(value: object) -> str:
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def sparse_html(matrix: SparseMatrix) -> str:
    """Return what a sparse matrix is, and a picture of where its elements lie."""
    rows, columns = matrix.shape
    facts = {
        "shape": f"{rows:,} × {columns:,}", "stored": f"{matrix.nnz:,}",
        "density": f"{100 * matrix.density:.1f} %", "bytes": f"{matrix.nbytes:,}",
    }  # fmt: skip
    picture = ""
    csr = matrix.to_csr()
    if csr.nnz:
        at = np.repeat(np.arange(rows), np.diff(csr.indptr))
        blocks = [min(rows, _MAP), min(columns, _MAP)]
        counts, *_ = np.histogram2d(at, csr.indices, bins=blocks, range=[[0, rows], [0, columns]])
        picture = shades(counts / counts.max())
    return facts_html(f"{type(matrix).__name__}, {matrix.dtype}", facts, picture)


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
        f'style="border:1px solid {_LINE}"><g fill="{_BAR}">{squares}</g></svg>'
    )


def comparison_html(comparison: Comparison) -> str:
    """Return the large numbers, the first figures and the table of a comparison."""
    from qcore.report.page.headline import headline

    cards = "".join(
        f'<div style="border:1px solid {_LINE};border-radius:8px;padding:8px 14px">'
        f'<div style="color:{_FAINT};font-size:90%">{html.escape(fact.label)}</div>'
        f'<div style="font-size:150%;font-weight:650">{html.escape(fact.value)}</div>'
        f'<div style="color:{_FAINT};font-size:90%">{html.escape(fact.note)}</div></div>'
        for fact in headline(comparison)
    )
    drawn = [figure._repr_html_() for figure in comparison.figures[:_MOST_FIGURES]]
    pictures = "".join(picture for picture in drawn if picture)
    row = "display:flex;flex-wrap:wrap;gap:10px;margin:6px 0"
    return (
        f'<div style="{row}">{cards}</div><div style="{row}">{pictures}</div>'
        f"{comparison.report._repr_html_()}"
    )
