"""Every method beside what it competes with, and where it wins.

``python -m qcore.experiments.ablation --data DIR --work DIR`` prints a table for each question: in
each group and regime the best value is bold, and a method that is bold nowhere has no business
here. With ``--validation`` it scores the validation images and leaves the test images unread.
"""

from __future__ import annotations

from pathlib import Path

from qcore.experiments.ablation.bench import Bench
from qcore.experiments.ablation.low_rank import factorize
from qcore.experiments.ablation.price import rate
from qcore.experiments.ablation.training import distillation, regularizers, schedules
from qcore.experiments.ablation.untrained import criteria, neurons, one_pass
from qcore.experiments.common import Row, Split, options

TABLES = {
    "criteria": criteria,
    "neurons": neurons,
    "one-pass": one_pass,
    "schedules": schedules,
    "regularizers": regularizers,
    "distillation": distillation,
    "factorize": factorize,
    "rate": rate,
}


@options
def main(data: Path, work: Path, seeds: int, only: tuple[str, ...], validation: bool) -> None:
    """Print where each method wins, a table for each question."""
    bench = Bench(Split.of(data), work, range(seeds), validation)
    for name, table in TABLES.items():
        if not only or name in only:
            print(f"\n{name}\n\n{Row.table(table(bench))}", flush=True)


if __name__ == "__main__":
    main()
