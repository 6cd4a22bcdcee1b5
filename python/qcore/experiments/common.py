"""What the experiments share: the split of the data, seeds, and how rows are printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click
import numpy as np

import qcore as qc
from qcore.demo.data import Digits, load_digits

__all__ = ["Row", "Split", "cached", "mean_and_spread", "network", "options", "say", "seed_list"]

LENET = (784, 300, 100, 10)
MLP = (784, 128, 10)


@dataclass(frozen=True)
class Split:
    """The training images, split for choosing; the test images are read when a row is printed.

    Attributes
    ----------
    folder : Path
        Where MNIST's files are.
    digits : Digits
        54,000 images to train on, and 6,000 on which every choice is made.
    """

    folder: Path
    digits: Digits

    @classmethod
    def of(cls, folder: Path) -> Split:
        """Load the training images of a folder."""
        return cls(folder, load_digits(folder, "validation"))

    def test_errors(self, nets: Iterable[qc.nn.Sequential]) -> list[float]:
        """Return the share of test images, in per cent, that each network gets wrong."""
        test = load_digits(self.folder, "test")
        return [100 * (1 - net.score(test.X_test, test.y_test)) for net in nets]

    def validation_errors(self, nets: Iterable[qc.nn.Sequential]) -> list[float]:
        """Return the share of validation images, in per cent, that each network gets wrong."""
        digits = self.digits
        return [100 * (1 - net.score(digits.X_test, digits.y_test)) for net in nets]


@dataclass(frozen=True)
class Row:
    """A row of a table: cells by column."""

    cells: dict[str, str]

    @staticmethod
    def table(rows: Sequence[Row]) -> str:
        """Return rows as a Markdown table."""
        columns = list(rows[0].cells)
        lines = [columns, ["---"] * len(columns), *([*row.cells.values()] for row in rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def network(widths: Sequence[int]) -> qc.nn.Sequential:
    """Return a network of ReLU layers that ends in softmax, not yet trained."""
    last = len(widths) - 2
    return qc.nn.Sequential(
        qc.nn.Dense(widths[k], widths[k + 1], "softmax" if k == last else "relu")
        for k in range(last + 1)
    )


def cached(path: Path, make: Callable[[], qc.nn.Sequential]) -> qc.nn.Sequential:
    """Return the network in a file, made and saved first if it is not there."""
    if path.exists():
        net: qc.nn.Sequential = qc.load(path)
        return net
    start = perf_counter()
    net = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    net.save(path)
    say(f"{path.name}: {perf_counter() - start:.0f} s")
    return qc.load(path)  # type: ignore[no-any-return]


def mean_and_spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return mean, standard deviation and greatest value as a text."""
    array = np.asarray(values, np.float64)
    spread = array.std(ddof=1) if array.size > 1 else 0.0
    return f"{array.mean():{form}} ± {spread:{form}} ({array.max():{form}})"


def say(text: str) -> None:
    """Tell how far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)


def seed_list(seeds: int) -> range:
    """Return the seeds of an experiment."""
    return range(seeds)


def options(command: Callable[..., None]) -> click.Command:
    """Give a command the options that every experiment has."""
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    data = click.option("--data", type=folder, required=True, help="MNIST's idx files.")
    work = click.option(
        "--work",
        type=click.Path(file_okay=False, path_type=Path),
        required=True,
        help="Keeps finished and half-finished networks: the command goes on where it stopped.",
    )
    seeds = click.option("--seeds", default=5, show_default=True, help="How many seeds.")
    only = click.option("--only", multiple=True, help="Rows to make; default: all.")
    split = click.option("--validation", is_flag=True, help="Score the validation images instead.")
    return click.command()(data(work(seeds(only(split(command))))))
