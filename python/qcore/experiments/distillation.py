"""A small network that knows more digits than it saw: 784-128-10 on integers, distilled.

``python -m qcore.experiments.distillation --data DIR --work DIR`` prints the row of
docs/deep-compression.md. With ``--validation`` it leaves the test images unread.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import qcore as qc
from qcore.demo.augmentation import Distortions
from qcore.experiments.common import MLP, Row, Split, cached, mean_and_spread, network, options
from qcore.experiments.deep_compression import teacher

__all__ = ["main", "student"]

#: How digits are distorted: less than for the teacher, which has more room. Chosen on validation,
#: as all that follows.
DISTORTIONS = Distortions(shift=0.7, rotation=5.0, stretch=0.05, elastic=0.6)
#: The float student, then the same network on integers.
STUDENT: dict[str, Any] = {"epochs": 40, "learning_rate": 2e-3, "temperature": 2.0, "alpha": 0.5}
AWARE: dict[str, Any] = STUDENT | {"epochs": 5, "learning_rate": 3e-4, "quantize": "int8"}


@options
def main(data: Path, work: Path, seeds: int, only: tuple[str, ...], validation: bool) -> None:
    """Distil 784-128-10 from a wider network on distorted digits, and run it on integers."""
    split = Split.of(data)
    start = perf_counter()
    floats = [student(split, work, seed) for seed in range(seeds)]
    nets = [student(split, work, seed, aware=True) for seed in range(seeds)]
    seconds = sum(sum(net.history_["seconds"]) for net in nets if hasattr(net, "history_"))
    score = split.validation_errors if validation else split.test_errors
    errors = score([*nets, *floats])
    accuracies = [100 - error for error in errors]
    cells = {
        "row": "784-128-10, int8, distilled",
        "accuracy asked %": "99.0",
        "int8 accuracy % (best)": mean_and_spread(accuracies[:seeds]),
        "worst": f"{min(accuracies[:seeds]):.2f}",
        "float accuracy % (best)": mean_and_spread(accuracies[seeds:]),
        "seconds": f"{seconds or perf_counter() - start:.0f}",
    }
    print(Row.table([Row(cells)]))


def student(split: Split, work: Path, seed: int, aware: bool = False) -> qc.nn.Sequential:
    """Return the student, in float or, trained on, with the rounding of int8."""
    name = f"student-{'int8' if aware else 'float'}-{seed}"
    settings = AWARE if aware else STUDENT

    def make() -> qc.nn.Sequential:
        net = student(split, work, seed).copy() if aware else network(MLP)
        return net.fit(
            split.digits.X_train,
            split.digits.y_train,
            learning_rate_schedule="cosine",
            augment=DISTORTIONS,
            teacher=teacher(split, work),
            random_state=seed,
            checkpoint=work / f"{name}.training",
            progress=False,
            **settings,
        )

    return cached(work / f"{name}.safetensors", make)


if __name__ == "__main__":
    main()
