"""The figures, in Vega-Lite: what is drawn, without a colour in it. See `theme` for the look.

Each function takes plain data and returns a specification as wide as its place; a picture gets a
width of its own by `sized`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qcore._display.histograms import Histogram

__all__ = [
    "SCHEMA", "Rows", "Spec", "bytes_by_tensor", "confusion", "field", "histogram",
    "outputs_by_layer", "precision_curve", "sensitivity", "sized", "sqnr_by_tensor", "zeros",
]  # fmt: skip

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

# So many names can be read on an axis; more are a skyline, named by the pointer.
_MOST_NAMES = 24
_STATES = {"domain": ["before", "after"]}


def sized(spec: Spec, width: int) -> Spec:
    """Return a figure with a width, for a picture."""
    return spec | {"width": width}


def bytes_by_tensor(rows: Rows) -> Spec:
    """Draw bytes before, and in front of them what is left."""
    values = [
        {"tensor": row["tensor"], "kind": row["after"], "before": row["before bytes"],
         "after": row["bytes"], "place": place}
        for place, row in enumerate(rows, 1)
    ]  # fmt: skip
    tooltip = [
        field("tensor"), field("kind", "stored as"),
        field("before", "bytes before", format=","), field("after", "bytes after", format=","),
    ]  # fmt: skip
    label = "datum.value == 0 ? '0' : format(datum.value, '~s') + 'B'"
    size = {"type": "quantitative", "axis": {"labelExpr": label, "title": None, "tickCount": 6}}
    layers = [
        _layer(
            {"type": "bar", "style": state, "height": {"band": band}}, rows, state, size, tooltip
        )
        for state, band in (("before", 0.8), ("after", 0.8))
    ]
    return _by_tensor(rows, values, layers)


def sqnr_by_tensor(rows: Rows) -> Spec:
    """Draw signal to noise of each tensor: the lower, the more was lost."""
    values = [
        {"tensor": row["tensor"], "kind": row["after"], "sqnr": row["SQNR dB"], "place": place}
        for place, row in enumerate(rows, 1)
        if math.isfinite(row.get("SQNR dB", math.inf))
    ]
    tooltip = [field("tensor"), field("kind", "stored as"),
               field("sqnr", "SQNR dB", format=".1f")]  # fmt: skip
    size = {"type": "quantitative", "axis": {"title": "SQNR, dB: more is better"}}
    kept = [row for row in rows if math.isfinite(row.get("SQNR dB", math.inf))]
    few = len(kept) <= _MOST_NAMES
    marks: list[Spec] = [{"type": "bar", "style": "before", "size": 2}] if few else []
    marks.append({"type": "point", "style": "dot", "filled": True, "size": 70 if few else 26})
    return _by_tensor(kept, values, [_layer(m, kept, "sqnr", size, tooltip) for m in marks])


def outputs_by_layer(rows: Rows) -> Spec:
    """Draw what the network's answers lose when this layer alone is compressed."""
    tooltip = [field("tensor"), field("sqnr", "SQNR dB of the outputs", format=".1f"),
               field("changed", "labels that change", format=".2%")]  # fmt: skip
    size = {"type": "quantitative", "axis": {"title": "SQNR of the outputs, dB: more is better"}}
    marks: list[Spec] = [
        {"type": "bar", "style": "before", "size": 2},
        {"type": "point", "style": "dot", "filled": True, "size": 70},
    ]
    return _by_tensor(rows, list(rows), [_layer(m, rows, "sqnr", size, tooltip) for m in marks])


def sensitivity(table: Rows) -> Spec:
    """Draw the SQNR of each tensor at each width: which of them need more bits than others."""
    names = len({row["tensor"] for row in table})
    few = names <= _MOST_NAMES
    y: Spec = {"field": "tensor", "type": "nominal", "sort": None, "title": None}
    y["axis"] = {"grid": False, "labels": few, "labelLimit": 160}
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "cornerRadius": 2 if few else 0},
            "encoding": {
                "color": {
                    "field": "sqnr", "type": "quantitative", "legend": None,
                    "scale": {"range": "heatmap", "clamp": True},
                },
                "tooltip": [field("tensor"), field("bits"),
                            field("sqnr", "SQNR dB", format=".1f")],
            },
        }
    ]  # fmt: skip
    if few:
        text = {"text": {"field": "sqnr", "type": "quantitative", "format": ".0f"}}
        layers.append({"mark": {"type": "text", "style": "note"}, "encoding": text})
    return _figure(
        values=list(table),
        height=22 * max(2, names) if few else 300,
        encoding={
            "x": {"field": "bits", "type": "ordinal",
                  "axis": {"title": "bits a weight", "labelAngle": 0, "orient": "top"}},
            "y": y,
        },
        layer=layers,
    )  # fmt: skip


