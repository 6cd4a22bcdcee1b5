"""Pruning on MNIST: gradual at 90 and 95 %, 2:4, neurons made compact, and SparseGPT.

``python -m qcore.experiments.pruning --data DIR --work DIR`` prints the tables of docs/pruning.md.
With ``--validation`` it scores the validation images and leaves the test images unread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qcore as qc
from qcore.experiments.common import MLP, Row, Split, cached, mean_and_spread, network
from qcore.experiments.common import options as with_options
from qcore.experiments.deep_compression import trained as lenet

__all__ = ["main"]

EPOCHS = 20
#: Accuracy asked for, by sparsity.
ACCURACIES = {0.9: 97.7, 0.95: 97.0}
#: The share of inputs of the last layer that is left out while 2:4 trains: chosen on validation.
DROPOUT = 0.1
#: Samples that SparseGPT learns from; as many others measure its error.
SAMPLES = 6000
_ROUNDS = 40


@with_options
def main(data: Path, work: Path, seeds: int, only: tuple[str, ...], validation: bool) -> None:
    """Print what pruning costs and brings, a table for each question."""
    split = Split.of(data)
    tables: dict[str, Callable[[], list[Row]]] = {
        "gradual": lambda: gradual(split, work, seeds, validation),
        "2:4": lambda: two_of_four(split, work, seeds, validation),
        "compact": lambda: compacted(split, work),
        "sparsegpt": lambda: surgeon(split, work),
    }
    for name, table in tables.items():
        if not only or name in only:
            print(f"\n{name}\n\n{Row.table(table())}")


def trained(split: Split, work: Path, seed: int, **options: Any) -> qc.nn.Sequential:
    """Return a network of `EPOCHS` epochs, pruned while it trains where a pruner is given."""
    pruner = options.get("prune")
    kind = "dense" if pruner is None else f"{pruner.pattern.replace(':', 'of')}-{pruner.sparsity}"
    if "dropout" in options:
        kind += f"-dropout{options['dropout']}"
    name = f"pruning-{kind}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    return cached(
        work / f"{name}.safetensors",
        lambda: network(MLP).fit(
            split.digits.X_train,
            split.digits.y_train,
            epochs=EPOCHS,
            learning_rate_schedule="cosine",
            random_state=seed,
            checkpoint=work / f"{name}.training",
            progress=False,
            **options,
        ),
    )


def gradual(split: Split, work: Path, seeds: int, validation: bool) -> list[Row]:
    """Return the rows of unstructured pruning of 784-128-10, without augmentation."""
    score = split.validation_errors if validation else split.test_errors
    dense = [100 - error for error in score(trained(split, work, s) for s in range(seeds))]
    rows = []
    for sparsity, asked in ACCURACIES.items():
        pruner = qc.Pruner(sparsity, scope="global")
        nets = [trained(split, work, seed, prune=pruner) for seed in range(seeds)]
        found = [100 - error for error in score(nets)]
        cells = {"sparsity": f"{sparsity:.0%}", "asked %": f"{asked}"}
        cells |= {"accuracy % (best)": mean_and_spread(found), "worst": f"{min(found):.2f}"}
        rows.append(Row(cells | {"dense %": mean_and_spread(dense)}))
    return rows


def two_of_four(split: Split, work: Path, seeds: int, validation: bool) -> list[Row]:
    """Return the rows of 2:4 pruning against a dense network of the same epochs."""
    score = split.validation_errors if validation else split.test_errors
    pruner = qc.Pruner(pattern="2:4")
    dense = [100 - error for error in score(trained(split, work, s) for s in range(seeds))]
    recipes: dict[str, dict[str, Any]] = {
        "2:4": {"prune": pruner},
        f"2:4, dropout {DROPOUT}": {"prune": pruner, "dropout": DROPOUT},
        f"dense, dropout {DROPOUT}": {"dropout": DROPOUT},
    }
    rows = []
    for name, options in recipes.items():
        found = [
            100 - error for error in score(trained(split, work, s, **options) for s in range(seeds))
        ]
        lost = float(np.mean(dense) - np.mean(found))
        cells = {"network": name, "accuracy % (best)": mean_and_spread(found)}
        cells |= {"dense % (best)": mean_and_spread(dense), "lost, points": f"{lost:.2f}"}
        rows.append(Row(cells | {"asked": "0.1 at most"}))
    return rows


def compacted(split: Split, work: Path) -> list[Row]:
    """Return the row of half the hidden neurons gone: rows stored, and speed at batch 1024."""
    net = lenet(split, work, 0)
    pruned = qc.Pruner(0.5, pattern="neurons").fit_transform(net)
    small = qc.compact(pruned)
    X = split.digits.X_test[:1024]
    difference = float(np.abs(pruned.predict_logits(X) - small.predict_logits(X)).max())
    seconds = fastest({"dense": net, "pruned": pruned, "compact": small}, X)
    widths = "-".join(str(layer.out_features) for layer in small.layers)
    cells = {
        "network": "784-300-100-10",
        "compact": f"784-{widths}",
        "greatest difference": f"{difference:.1e}",
        "dense µs": f"{1e6 * seconds['dense']:.0f}",
        "compact µs": f"{1e6 * seconds['compact']:.0f}",
        "faster": f"{seconds['dense'] / seconds['compact']:.2f}",
        "asked": "1.8",
    }
    return [Row(cells)]


def fastest(nets: dict[str, Any], X: NDArray[np.float32]) -> dict[str, float]:
    """Return the seconds of each network's fastest call, all taking turns."""
    best = dict.fromkeys(nets, np.inf)
    for _ in range(_ROUNDS):
        for name, net in nets.items():
            start = perf_counter()
            net.predict_logits(X)
            best[name] = min(best[name], perf_counter() - start)
    return best


def surgeon(split: Split, work: Path) -> list[Row]:
    """Return the rows of SparseGPT against magnitude: layer output error on held-out inputs."""
    net = lenet(split, work, 0)
    seen, unseen = split.digits.X_train[:SAMPLES], split.digits.X_test[:SAMPLES]
    rows = []
    patterns: tuple[dict[str, Any], ...] = ({"sparsity": 0.5}, {"pattern": "2:4"})
    for options in patterns:
        x, held_out = seen, unseen
        for layer in net.layers:
            stats = layer_statistics(x)
            plain = qc.prune(layer.dense_weight(), **options)
            weight = layer.dense_weight()
            moved = qc.prune(weight, criterion="sparsegpt", stats=stats, **options)
            errors = [output_error(held_out, weight, w) for w in (plain, moved)]
            cells = {
                "pattern": str(options.get("pattern", "50 %")),
                "layer": layer.name,
                "magnitude": f"{errors[0]:.4f}",
                "SparseGPT": f"{errors[1]:.4f}",
                "lower": f"{errors[0] / errors[1]:.1f}",
                "asked": "2",
            }
            rows.append(Row(cells))
            x, held_out = layer.forward(x), layer.forward(held_out)
    return rows


def layer_statistics(x: NDArray[np.float32]) -> Any:
    """Return the statistics of a layer's inputs."""
    stats = qc.InputStats()
    stats.update(x)
    return stats


def output_error(x: NDArray[np.float32], before: Any, after: Any) -> float:
    """Return the squared error of a layer's output, relative to the output's square."""
    wide = x.astype(np.float64)
    output = wide @ before.T.astype(np.float64)
    return float(np.sum((wide @ (before - after).T) ** 2) / np.sum(output**2))


if __name__ == "__main__":
    main()
