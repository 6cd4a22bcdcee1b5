"""Quantization-aware training from scratch, beside float networks of the same epochs and seed."""

import sys

import numpy as np
from common import TITLES, spread, table

import qcore as qc
from qcore.training import learned_steps

SIZES = {"mlp128": (784, 128, 10), "lenet300": (784, 300, 100, 10)}


#: How the rate of learning falls for each width, and for the float network beside it, as it did
#: best on validation images.
SCHEDULES = {4: "linear", 2: "linear", 1: "linear"}


def rows(bench):
    """4, 2 and 1 bits with learned steps, 8-bit activations; ten epochs, as the float network."""
    lines = []
    for name in bench.names:
        found = {bits: ([], []) for bits in SCHEDULES}
        for seed in range(bench.seeds):
            floats = {}
            for bits, schedule in SCHEDULES.items():
                if schedule not in floats:
                    floats[schedule] = _score(bench, name, seed, None, schedule)
                score = _score(bench, name, seed, qc.Quantizer(bits), schedule)
                found[bits][0].append(floats[schedule])
                found[bits][1].append(score)
                print(f"{name} seed {seed} W{bits}: {score - floats[schedule]:+.2f}",
                      file=sys.stderr, flush=True)  # fmt: skip
        for bits, (floats, scores) in found.items():
            off = np.subtract(scores, floats)
            lines.append([
                TITLES[name], f"W{bits}A8", SCHEDULES[bits], spread(floats), spread(scores),
                spread(off), f"{off.min():.2f}",
            ])  # fmt: skip
    table("`fit(quantize=Quantizer(bits))`, 10 epochs, against float of the same seed and rate",
          ["network", "bits", "rate", "float %", "quantized %", "less float, points",
           "worst seed"], lines)  # fmt: skip


def rates(bench):
    """How fast steps learn beside weights: the choice of `LearnedSteps`; with --validation."""
    lines = []
    for name in bench.names:
        seeds = range(100, 100 + bench.seeds)  # not those of the networks that are judged
        floats = [_score(bench, name, seed, None, "linear") for seed in seeds]
        for bits in SCHEDULES:
            for rate in (0.1, 1.0, 5.0):
                learned_steps.STEP_RATE = rate
                scores = [_score(bench, name, s, qc.Quantizer(bits), "linear") for s in seeds]
                off = np.mean(np.subtract(scores, floats))
                lines.append([TITLES[name], f"W{bits}A8", rate, f"{off:+.3f}"])
    table("Training by the rate of the steps, less float of the same seed and rate",
          ["network", "bits", "rate", "points"], lines)  # fmt: skip


def _score(bench, name, seed, quantizer, schedule):
    widths = SIZES[name]
    kinds = ["relu"] * (len(widths) - 2) + ["softmax"]
    net = qc.nn.Sequential(
        qc.nn.Dense(a, b, kind) for a, b, kind in zip(widths, widths[1:], kinds, strict=False)
    )
    net.fit(
        bench.train, bench.train_labels, epochs=10, random_state=seed, quantize=quantizer,
        learning_rate_schedule=schedule, progress=False,
    )  # fmt: skip
    return 100 * net.score(bench.test, bench.labels)
