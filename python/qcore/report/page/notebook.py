"""A comparison as a notebook shows it: a small piece of HTML that brings its own style."""

from __future__ import annotations

import html

from qcore._display.html import FAINT, LINE
from qcore.report.compare.comparison import Comparison
from qcore.report.page.headline import headline

__all__ = ["comparison_html"]

_MOST_FIGURES = 4


def comparison_html(comparison: Comparison) -> str:
    """Return the large numbers, the first figures and the table of a comparison."""
    cards = "".join(
        f'<div style="border:1px solid {LINE};border-radius:8px;padding:8px 14px">'
        f'<div style="color:{FAINT};font-size:90%">{html.escape(fact.label)}</div>'
        f'<div style="font-size:150%;font-weight:650">{html.escape(fact.value)}</div>'
        f'<div style="color:{FAINT};font-size:90%">{html.escape(fact.note)}</div></div>'
        for fact in headline(comparison)
    )
    drawn = [figure._repr_html_() for figure in comparison.figures[:_MOST_FIGURES]]
    pictures = "".join(picture for picture in drawn if picture)
    row = "display:flex;flex-wrap:wrap;gap:10px;margin:6px 0"
    return (
        f'<div style="{row}">{cards}</div><div style="{row}">{pictures}</div>'
        f"{comparison.report._repr_html_()}"
    )
