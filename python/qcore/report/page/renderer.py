"""Vega, from the package vl-convert: scripts for pages, and figures as SVG and PNG.

The package comes with the extra ``report`` and needs no browser and no network.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["VERSION", "png", "prepare_script", "require_renderer", "svg", "vega_script"]

#: The version of Vega-Lite that figures are written in.
VERSION = "6.4"

_making = threading.Lock()


def require_renderer() -> Any:
    """Return the package, or say which extra has it."""
    try:
        import vl_convert
    except ImportError as error:
        raise ImportError(
            "reports and pictures need vl-convert-python: pip install 'qcore-cpu[report]'"
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


def prepare_script() -> None:
    """Put the scripts of a page together beside other work, if they are not in the cache.

    Raises
    ------
    ImportError
        If the extra ``report`` is not there.
    """
    require_renderer()
    threading.Thread(target=vega_script, name="qcore-vega", daemon=True).start()


def vega_script() -> str:
    """Return the scripts of Vega, Vega-Lite and Vega-Embed in one text, for a page to contain.

    It takes seconds to put them together, so they are kept in the user's cache.
    """
    with _making:
        return _cached_script(require_renderer())


def _cached_script(package: Any) -> str:
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
