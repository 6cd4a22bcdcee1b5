"""Pruning at once, without training after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qcore as qc
from qcore.experiments.ablation.bench import Bench, table_rows
from qcore.experiments.common import LENET, Row

__all__ = ["criteria", "neurons", "one_pass"]


def criteria(bench: Bench) -> list[Row]:
    """Return accuracies of LeNet-300-100 pruned at once, by criterion and scope."""
    regimes: dict[str, dict[str, Any]] = {
        "50 %": {"sparsity": 0.5},
        "80 %": {"sparsity": 0.8},
        "90 %": {"sparsity": 0.9},
        "2:4": {"pattern": "2:4"},
    }
    methods = {
        "weights move": [("sparsegpt", "layer"), ("sparsegpt", "sensitivity")],
        "by layer": [(name, "layer") for name in ("random", "magnitude", "taylor", "wanda")],
        "over all": [
            (name, scope)
            for scope in ("global", "sensitivity")
            for name in ("random", "magnitude", "taylor", "wanda")
        ],
    }
    rows: list[Row] = []
    for group, members in methods.items():
        found = {
            f"{name}, {scope}": {
                regime: _pruned(bench, LENET, criterion=name, scope=scope, **options)
                for regime, options in regimes.items()
                if scope == "layer" or "pattern" not in options
            }
            for name, scope in members
        }
        rows += table_rows(f"accuracy %, {group}", found, regimes)
    return rows


def neurons(bench: Bench) -> list[Row]:
    """Return accuracies of LeNet-300-100 without so many of its hidden neurons."""
    regimes = {f"{share:.0%}": {"sparsity": share} for share in (0.25, 0.5, 0.75)}
    groups = {
        "weights alone": [
            (name, scope) for scope in ("layer", "global") for name in ("random", "l1", "l2")
        ],
        "with samples": [
            *(("taylor", scope) for scope in ("layer", "global", "sensitivity")),
            *((name, "sensitivity") for name in ("random", "l1", "l2")),
        ],
    }
    rows: list[Row] = []
    for group, members in groups.items():
        found = {
            f"{name}, {scope}": {
                regime: _pruned(
                    bench, LENET, criterion=name, scope=scope, pattern="neurons", **options
                )
                for regime, options in regimes.items()
            }
            for name, scope in members
        }
        rows += table_rows(f"accuracy %, {group}", found, regimes)
    return rows


def _pruned(bench: Bench, widths: Sequence[int], **options: Any) -> list[float]:
    nets = []
    for seed in bench.seeds:
        pruner = qc.Pruner(random_state=seed, progress=False, **options)
        nets.append(pruner.fit_transform(bench.dense(widths, seed), bench.samples, bench.labels))
    return bench.accuracies(nets)


def one_pass(bench: Bench) -> list[Row]:
    """Return the error of the logits on images not seen, pruned and quantized, no labels."""
    shapes: dict[str, dict[str, Any]] = {
        "50 %": {"sparsity": 0.5},
        "80 %": {"sparsity": 0.8},
        "2:4": {"pattern": "2:4"},
    }
    regimes = {
        f"{name}, {bits} bits": options | {"bits": bits}
        for bits in (4, 3)
        for name, options in shapes.items()
    }
    found: dict[str, dict[str, list[float]]] = {"magnitude, then GPTQ": {}, "one pass": {}}
    for regime, options in regimes.items():
        pruning = {key: value for key, value in options.items() if key != "bits"}
        scope = "layer" if "pattern" in pruning else "global"
        two, one = [], []
        for seed in bench.seeds:
            net = bench.dense(LENET, seed)
            pruned = qc.Pruner(scope=scope, **pruning).fit_transform(net)
            quantizer = qc.Quantizer(options["bits"], activations=None, progress=False)
            two.append(bench.lost(net, quantizer.fit_transform(pruned, bench.samples)))
            one.append(
                bench.lost(net, qc.compress(net, bench.samples, activations=None, **options))
            )
        found["magnitude, then GPTQ"][regime] = two
        found["one pass"][regime] = one
    return table_rows("error of the logits", found, regimes, "4f", least=True)
