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
from pathlib import Path
from typing import Any

import numpy as np

from qcore.files.drafts import write_text
from qcore.report import figures
from qcore.report.contents import Contents, Detail
from qcore.report.figure import Figure
from qcore.report.headline import Fact, headline
from qcore.report.precision import WIDTHS, mixed_curve, uniform_points
from qcore.report.renderer import vega_script
from qcore.report.theme import PALETTES, vega_config

__all__ = ["figures_of", "render", "tensor_rows", "write_report"]


def write_report(path: Path, contents: Contents) -> None:
    """Write the page of a compression.

    Raises
    ------
    ImportError
        If the extra ``report`` is not there.
    OSError
        If the file cannot be written; an old one stays as it was.
    """
    page = render(
        contents.title, contents.subtitle, headline(contents), figures_of(contents),
        tensors=tensor_rows(contents), command=contents.command, recipe=contents.recipe,
        facts=contents.facts,
    )  # fmt: skip
    write_text(path, page)


def figures_of(contents: Contents) -> list[Figure]:
    """Return the figures of a compression, those that there is something to show for."""
    rows = [row for row in contents.report.rows if row["before bytes"] or row["bytes"]]
    lossy = [row for row in rows if math.isfinite(row.get("SQNR dB", math.inf))]
    found = [
        Figure("bytes", "What it saved: bytes by tensor",
               "Grey is what a tensor took before, blue what is left, scales and all.",
               figures.bytes_by_tensor(_largest(rows)))
    ]  # fmt: skip
    if lossy:
        found.append(
            Figure("sqnr", "What it cost: noise by tensor",
                   "Signal to quantization noise. 20 dB is an error of a tenth of the weights, "
                   "40 dB of a hundredth.",
                   figures.sqnr_by_tensor(lossy))
        )  # fmt: skip
    if contents.layers:
        found.append(
            Figure("layers", "Sensitivity: one layer at a time",
                   "What the network's answers lose when this layer alone is compressed.",
                   figures.outputs_by_layer(contents.layers))
        )  # fmt: skip
    if contents.precision:
        found += _precision_figures(contents)
    return found


def render(
    title: str,
    subtitle: str,
    facts_above: Sequence[Fact],
    drawn: Sequence[Figure],
    *,
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
    }
    parts = {
        "title": html.escape(title),
        "subtitle": html.escape(subtitle),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
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


def _precision_figures(contents: Contents) -> list[Figure]:
    tensors = contents.precision
    table = [
        {"tensor": tensor.name, "bits": bits, "sqnr": tensor.sqnr_db(place)}
        for tensor in tensors
        for place, bits in enumerate(WIDTHS)
    ]
    return [
        Figure("curve", "Mixed precision: noise against bits",
               "The line gives every tensor the width that costs least; grey points give all the "
               "same. Weights alone, one scale for each row, on a sample of the rows.",
               figures.precision_curve(mixed_curve(tensors), uniform_points(tensors),
                                       _this_file(contents))),
        Figure("sensitivity", "Which tensors need bits",
               "SQNR in dB at each width, under one scale for each row.",
               figures.sensitivity(table)),
    ]  # fmt: skip


def _this_file(contents: Contents) -> dict[str, Any] | None:
    """Return the point of the quantized tensors as they are, all their bytes counted."""
    names = {tensor.name for tensor in contents.precision}
    rows = [row for row in contents.report.rows if row["tensor"] in names]
    size = sum(tensor.size for tensor in contents.precision)
    signal = {tensor.name: tensor.signal for tensor in contents.precision}
    noise = sum(signal[r["tensor"]] * 10 ** (-r["SQNR dB"] / 10) for r in rows)
    if not size or noise <= 0:
        return None
    bits = 8 * sum(row["bytes"] for row in rows) / size
    sqnr = 10 * math.log10(sum(signal.values()) / noise)
    return {"bits": bits, "sqnr": sqnr, "name": "this file, scales and all"}


def _largest(rows: Sequence[Mapping[str, Any]], most: int = 400) -> list[Mapping[str, Any]]:
    """Return the largest tensors, in the order of the file."""
    chosen = sorted(rows, key=lambda row: -row["before bytes"])[:most]
    names = {row["tensor"] for row in chosen}
    return [row for row in rows if row["tensor"] in names]


def tensor_rows(contents: Contents) -> list[dict[str, Any]]:
    """Return what the page's explorer shows, as little text as will do."""
    return [
        {
            "name": row["tensor"],
            "shape": row["shape"].replace("x", " × "),
            "from": row["before"],
            "to": row["after"],
            "bytes": [row["before bytes"], row["bytes"]],
            "sqnr": row.get("SQNR dB"),
            "exact": row.get("SQNR dB") == math.inf,
            "cosine": row.get("cosine"),
            "worst": row.get("max error"),
            "zeros": row.get("zeros"),
        }
        | _detail(contents.details.get(row["tensor"]))
        for row in contents.report.rows
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
