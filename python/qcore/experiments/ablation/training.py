"""Pruning, regularizing and distilling while a network trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qcore as qc
from qcore.experiments.ablation.bench import EPOCHS, Bench, table_rows
from qcore.experiments.common import LENET, MLP, Row
from qcore.training.regularizers import L1, GroupLasso

__all__ = ["distillation", "regularizers", "schedules"]

#: Strengths of the regularizers. Chosen on validation images.
_LASSO = 0.01
_L1 = 0.03


def schedules(bench: Bench) -> list[Row]:
    """Return accuracies of 784-128-10 by schedule, all of the same number of epochs."""
    regimes = {f"{share:.0%}": share for share in (0.9, 0.95, 0.98)}
    rows = []
    for group, methods in _schedules(EPOCHS * -(-len(bench.split.digits.X_train) // 64)).items():
        rows += bench.trainings(regimes, methods, MLP, f"accuracy %, {group}")
    return rows


def regularizers(bench: Bench) -> list[Row]:
    """Return accuracies of networks with few neurons, or few weights, pruned as they train."""
    regimes = {f"{share:.0%} of the neurons": share for share in (0.5, 0.8, 0.9)}
    gradual: dict[str, Any] = {"pattern": "neurons", "scope": "global"}
    methods: dict[str, Callable[[float], dict[str, Any]]] = {
        "gradual": lambda share: {"prune": qc.Pruner(share, **gradual)},
        "gradual, group lasso": lambda share: {
            "prune": qc.Pruner(share, **gradual),
            "regularize": GroupLasso(_LASSO),
        },
    }
    rows = bench.trainings(regimes, methods, LENET, "accuracy %, 784-300-100-10")
    weights: dict[str, Callable[[float], dict[str, Any]]] = {
        "gradual": lambda share: {"prune": qc.Pruner(share, scope="global")},
        "gradual, L1": lambda share: {
            "prune": qc.Pruner(share, scope="global"),
            "regularize": L1(_L1),
        },
    }
    shares = {f"{share:.0%} of the weights": share for share in (0.95, 0.98, 0.99)}
    few = bench.trainings(shares, weights, MLP, "accuracy %, 784-128-10")
    return [
        Row(dict.fromkeys(["method", "measured", *regimes, *shares], "") | row.cells)
        for row in [*rows, *few]
    ]


def distillation(bench: Bench) -> list[Row]:
    """Return accuracies of small students by what they are taught."""
    regimes = {f"784-{width}-10": width for width in (16, 32, 64)}
    wide = [bench.dense((784, 512, 10), seed) for seed in range(3)]
    hints: dict[str, Any] = {"hints": {"fc1": wide[0].features("fc1")}, "hint_weight": 0.1}
    methods: dict[str, dict[str, Any]] = {
        "labels alone": {},
        "a teacher": {"teacher": wide[0]},
        "three teachers": {"teacher": wide},
        "a teacher, hints": {"teacher": wide[0], **hints},
        "labels, hints": hints,
    }
    found: dict[str, dict[str, list[float]]] = {}
    for method, options in methods.items():
        found[method] = {}
        for regime, width in regimes.items():
            widths = (784, width, 10)
            nets = (bench.trained(widths, seed, method, **options) for seed in bench.seeds)
            found[method][regime] = bench.accuracies(nets)
    return table_rows("accuracy %", found, regimes)


def _schedules(steps: int) -> dict[str, dict[str, Callable[[float], dict[str, Any]]]]:
    """Return what each schedule is for a sparsity, over the same steps, group by group."""
    begin, end = steps // 10, steps // 10 + steps // 200 * 100

    def pruner(schedule: Any) -> dict[str, Any]:
        return {"prune": qc.Pruner(scope="global", schedule=schedule)}

    def gradual(share: float) -> Any:
        return qc.PolynomialDecay(0.0, share, begin, end)

    return {
        "dense at first": {
            "one shot": lambda s: pruner(qc.ConstantSparsity(s, end // 2, frequency=steps)),
            "polynomial": lambda s: pruner(gradual(s)),
            "polynomial, regrowth": lambda s: pruner(qc.Regrowth(gradual(s))),
            "rewinding": lambda s: pruner(qc.Rewinding(s, rounds=2, rewind_step=400)),
        },
        "sparse from the start": {
            "constant": lambda s: pruner(qc.ConstantSparsity(s, 0, frequency=steps)),
            "constant, regrowth": lambda s: pruner(qc.Regrowth(qc.ConstantSparsity(s, 0))),
        },
    }