def precision_curve(mixed: Rows, uniform: Rows, here: Mapping[str, Any] | None) -> Spec:
    """Draw the least noise for each number of bits, where tensors may have different widths."""
    x = {"field": "bits", "type": "quantitative", "scale": {"zero": False},
         "axis": {"title": "bits a weight, in the mean", "grid": True}}  # fmt: skip
    y = {"field": "sqnr", "type": "quantitative", "scale": {"zero": False},
         "axis": {"title": "SQNR of all weights, dB"}}  # fmt: skip
    tooltip = [field("bits", "bits a weight", format=".2f"),
               field("sqnr", "SQNR dB", format=".1f"), field("name", "widths")]  # fmt: skip
    enc = {"x": x, "y": y, "tooltip": tooltip}
    layers: list[Spec] = [
        {"data": {"values": list(mixed)}, "mark": {"type": "line", "style": "line"},
         "encoding": {"x": x, "y": y}},
        {"data": {"values": list(mixed)}, "encoding": enc,
         "mark": {"type": "point", "style": "dot", "filled": True, "size": 18}},
        {"data": {"values": list(uniform)}, "encoding": enc,
         "mark": {"type": "point", "style": "before", "filled": True, "size": 90}},
        {"data": {"values": list(uniform)},
         "encoding": {"x": x, "y": y, "text": {"field": "name"}},
         "mark": {"type": "text", "style": "quiet", "dy": 14, "align": "left"}},
    ]  # fmt: skip
    if here is not None:
        layers += [
            {"data": {"values": [dict(here)]}, "encoding": enc,
             "mark": {"type": "point", "style": "mark", "filled": True, "shape": "diamond",
                      "size": 180}},
            {"data": {"values": [dict(here)]},
             "encoding": {"x": x, "y": y, "text": {"value": "this file"}},
             "mark": {"type": "text", "style": "note", "dy": -14, "fontWeight": 600}},
        ]  # fmt: skip
    return {"$schema": SCHEMA, "width": "container", "height": 280, "layer": layers}


def histogram(found: Histogram) -> Spec:
    """Draw how the values are spread, before and after."""
    bins = max(len(found.before), len(found.after))
    step = (found.high - found.low) / bins if bins else 1.0
    edges = [found.low + step * place for place in range(bins)]
    x = {"field": "left", "type": "quantitative", "bin": "binned",
         "axis": {"title": "value", "tickCount": 7, "format": "~g"},
         "scale": {"domain": [found.low, found.high], "nice": False}}  # fmt: skip
    layers = []
    for state, shares in (("before", found.before), ("after", found.after)):
        if not shares:
            continue
        values = [
            {"left": left, "right": left + step, "share": share, "state": state}
            for left, share in zip(edges, shares, strict=True)
        ]
        layers.append(
            {
                "data": {"values": values},
                "mark": {"type": "bar", "binSpacing": 0, "cornerRadiusEnd": 0,
                         "opacity": 1 if state == "before" else 0.72},
                "encoding": {
                    "x": x,
                    "x2": {"field": "right"},
                    "y": {"field": "share", "type": "quantitative", "stack": None,
                          "scale": {"type": "sqrt"},
                          "axis": {"title": "share of the values", "format": "~%", "tickCount": 5}},
                    "color": {"field": "state", "type": "nominal", "scale": _STATES},
                    "tooltip": [field("state"), field("left", "from", format=".4g"),
                                field("right", "to", format=".4g"),
                                field("share", format=".2%")],
                },
            }
        )  # fmt: skip
    return {"$schema": SCHEMA, "width": "container", "height": 240, "layer": layers}


