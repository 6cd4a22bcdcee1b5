"""The price of a bit in Deep Compression, against pruning more."""

from __future__ import annotations

import numpy as np

import qcore as qc
from qcore.deep_compression.stages import Sharing, Trainer
from qcore.experiments.ablation.bench import EPOCHS, Bench
from qcore.experiments.common import LENET, Row, cached
from qcore.saving.checkpoint import stored_nbytes

__all__ = ["rate"]


def rate(bench: Bench) -> list[Row]:
    """Return bytes and errors of LeNet-300-100 by how many weights go and what a bit costs."""
    rows = []
    for share in (0.95, 0.96, 0.97, 0.98):
        for price in (0.0, 0.005):
            nets = [_shared(bench, seed, share, price) for seed in bench.seeds]
            errors = [100 - accuracy for accuracy in bench.accuracies(nets)]
            cells = {"pruned": f"{share:.0%}", "rate": f"{price:g}"}
            cells["bytes"] = f"{np.mean([stored_nbytes(net) for net in nets]):,.0f}"
            cells["error %"] = f"{np.mean(errors):.2f}"
            lost = np.mean([_entropy(bench, net) for net in nets])
            rows.append(Row(cells | {"cross entropy, validation": f"{lost:.4f}"}))
    return rows


def _shared(bench: Bench, seed: int, share: float, price: float) -> qc.nn.Sequential:
    digits = bench.split.digits
    dense = bench.dense(LENET, seed)
    options = {"teacher": dense, "random_state": seed, "progress": False}
    trainer = Trainer(digits.X_train, digits.y_train, options, EPOCHS)
    stem = f"ablation-rate-{share}-{seed}"
    pruned = cached(bench.work / f"{stem}.safetensors", lambda: trainer.pruned(dense, share))
    sharing = Sharing(5, price)
    return cached(
        bench.work / f"{stem}-{price}.safetensors",
        lambda: trainer.finished(trainer.shared(pruned, sharing), sharing),
    )


def _entropy(bench: Bench, net: qc.nn.Sequential) -> float:
    logits = net.predict_logits(bench.split.digits.X_test).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    sums = np.log(np.exp(logits).sum(axis=1))
    right = logits[np.arange(len(logits)), bench.split.digits.y_test]
    return float(np.mean(sums - right))
