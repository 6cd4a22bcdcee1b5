"""Accuracy against what it takes: networks as points with their errors, and names beside them."""

from __future__ import annotations

import math
from typing import Any

from qcore.report.page.figures import SCHEMA, Rows, Spec, field
from qcore.report.page.labels import Label, is_crowded, place_labels

__all__ = ["NARROW", "drops", "is_numbered", "trade_off"]

#: Pixels of a plot below which it has the labels of a phone; `page.js` goes by the same.
NARROW = 400
_PLOT = 320.0
# Widths for which labels are placed: about those of plots at 1,440 and at 390 pixels.
_WIDE_PLOT, _NARROW_PLOT = 520.0, 270.0
# An axis of accuracies shows a point at least: less would make a mountain of a sample.
_LEAST_SPAN = 1.0
# From so far on, in pixels, a thin line leads from a point to its name.
_NEAR = 13


def trade_off(variants: Rows, cost: str, title: str, score: str = "accuracy, %") -> Spec:
    """Draw accuracy against what it takes: every variant a point, the Pareto front a line.

    Where names have no room on a phone, numbers stand for them; see `is_numbered`.

    Parameters
    ----------
    variants : sequence of mapping
        ``title``, ``accuracy``, the cost, ``front_<cost>``: whether it is on the front, and
        ``spread``, the accuracy's error, or None.
    cost : str
        The key of the cost.
    title, score : str
        Of the axes.
    """
    front = f"front_{cost}"
    ordered = sorted(variants, key=lambda v: not v[front])
    x_domain, y_domain = _padded_log([v[cost] for v in ordered]), _padded(ordered, score)
    numbered = is_numbered(variants, cost, score)
    numbers = {v["title"]: str(place) for place, v in enumerate(variants, 1)}
    values = [
        {"name": v["title"], "short": numbers[v["title"]] if numbered else v["title"],
         "cost": v[cost], "accuracy": v["accuracy"],
         "low": v["accuracy"] - (v.get("spread") or 0.0),
         "high": v["accuracy"] + (v.get("spread") or 0.0), "front": v[front]}
        for v in ordered
    ]  # fmt: skip
    for key, name, width in (("wide", "name", _WIDE_PLOT), ("narrow", "short", _NARROW_PLOT)):
        labels = _labels(ordered, cost, score, width, [v[name] for v in values])
        for value, label in zip(values, labels, strict=True):
            value[key] = label._asdict()
    x = {"field": "cost", "type": "quantitative",
         "scale": {"type": "log", "domain": x_domain, "nice": False},
         "axis": {"title": title, "format": "~s", "grid": True, "tickCount": 4}}  # fmt: skip
    y = {"field": "accuracy", "type": "quantitative",
         "scale": {"domain": y_domain, "nice": False},
         "axis": {"title": score, "tickCount": 6}}  # fmt: skip
    tooltip = [field("name", "network"), field("accuracy", score, format=".4~r"),
               field("cost", title, format=",.4~r")]  # fmt: skip
    layers: list[Spec] = [
        {"transform": [{"filter": "datum.front"}], "encoding": {"order": {"field": "cost"}},
         "mark": {"type": "line", "style": "front", "interpolate": "step-after",
                  "strokeDash": [4, 4]}},
    ]  # fmt: skip
    if any(v.get("spread") for v in ordered):
        ends = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
        layers.append({"mark": {"type": "rule", "style": "before"}, "encoding": ends})
    layers.append(_leaders())
    for style, text, test in (("before", "quiet", "!datum.front"), ("dot", "note", "datum.front")):
        kept, weight = [{"filter": test}], 600 if text == "note" else 400
        layers += [
            {"transform": kept, "encoding": {"tooltip": tooltip},
             "mark": {"type": "point", "filled": True, "size": 110, "style": style}},
            *({"transform": kept, "mark": _name() | {"style": look, "fontWeight": weight}}
              for look in ("halo", text)),
        ]  # fmt: skip
    return {
        "$schema": SCHEMA, "width": "container", "height": _PLOT, "data": {"values": values},
        "encoding": {"x": x, "y": y}, "layer": layers,
    }  # fmt: skip


def is_numbered(variants: Rows, cost: str, score: str = "accuracy, %") -> bool:
    """Whether numbers stand for the names on a phone, in the order of the variants.

    So it is where some name would lie on another, or far from its point.
    """
    ordered = sorted(variants, key=lambda v: not v[f"front_{cost}"])
    names = [v["title"] for v in ordered]
    labels = _labels(ordered, cost, score, _NARROW_PLOT, names)
    places = _places(ordered, cost, score, _NARROW_PLOT)
    return is_crowded(places, names, labels, _NARROW_PLOT)