def zeros(shares: Sequence[Sequence[float]]) -> Spec:
    """Draw where the values that are not 0 lie: blocks of them, the fuller the darker."""
    values = [
        {"row": i, "column": j, "kept": share}
        for i, line in enumerate(shares)
        for j, share in enumerate(line)
    ]
    axis = {"axis": None, "type": "ordinal"}
    return _figure(
        values=values,
        height=240,
        mark={"type": "rect", "strokeWidth": 0},
        encoding={
            "x": {"field": "column", **axis, "scale": {"padding": 0}},
            "y": {"field": "row", **axis, "scale": {"padding": 0}},
            "color": {"field": "kept", "type": "quantitative", "legend": None,
                      "scale": {"domain": [0, 1], "range": "heatmap"}},
            "tooltip": [field("kept", "kept here", format=".0%")],
        },
    )  # fmt: skip


def confusion(matrices: Mapping[str, Sequence[Sequence[int]]], labels: Sequence[str]) -> Spec:
    """Draw which label was taken for which; a list chooses the network."""
    values = []
    for name, matrix in matrices.items():
        for i, line in enumerate(matrix):
            total = sum(line) or 1
            values += [
                {"network": name, "true": labels[i], "found": labels[j], "count": count,
                 "share": count / total}
                for j, count in enumerate(line)
            ]  # fmt: skip
    names = list(matrices)
    chosen: Spec = {"name": "network", "value": names[0] if names else ""}
    if len(names) > 1:
        chosen["bind"] = {"input": "select", "options": names, "name": "network "}
    return _figure(
        values=values,
        height=30 * len(labels),
        params=[chosen],
        transform=[{"filter": "datum.network == network"}],
        encoding={
            "x": {"field": "found", "type": "nominal", "sort": list(labels),
                  "axis": {"title": "found", "labelAngle": 0, "orient": "top"}},
            "y": {"field": "true", "type": "nominal", "sort": list(labels),
                  "axis": {"title": "true", "grid": False}},
        },
        layer=[
            {"mark": {"type": "rect", "cornerRadius": 2},
             "encoding": {
                "color": {"field": "share", "type": "quantitative", "legend": None,
                          "scale": {"range": "heatmap", "domain": [0, 1], "type": "sqrt"}},
                "tooltip": [field("true"), field("found"), field("count"),
                            field("share", format=".2%")]}},
            {"transform": [{"filter": "datum.count > 0"}],
             "mark": {"type": "text", "style": "note"},
             "encoding": {"text": {"field": "count", "type": "quantitative"}}},
        ],
    )  # fmt: skip


def field(name: str, title: str | None = None, **rest: str) -> Spec:
    """Return a field as an encoding has it: a quantity where it has a format, else a name."""
    kind = "quantitative" if "format" in rest else "nominal"
    return {"field": name, "title": title or name, "type": kind, **rest}


def _figure(values: Any, **rest: Any) -> Spec:
    return {"$schema": SCHEMA, "width": "container", "data": {"values": values}, **rest}


def _layer(mark: Spec, rows: Rows, column: str, size: Spec, tooltip: list[Spec]) -> Spec:
    """Return one mark for each tensor: lying beside its name, or standing in the skyline."""
    few = len(rows) <= _MOST_NAMES
    if not few:
        mark = {k: v for k, v in mark.items() if k != "height"}
    sized_by = {"field": column, **size, "stack": None}
    return {"mark": mark, "encoding": {("x" if few else "y"): sized_by, "tooltip": tooltip}}


def _by_tensor(rows: Rows, values: list[Any], layers: list[Spec]) -> Spec:
    if len(rows) <= _MOST_NAMES:
        names: Spec = {"field": "tensor", "type": "nominal", "sort": None, "title": None}
        names["axis"] = {"grid": False, "labelLimit": 170}
        return _figure(
            values=values, height=24 * max(2, len(rows)), encoding={"y": names}, layer=layers,
            config={"axisX": {"grid": True}},
        )  # fmt: skip
    place: Spec = {"field": "place", "type": "ordinal"}
    place["axis"] = {"title": "tensors, in the order of the file", "labels": False}
    return _figure(values=values, height=240, encoding={"x": place}, layer=layers)
