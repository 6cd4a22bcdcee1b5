"""The page: one HTML file that holds all it needs and asks nobody for anything."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

import numpy as np

from qcore._display.histograms import Histogram
from qcore.report.compare.comparison import Comparison, Detail
from qcore.report.compare.tensors import is_adjusted
from qcore.report.page import figures
from qcore.report.page.figure import Figure
from qcore.report.page.headline import Fact, headline
from qcore.report.page.renderer import vega_script
from qcore.report.page.theme import PALETTES, vega_config

__all__ = ["render", "render_comparison", "tensor_rows"]


# Stands for an SQNR of minus infinity, which JSON has not.
_NOTHING_LEFT = -999.0


def render_comparison(comparison: Comparison) -> str:
    """Return the page of a comparison as a text.

    Raises
    ------
    ImportError
        If the extra ``report`` is not there.
    """
    return render(
        comparison.title, comparison.subtitle, headline(comparison), comparison.figures,
        tensors=tensor_rows(comparison), command=comparison.command, recipe=comparison.recipe,
        facts=comparison.facts,
    )  # fmt: skip


def render(
    title: str,
    subtitle: str,
    facts_above: Sequence[Fact],
    drawn: Sequence[Figure],
    *,
    lead: str = "",
    tensors: Sequence[Mapping[str, Any]] = (),
    table: str = "",
    command: str = "",
    recipe: str = "",
    facts: Mapping[str, str] | None = None,
) -> str:
    """Return the page as a text.

    Parameters
    ----------
    title, subtitle : str
    facts_above : sequence of Fact
        The large numbers at the top.
    drawn : sequence of Figure
    lead : str
        One sentence above all: what it comes to.
    tensors : sequence of mapping
        The rows that can be looked at one by one; see ``assets/page.js``.
    table : str
        HTML to stand below the figures.
    command, recipe : str
    facts : mapping of str to str
        The foot of the page.
    """
    data = {
        "figures": [{"id": figure.name, "spec": figure.spec} for figure in drawn],
        "themes": {name: vega_config(name) for name in PALETTES},
        "tensors": list(tensors),
        "histogram": figures.histogram(Histogram(0.0, 1.0, [0.0], [0.0])) | {"height": 200},
    }
    parts = {
        "title": html.escape(title),
        "subtitle": html.escape(f"{subtitle} · {_now()}" if subtitle else f"made {_now()}"),
        "lead": f'<p class="lead">{html.escape(lead)}</p>' if lead else "",
        "colours": _colours(),
        "style": _asset("page.css"),
        "headline": "".join(fact.html() for fact in facts_above),
        "figures": "".join(figure.html() for figure in drawn),
        "explorer": _asset("explorer.html") if tensors else "",
        "table": table,
        "made": _made(command, recipe),
        "facts": "".join(
            f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>"
            for key, value in (facts or {}).items()
        ),
        "data": _json(data),
        "vega": _script(vega_script()),
        "script": _asset("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def tensor_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return what the page's explorer shows, as little text as will do."""
    return [
        {
            "name": row["tensor"],
            "shape": row["shape"].replace("x", " × "),
            "from": row["before"],
            "to": row["after"],
            "bytes": [row["before bytes"], row["bytes"]],
            "sqnr": max(row["SQNR dB"], _NOTHING_LEFT) if "SQNR dB" in row else None,
            "adjusted": is_adjusted(row),
            "exact": row.get("SQNR dB") == math.inf,
            "cosine": row.get("cosine"),
            "worst": row.get("max error"),
            "zeros": row.get("zeros"),
        }
        | _detail(comparison.details.get(row["tensor"]))
        for row in comparison.report.rows
    ]


def _detail(detail: Detail | None) -> dict[str, Any]:
    if detail is None:
        return {}
    found = detail.histogram
    shown: dict[str, Any] = {
        "range": [found.low, found.high],
        "hist": [[float(f"{share:.3g}") for share in shares] for shares in found[2:]],
    }
    if detail.zeros is not None:
        shades = np.rint(255 * detail.zeros).astype(np.uint8)
        text = base64.b64encode(shades.tobytes()).decode("ascii")
        shown["map"] = [shades.shape[0], shades.shape[1], text]
    return shown


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _made(command: str, recipe: str) -> str:
    parts = []
    if command:
        parts.append(f"<h3>The command</h3><pre><code>{html.escape(command)}</code></pre>")
    if recipe:
        parts.append(f"<h3>The recipe</h3><pre><code>{html.escape(recipe.rstrip())}</code></pre>")
    inner = "".join(f"<div>{part}</div>" for part in parts)
    return f'<section class="card made"><h2>What made it</h2>{inner}</section>' if parts else ""


def _colours() -> str:
    """Return the palettes as CSS: by the system's choice, or by the page's button."""

    def block(theme: str) -> str:
        rules = "".join(f"--{name}:{value};" for name, value in PALETTES[theme].items())
        return f"{rules}color-scheme:{theme};"

    return (
        f":root{{{block('light')}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{block('dark')}}}}}"
        + "".join(f':root[data-theme="{theme}"]{{{block(theme)}}}' for theme in PALETTES)
    )


def _asset(name: str) -> str:
    return (files("qcore.report") / "assets" / name).read_text("utf-8")


def _json(value: Any) -> str:
    """Return JSON that no text in it can end the script element of."""
    text = json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _script(text: str) -> str:
    """Return a program that does not end the script element that holds it."""
    return re.sub(r"</(?=script)", r"<\\/", text, flags=re.IGNORECASE)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
