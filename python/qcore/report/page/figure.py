"""A figure with its words: drawn in a page, in a notebook, or as a picture."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from qcore.files.drafts import write_bytes
from qcore.report.page.figures import sized
from qcore.report.page.renderer import png, svg
from qcore.report.page.theme import vega_config

__all__ = ["Figure"]

_WIDTH = 620
# Units that a letter of a caption takes, about.
_CHARACTER = 7


@dataclass(frozen=True)
class Figure:
    """One figure.

    In a notebook it shows itself, where the extra ``report`` is installed.

    Attributes
    ----------
    name : str
        Short; that of its file.
    title, caption : str
    spec : dict
        What is drawn, in Vega-Lite.
    key : tuple of str
        What numbers in a narrow plot stand for, from 1 on.
    """

    name: str
    title: str
    caption: str
    spec: dict[str, Any]
    key: tuple[str, ...] = ()

    def svg(self, *, theme: str = "light", width: int = _WIDTH) -> str:
        """Return the figure as an SVG picture."""
        return svg(self._with_title(width), vega_config(theme, background=True))

    def save(
        self, path: str | Path, *, theme: str = "light", width: int = _WIDTH, scale: float = 2.0
    ) -> None:
        """Write the figure as a PNG or SVG picture, by the file's ending.

        Parameters
        ----------
        path : str or Path
        theme : {"light", "dark"}
        width : int, default 620
            Of what is drawn, without the words beside it.
        scale : float, default 2
            Pixels to a unit, in a PNG.

        Raises
        ------
        ValueError
            If the file ends in neither ``.png`` nor ``.svg``.
        ImportError
            If the extra ``report`` is not there.
        """
        path = Path(path)
        if path.suffix == ".svg":
            data = self.svg(theme=theme, width=width).encode("utf-8")
        elif path.suffix == ".png":
            spec = self._with_title(width)
            data = png(spec, vega_config(theme, background=True), scale=scale)
        else:
            raise ValueError(f"path is '{path}'; pictures are .png or .svg")
        write_bytes(path, data)

    def html(self) -> str:
        """Return its place in a page."""
        names = "".join(f"<li>{html.escape(name)}</li>" for name in self.key)
        key = f'<ol class="key">{names}</ol>' if names else ""
        return (
            f'<figure class="card" id="{self.name}"><figcaption><h2>{html.escape(self.title)}</h2>'
            f'<p>{html.escape(self.caption)}</p></figcaption><div class="plot"></div>{key}</figure>'
        )

    def _repr_html_(self) -> str | None:
        try:
            return (
                f'<div style="max-width:100%;overflow-x:auto;border-radius:8px">{self.svg()}</div>'
            )
        except ImportError:
            return None

    def _with_title(self, width: int) -> dict[str, Any]:
        lines = wrap(self.caption, width // _CHARACTER)
        return sized(self.spec, width) | {"title": {"text": self.title, "subtitle": lines}}
