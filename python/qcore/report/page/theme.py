"""Colours and type: one look for pages, pictures and notebooks, in the light and in the dark."""

from __future__ import annotations

from typing import Any

__all__ = ["PALETTES", "vega_config"]

#: What each colour is for. "before" is grey and "after" is the accent in every figure.
PALETTES: dict[str, dict[str, str]] = {
    "light": {
        "page": "#f6f7f9", "card": "#ffffff", "line": "#e3e6eb", "text": "#161b22",
        "faint": "#5d6673", "before": "#b4bcc8", "after": "#2f6fed", "good": "#17884c",
        "warn": "#b86e00", "bad": "#c9372c", "heat": "#eef3fd",
        "hot": "#8db2fb",
    },
    "dark": {
        "page": "#0e1116", "card": "#171b22", "line": "#2a303a", "text": "#e7ebf0",
        "faint": "#98a2b0", "before": "#5a6472", "after": "#6ea0ff", "good": "#4cc38a",
        "warn": "#e2a03f", "bad": "#f2766b", "heat": "#1b2331",
        "hot": "#3f69b5",
    },
}  # fmt: skip

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"


def vega_config(theme: str = "light", *, background: bool = False) -> dict[str, Any]:
    """Return Vega-Lite's configuration: what every figure looks like.

    Parameters
    ----------
    theme : {"light", "dark"}
    background : bool
        Paint the card's colour behind the figure, as a picture of its own needs it.
    """
    colour = PALETTES[theme]
    axis = {
        "domain": False, "ticks": False, "gridColor": colour["line"], "labelColor": colour["faint"],
        "titleColor": colour["faint"], "titleFontWeight": "normal", "labelPadding": 6,
        "titlePadding": 10, "labelFontSize": 11, "titleFontSize": 11, "labelLimit": 220,
    }  # fmt: skip
    return {
        "background": colour["card"] if background else None,
        "font": _FONT,
        "padding": 14 if background else 2,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"grid": True},
        "axisX": {"grid": False},
        "legend": {
            "labelColor": colour["faint"], "titleColor": colour["faint"], "orient": "top",
            "title": None, "symbolType": "square", "labelFontSize": 12, "offset": 8,
        },
        "title": {
            "color": colour["text"], "subtitleColor": colour["faint"], "anchor": "start",
            "fontSize": 14, "fontWeight": 600, "subtitleFontSize": 12, "offset": 14,
        },
        "range": {
            "category": [colour[name] for name in ("before", "after", "warn", "good", "bad")],
            "heatmap": [colour["heat"], colour["hot"]],
            "ramp": [colour["heat"], colour["hot"]],
            "diverging": [colour["bad"], colour["warn"], colour["good"]],
        },
        "bar": {"cornerRadiusEnd": 2},
        "style": {
            "before": {"color": colour["before"]},
            "after": {"color": colour["after"]},
            "line": {"color": colour["after"], "strokeWidth": 2},
            "front": {"color": colour["before"], "strokeWidth": 2},
            "mark": {"color": colour["warn"], "opacity": 1},
            "dot": {"color": colour["after"], "opacity": 1},
            "leader": {"color": colour["before"], "strokeWidth": 1},
            # Beneath a name, so that no line strikes it through.
            "halo": {"color": colour["card"], "stroke": colour["card"], "strokeWidth": 4,
                     "fontSize": 11},
            "note": {"color": colour["text"], "fontSize": 11},
            "quiet": {"color": colour["faint"], "fontSize": 11},
        },
    }  # fmt: skip
