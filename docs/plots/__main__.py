"""Draw the plots of docs/methods.md: ``python -m docs.plots [NAME ...]``.

Each is a function of a figure, of the name of its file. What is drawn is computed here, by qcore,
from seeds: the same plot each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from docs.plots import codes, training, weights
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "images" / "methods"
PLOTS: dict[str, Callable[[Figure], None]] = codes.PLOTS | weights.PLOTS | training.PLOTS

#: Text stays text, and files of one plot differ in nothing.
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "qcore",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def draw(name: str) -> Path:
    """Write one plot, and return its file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.svg"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        PLOTS[name](figure)
        figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def main() -> None:
    """Draw those that are named, or all."""
    for name in sys.argv[1:] or PLOTS:
        sys.stdout.write(f"{draw(name).relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()
