"""What the experiment found: the keys of its JSON file, and how the file is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import numpy as np

from qcore._runtime.environment import Environment
from qcore.files.drafts import write_text

__all__ = ["Baseline", "Data", "Report", "Row", "Spread", "check_writable", "spread", "write_json"]


class Spread(TypedDict):
    """A figure over the seeds: `sd` is the sample's standard deviation, None for one seed."""

    mean: float
    sd: float | None
    values: list[float]


class Data(TypedDict):
    """What was learned: `split` says which part was scored."""

    name: str
    split: str
    inputs: int
    train_images: int
    scored_images: int


class Row(TypedDict):
    """One way to compress the network.

    Attributes
    ----------
    name, title, recipe : str
        A short name (the model's file has it), the table's name, and what was done.
    starts_from : str or None
        The row whose network was compressed; its training is not counted again.
    network : str
        Widths of the layers.
    accuracy_percent : Spread
        Of the stored network, loaded back.
    drop_points, drop_error_points : float
        Percentage points below the float row, in the mean, and their standard error: by the images
        on which the two differ and, where several seeds judge the same images, by the seeds.
    ties : list of str
        Names of the rows from which the accuracy differs by no more than chance and half a point.
    train_seconds : float
        Training and calibration of this row alone, mean over the seeds.
    train_ratio : float
        `train_seconds` as a multiple of the plain NumPy loop's.
    bytes : int
        Size of the file, mean over the seeds.
    ratio : float
        Bytes of the float row's file by those of this one.
    batch1_p50_us, batch1_p99_us : float
        Microseconds of a call with one sample: median and 99th percentile.
    batch1024_us : float
        Microseconds of a call with 1024 samples: median.
    speedup_batch1, speedup_batch1024 : float
        The float row's median by this one's.
    kernels : list of str
        What ran each layer.
    confusion : list of list of int
        How many scored images of each digit (rows) were taken for each (columns), over the seeds.
    pareto_bytes, pareto_time : bool
        Whether no other row that is smaller, or faster at batch 1, is as accurate but for chance.
    files : list of str
        The saved models, where they were asked for.
    """

    name: str
    title: str
    recipe: str
    starts_from: str | None
    network: str
    accuracy_percent: Spread
    drop_points: float
    drop_error_points: float
    ties: list[str]
    train_seconds: float
    train_ratio: float
    bytes: int
    ratio: float
    batch1_p50_us: float
    batch1_p99_us: float
    batch1024_us: float
    speedup_batch1: float
    speedup_batch1024: float
    kernels: list[str]
    confusion: list[list[int]]
    pareto_bytes: bool
    pareto_time: bool
    files: list[str]


class Baseline(TypedDict):
    """The float network in plain NumPy, trained and timed in the same run."""

    accuracy_percent: Spread
    train_seconds: float
    batch1_p50_us: float
    batch1_p99_us: float
    batch1024_us: float
    speedup_batch1: float
    speedup_batch1024: float


class Report(TypedDict):
    """The JSON file of ``qcore demo``.

    Attributes
    ----------
    format : int
        1; it grows when a key changes its meaning or goes.
    environment : Environment
        What the figures were measured on.
    data : Data
    network : str
        Widths of the float network.
    epochs, batch_size : int
    seeds : list of int
    rows : list of Row
    numpy : Baseline
    seconds : dict of str to float
        Where the time went, and "total".
    """

    format: int
    environment: Environment
    data: Data
    network: str
    epochs: int
    batch_size: int
    seeds: list[int]
    rows: list[Row]
    numpy: Baseline
    seconds: dict[str, float]


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of a figure.

    Examples
    --------
    >>> spread([1.0, 3.0])["mean"]
    2.0
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(mean=float(np.mean(values)), sd=sd, values=list(values))


def check_writable(folder: Path) -> None:
    """Raise OSError unless files can be made in a folder: better before a long run than after."""
    try:
        with TemporaryDirectory(prefix=".qcore-", dir=folder):
            pass
    except OSError as error:  # names the folder, not what was to be in it
        raise OSError(error.errno, f"Cannot write here: {error.strerror}", str(folder)) from error


def write_json(path: Path, report: Report) -> None:
    """Write the report; the file appears whole or not at all.

    Parameters
    ----------
    path : path
        Its folder must exist; a file that is there is replaced.
    report : Report

    Raises
    ------
    OSError
        If it cannot be written.
    """
    text = json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)
