"""What the tables of the ablation share: the split, the seeds, networks, and how rows look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qcore as qc
from qcore.experiments.common import Row, Split, cached, network

__all__ = ["EPOCHS", "Bench", "table_rows"]

#: Samples for pruning without training; their labels are for "taylor" alone.
SAMPLES = 2048
#: Epochs of every network here.
EPOCHS = 10


@dataclass(frozen=True)
class Bench:
    """The split, the folder of finished networks, and the seeds.

    Attributes
    ----------
    split : Split
    work : Path
    seeds : range
    validation : bool
        Score the validation images, and leave the test images unread.
    """

    split: Split
    work: Path
    seeds: range
    validation: bool

    @property
    def samples(self) -> NDArray[np.float32]:
        """The samples for pruning without training."""
        return self.split.digits.X_train[:SAMPLES]

    @property
    def labels(self) -> NDArray[Any]:
        """Their labels."""
        return self.split.digits.y_train[:SAMPLES]

    def accuracies(self, nets: Any) -> list[float]:
        """Return the accuracy of each network, in per cent."""
        score = self.split.validation_errors if self.validation else self.split.test_errors
        return [100 - error for error in score(nets)]

    def dense(self, widths: Sequence[int], seed: int) -> qc.nn.Sequential:
        """Return a network that was trained without pruning."""
        return self.trained(widths, seed, "dense")

    def trained(
        self, widths: Sequence[int], seed: int, method: str, **options: Any
    ) -> qc.nn.Sequential:
        """Return a network that was trained with options of `fit`, which `method` names."""
        digits = self.split.digits
        shape = "-".join(map(str, widths))
        kind = "".join(c if c.isalnum() or c == "." else "_" for c in method)
        return cached(
            self.work / f"ablation-{shape}-{kind}-{seed}.safetensors",
            lambda: network(widths).fit(
                digits.X_train,
                digits.y_train,
                epochs=EPOCHS,
                learning_rate_schedule="cosine",
                random_state=seed,
                progress=False,
                **options,
            ),
        )

    def lost(self, net: qc.nn.Sequential, small: qc.nn.Sequential) -> float:
        """Return the squared error of the logits, relative to their square, on unseen images."""
        unseen = self.split.digits.X_test
        before = net.predict_logits(unseen).astype(np.float64)
        change = (small.predict_logits(unseen) - before) ** 2
        return float(change.mean() / np.mean(before**2))

    def trainings(
        self,
        regimes: Mapping[str, float],
        methods: Mapping[str, Callable[[float], dict[str, Any]]],
        widths: Sequence[int],
        what: str,
    ) -> list[Row]:
        """Return the rows of methods that are options of `fit` for a sparsity."""
        found = {
            method: {
                regime: self.accuracies(
                    self.trained(widths, seed, f"{method} {share}", **options(share))
                    for seed in self.seeds
                )
                for regime, share in regimes.items()
            }
            for method, options in methods.items()
        }
        return table_rows(what, found, regimes)


def table_rows(
    what: str,
    found: Mapping[str, Mapping[str, Sequence[float]]],
    regimes: Mapping[str, Any],
    form: str = "2f",
    *,
    least: bool = False,
) -> list[Row]:
    """Return a row for each method, with mean and spread, the best of each regime in bold."""
    means = {
        method: {regime: float(np.mean(values)) for regime, values in by.items()}
        for method, by in found.items()
    }
    rows = []
    for method, by in found.items():
        cells = {"method": method, "measured": what}
        for regime in regimes:
            if regime not in by:
                cells[regime] = ""
                continue
            values = np.asarray(by[regime])
            text = f"{values.mean():.{form}}"
            if values.size > 1:
                text += f" ± {values.std(ddof=1):.{form}}"
            others = [mean[regime] for mean in means.values() if regime in mean]
            best = min(others) if least else max(others)
            cells[regime] = f"**{text}**" if means[method][regime] == best else text
        rows.append(Row(cells))
    return rows