def drops(rows: Rows, title: str) -> Spec:
    """Draw what each network loses of accuracy, with twice its standard error.

    Parameters
    ----------
    rows : sequence of mapping
        ``title``, ``drop``, ``error`` in points, ``tie``: whether it is no more than chance.
    title : str
        Of the axis.
    """
    values = [
        {"name": row["title"], "drop": row["drop"], "tie": row["tie"],
         "low": row["drop"] - 2 * row["error"], "high": row["drop"] + 2 * row["error"]}
        for row in rows
    ]  # fmt: skip
    y = {"field": "name", "type": "nominal", "sort": None, "title": None,
         "axis": {"grid": False, "labelLimit": 170}}  # fmt: skip
    x = {"field": "drop", "type": "quantitative", "axis": {"title": title, "grid": True}}
    tooltip = [field("name", "network"), field("drop", "points lost", format=".2f"),
               field("low", "from", format=".2f"), field("high", "to", format=".2f")]  # fmt: skip
    layers: list[Spec] = [
        {"data": {"values": [{}]}, "mark": {"type": "rule", "style": "front"},
         "encoding": {"x": {"datum": 0}}},
        {"mark": {"type": "rule", "style": "before", "strokeWidth": 2},
         "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y}},
        *({"transform": [{"filter": test}], "encoding": {"x": x, "y": y, "tooltip": tooltip},
           "mark": {"type": "point", "style": style, "filled": True, "size": 80}}
          for style, test in (("before", "datum.tie"), ("dot", "!datum.tie"))),
    ]  # fmt: skip
    return {
        "$schema": SCHEMA, "width": "container", "height": 26 * max(2, len(values)),
        "data": {"values": values}, "layer": layers,
    }  # fmt: skip


def _name() -> Spec:
    """Return the mark of a name, where it was placed."""
    mark: Spec = {"type": "text", "text": {"expr": _of("short", "name")}}
    for key in ("align", "dx", "dy"):
        mark[key] = {"expr": _of(f"narrow.{key}", f"wide.{key}")}
    return mark


def _of(narrow: str, wide: str) -> str:
    """Return the expression for one field on a phone, and another elsewhere."""
    return f"width < {NARROW} ? datum.{narrow} : datum.{wide}"


def _leaders() -> Spec:
    """Return thin lines from points to the names that do not stand beside them."""
    far = f"abs({_of('narrow.dy', 'wide.dy')}) > {_NEAR}"
    ends = {"x2": {"field": "cost"}, "y2": {"field": "accuracy"}}
    mark: Spec = {"type": "rule", "style": "leader", "opacity": {"expr": f"{far} ? 1 : 0"}}
    for axis in ("x", "y"):
        mark[f"{axis}2Offset"] = {"expr": _of(f"narrow.d{axis}", f"wide.d{axis}")}
    return {"mark": mark, "encoding": ends}


def _labels(variants: Rows, cost: str, score: str, width: float, names: list[str]) -> list[Label]:
    y_domain = _padded(variants, score)
    bars = [
        (_height(v["accuracy"] + spread, y_domain), _height(v["accuracy"] - spread, y_domain))
        for v in variants
        for spread in [v.get("spread") or 0.0]
    ]
    return place_labels(_places(variants, cost, score, width), names, width, _PLOT, bars)


def _places(variants: Rows, cost: str, score: str, width: float) -> list[tuple[float, float]]:
    low, high = map(math.log, _padded_log([v[cost] for v in variants]))
    y_domain = _padded(variants, score)
    return [
        (width * (math.log(v[cost]) - low) / (high - low), _height(v["accuracy"], y_domain))
        for v in variants
    ]


def _height(accuracy: float, domain: list[float]) -> float:
    low, high = domain
    return _PLOT - _PLOT * (accuracy - low) / (high - low)


def _padded_log(values: list[Any]) -> list[float]:
    return [min(values) / 1.5, max(values) * 1.5]


def _padded(variants: Rows, score: str) -> list[float]:
    """Return the ends of the axis of scores: a little more than there is, and not too little."""
    low = min(v["accuracy"] - (v.get("spread") or 0.0) for v in variants)
    high = max(v["accuracy"] + (v.get("spread") or 0.0) for v in variants)
    least = _LEAST_SPAN if score.endswith("%") else _LEAST_SPAN / 100
    pad = max(0.08 * (high - low), (least - (high - low)) / 2)
    return [low - pad, high + pad]
