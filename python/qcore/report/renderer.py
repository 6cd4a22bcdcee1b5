"""Vega, from the package vl-convert: scripts for pages, and figures as SVG and PNG.

The package comes with the extra ``report`` and needs no browser and no network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["VERSION", "png", "require_renderer", "svg", "vega_script"]

#: The version of Vega-Lite that figures are written in.
VERSION = "6.4"


def require_renderer() -> Any:
    """Return the package, or say which extra has it."""
    try:
        import vl_convert
    except ImportError as error:
        raise ImportError(
            "reports and pictures need vl-convert-python: pip install 'qcore[report]'"
        ) from error
    return vl_convert


def svg(spec: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return a figure as the text of an SVG picture."""
    drawn: str = require_renderer().vegalite_to_svg(dict(spec), vl_version=VERSION, config=config)
    return drawn


def png(spec: Mapping[str, Any], config: Mapping[str, Any], *, scale: float = 2.0) -> bytes:
    """Return a figure as the bytes of a PNG picture, `scale` pixels to a unit."""
    drawn: bytes = require_renderer().vegalite_to_png(
        dict(spec), vl_version=VERSION, config=config, scale=scale
    )
    return drawn


def vega_script() -> str:
    """Return the scripts of Vega, Vega-Lite and Vega-Embed in one text, for a page to contain.

    It takes seconds to put them together, so they are kept in the user's cache.
    """
    package = require_renderer()
    cached = _cache_folder() / f"vega-{package.__version__}-{VERSION}.js"
    try:
        return cached.read_text("utf-8")
    except OSError:
        pass
    script: str = package.javascript_bundle(vl_version=VERSION)
    try:
        from qcore.files.drafts import write_text

        cached.parent.mkdir(parents=True, exist_ok=True)
        write_text(cached, script)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return script


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qcore"
