"""Deep Compression of LeNet-300-100 on MNIST: how small at which error.

``python -m qcore.experiments.deep_compression --data DIR --work DIR`` trains, compresses and prints
the table of docs/deep-compression.md. With ``--validation`` it scores the validation images and
leaves the test images unread: so the settings below were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qcore as qc
from qcore.demo.augmentation import Distortions
from qcore.experiments.common import (
    LENET,
    Row,
    Split,
    cached,
    mean_and_spread,
    network,
    options,
    say,
)
from qcore.saving.packed import packed_nbytes

__all__ = ["RECIPES", "main"]

FLOAT_BYTES = 1_066_440
#: The network before compression, which is its own teacher.
DENSE: dict[str, Any] = {"epochs": 40, "dropout": 0.2}
#: Epochs of the network before compression with distorted digits.
TAUGHT_EPOCHS = 14
#: The teacher of the row with augmentation: a wider network, trained on distorted digits.
TEACHER_WIDTHS = (784, 800, 400, 10)
TEACHER: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 128,
    "learning_rate": 1.5e-3,
    "dropout": 0.1,
}


@dataclass(frozen=True)
class Recipe:
    """A row of the table.

    Attributes
    ----------
    name : str
    error : float
        The most test error, in per cent, that the mean of the seeds may have.
    ratio : float
        What is asked for.
    target : float
        What `compress` is asked for.
    augmented : bool
        With distorted digits and a teacher.
    options : dict
        Of `compress`.
    """

    name: str
    error: float
    ratio: float
    target: float
    augmented: bool = False
    options: dict[str, Any] = field(default_factory=dict)


RECIPES = (
    Recipe("alone-1.58", 1.58, 45, 70, options={"epochs": 30}),
    Recipe("alone-1.80", 1.8, 70, 95, options={"epochs": 20}),
    Recipe("alone-1.98", 1.98, 90, 120, options={"epochs": 20}),
    Recipe("taught-1.58", 1.58, 120, 124, augmented=True, options={"epochs": 24}),
)


@options
def main(data: Path, work: Path, seeds: int, only: tuple[str, ...], validation: bool) -> None:
    """Compress LeNet-300-100 as far as each error allows, and print the table."""
    split = Split.of(data)
    rows = []
    for recipe in RECIPES:
        if only and recipe.name not in only:
            continue
        nets = [compressed(split, work, recipe, seed) for seed in range(seeds)]
        dense = [trained(split, work, seed, recipe.augmented) for seed in range(seeds)]
        score = split.validation_errors if validation else split.test_errors
        files = [work / f"{recipe.name}-{seed}.safetensors" for seed in range(seeds)]
        errors = score([*nets, *dense])
        rows.append(_row(recipe, errors[:seeds], errors[seeds:], files))
    print(Row.table(rows))


def trained(split: Split, work: Path, seed: int, augmented: bool = False) -> qc.nn.Sequential:
    """Return the network before compression."""
    kind = "taught" if augmented else "alone"
    name = f"dense-{kind}-{seed}"
    extra = {"augment": Distortions(), "teacher": teacher(split, work)} if augmented else {}
    settings = {"learning_rate_schedule": "cosine", **(DENSE | extra)}
    if augmented:
        settings |= {"dropout": 0.0, "epochs": TAUGHT_EPOCHS}
    return cached(
        work / f"{name}.safetensors",
        lambda: network(LENET).fit(
            split.digits.X_train,
            split.digits.y_train,
            random_state=seed,
            checkpoint=_checkpoint(work, name),
            progress=False,
            **settings,
        ),
    )


def teacher(split: Split, work: Path) -> qc.nn.Sequential:
    """Return the teacher of the augmented row, on integers: it is asked at every step."""
    net = cached(
        work / "teacher.safetensors",
        lambda: network(TEACHER_WIDTHS).fit(
            split.digits.X_train,
            split.digits.y_train,
            learning_rate_schedule="cosine",
            augment=Distortions(),
            random_state=0,
            checkpoint=_checkpoint(work, "teacher"),
            progress=False,
            **TEACHER,
        ),
    )
    small: qc.nn.Sequential = qc.compress(net, split.digits.X_train[:4096], bits=8)
    return small


def compressed(split: Split, work: Path, recipe: Recipe, seed: int) -> qc.nn.Sequential:
    """Return the compressed network, as its file holds it."""
    digits = split.digits
    net = trained(split, work, seed, recipe.augmented)
    extra = {"augment": Distortions(), "teacher": teacher(split, work)} if recipe.augmented else {}

    def make() -> qc.nn.Sequential:
        small: qc.nn.Sequential = qc.compress(
            net,
            digits.X_train,
            digits.y_train,
            target_ratio=recipe.target,
            validation_data=(digits.X_test, digits.y_test),
            random_state=seed,
            folder=work / f"{recipe.name}-{seed}",
            progress=False,
            **(recipe.options | extra),
        )
        say(str(small.report_))
        return small

    return cached(work / f"{recipe.name}-{seed}.safetensors", make)


def _checkpoint(work: Path, name: str) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    return work / f"{name}.training"


def _row(recipe: Recipe, errors: list[float], dense: list[float], files: list[Path]) -> Row:
    sizes = [file.stat().st_size for file in files]
    payloads = [packed_nbytes(qc.load(file)) for file in files]
    mean = sum(sizes) / len(sizes)
    return Row(
        {
            "row": recipe.name,
            "error asked %": f"{recipe.error}",
            "error % (worst)": mean_and_spread(errors),
            "float error % (worst)": mean_and_spread(dense),
            "ratio asked": f"{recipe.ratio:g}",
            "file bytes": f"{mean:,.0f}",
            "ratio": f"{FLOAT_BYTES / mean:.1f}",
            "least ratio": f"{FLOAT_BYTES / max(sizes):.1f}",
            "payload ratio": f"{FLOAT_BYTES * len(payloads) / sum(payloads):.1f}",
        }
    )


if __name__ == "__main__":
    main()
