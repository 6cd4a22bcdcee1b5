"""Plots of matrices and networks: rounding that looks at inputs, pruning, teachers, mixtures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import qcore as qc
from qcore.nn import Dense, Sequential


@cache
def layer() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a matrix (64, 128), and inputs that depend on one another, as real ones do."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((16, 128)) * rng.uniform(0.2, 2, 128)
    inputs = rng.standard_normal((4000, 16)) @ mix + 0.2 * rng.standard_normal((4000, 128))
    weights = rng.standard_normal((64, 128)) / 11
    return weights.astype(np.float32), inputs.astype(np.float32)


def loss(weights: NDArray[Any], found: NDArray[Any], inputs: NDArray[Any]) -> float:
    """Return the output's error, as a share of the output."""
    exact = inputs @ weights.T
    return float(np.mean((inputs @ found.T - exact) ** 2) / np.mean(exact**2))


def _rounded(w: NDArray[Any], bits: int, algorithm: tuple[str, ...], stats: Any) -> NDArray[Any]:
    given = stats if algorithm else None
    return qc.quantize(w, bits, axis=0, algorithm=algorithm, stats=given).dequantize()


def rounding(figure: Figure) -> None:
    """Draw the output's error by the bits, with and without a look at the inputs."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    w, x = layer()
    stats = qc.InputStats().update(x[:2000])
    bits = [2, 3, 4, 5, 6, 8]
    ways: dict[str, tuple[str, ...]] = {
        "to the nearest": (), "clip_search": ("clip_search",), "gptq": ("gptq",),
        "clip_search, gptq, coordinate_descent":
            ("clip_search", "gptq", "coordinate_descent"),
    }  # fmt: skip
    for name, algorithm in ways.items():
        errors = [loss(w, _rounded(w, b, algorithm, stats), x[2000:]) for b in bits]
        axes.semilogy(bits, errors, "o-", markersize=3, label=name)
    axes.set(title="error of a layer's output, on inputs not seen", xlabel="bits", xticks=bits)
    axes.legend(fontsize=7)


def hqq(figure: Figure) -> None:
    """Draw the error of groups of 64, with steps from the range and fitted without samples."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(0)
    samples = {
        "normal": rng.standard_normal((64, 512)),
        "heavy tails": rng.standard_t(3, (64, 512)),
    }
    bits = [2, 3, 4]
    for axes, (title, values) in zip((left, right), samples.items(), strict=True):
        w = values.astype(np.float32)
        for name in ("", "hqq"):
            errors = []
            for width in bits:
                codes = qc.quantize(w, width, group_size=64, algorithm=name or None)
                errors.append(np.mean((codes.dequantize() - w) ** 2) / np.mean(w**2))
            axes.semilogy(bits, errors, "o-", markersize=3, label=name or "from the range")
        axes.set(title=f"error of the weights, {title}", xlabel="bits", xticks=bits)
    left.legend(fontsize=7)


def low_rank(figure: Figure) -> None:
    """Draw the error of a layer's output by bytes: few directions, few bits, and both."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    w, x = layer()
    ways: dict[str, list[dict[str, Any]]] = {
        "low rank, float16": [{"rank": r} for r in (4, 8, 16, 32, 48)],
        "rank 4, the rest in few bits": [{"rank": 4, "residual_bits": b} for b in (2, 3, 4, 6)],
    }
    for name, options in ways.items():
        parts = [qc.factorize(w, dtype=np.float16, **each) for each in options]
        axes.semilogy(
            [part.nbytes / 1024 for part in parts],
            [loss(w, part.to_dense(), x) for part in parts],
            "o-", markersize=3, label=name,
        )  # fmt: skip
    codes = [qc.quantize(w, bits, axis=0) for bits in (2, 3, 4, 6)]
    axes.semilogy(
        [each.nbytes / 1024 for each in codes],
        [loss(w, each.dequantize(), x) for each in codes],
        "o--", markersize=3, color="grey", label="few bits alone",
    )  # fmt: skip
    axes.set(title="error of a layer's output", xlabel="kB, of 32 as float32")
    axes.legend(fontsize=7)


def outliers(figure: Figure) -> None:
    """Draw the inputs' ranges by channel before and after scales move into the weights."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 64)).astype(np.float32)
    x[:, [5, 23, 41]] *= 30
    w = (rng.standard_normal((32, 64)) / 8).astype(np.float32)
    scale = np.sqrt(np.abs(x).max(0) / np.abs(w).max(0))
    signs = np.where(rng.random(64) < 0.5, -1, 1)
    hadamard = np.array([[1.0]])
    while len(hadamard) < 64:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    rotation = (hadamard * signs / 8).astype(np.float32)
    ways = {
        "as they are": (x, w),
        "smoothquant": (x / scale, w * scale),
        "hadamard": (x @ rotation.T, w @ rotation.T),
    }
    for index, (name, (inputs, weights)) in enumerate(ways.items()):
        left.semilogy(np.abs(inputs).max(0), label=name, color=f"C{index}")
        found = qc.quantize(inputs, 8).dequantize() @ qc.quantize(weights, 8, axis=0).dequantize().T
        exact = x @ w.T
        error = np.mean((found - exact) ** 2) / np.mean(exact**2)
        right.bar(name, error, color=f"C{index}")
    left.set(title="greatest input of each channel", xlabel="channel")
    right.set(title="error of the product, 8 bits both", yscale="log")
    left.legend(fontsize=7)


def patterns(figure: Figure) -> None:
    """Draw which weights stay."""
    w = np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32)
    ways: dict[str, dict[str, Any]] = {
        "unstructured": {"sparsity": 0.5}, "2:4": {"pattern": "2:4"},
        "4x1": {"sparsity": 0.5, "pattern": "4x1"},
        "neurons": {"sparsity": 0.5, "pattern": "neurons"},
    }  # fmt: skip
    for axes, (name, options) in zip(figure.subplots(1, 4), ways.items(), strict=True):
        axes.imshow(qc.prune(w, **options) != 0, cmap="Blues", aspect="auto", vmin=-0.2)
        axes.set(title=name, xticks=[], yticks=[])
        axes.grid(visible=False)


def pruned(figure: Figure) -> None:
    """Draw the output's error by the share that is pruned, by criterion."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    w, x = layer()
    stats = qc.InputStats().update(x[:2000])
    shares = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    for criterion in ("random", "magnitude", "wanda", "sparsegpt"):
        given = stats if criterion in ("wanda", "sparsegpt") else None
        errors = [
            loss(
                w,
                qc.prune(w, sparsity=s, criterion=criterion, stats=given, random_state=0),
                x[2000:],
            )
            for s in shares
        ]
        axes.semilogy(100 * shares, errors, "o-", markersize=3, label=criterion)
    axes.set(title="error of a layer's output, on inputs not seen", xlabel="pruned, %")
    axes.legend(fontsize=7)


@cache
def digits() -> tuple[Sequential, Any, Any, Any, Any]:
    """Return a network that was trained on digits, and the samples: for training, and others."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    net = Sequential([Dense(64, 64, activation="relu"), Dense(64, 10, activation="softmax")])
    net.fit(X[:1200], y[:1200], epochs=40, random_state=0, progress=False)
    return net, X[:1200], y[:1200], X[1200:], y[1200:]


def temperatures(figure: Figure) -> None:
    """Draw what a teacher says of one digit, by the temperature."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    net, _, _, X, _ = digits()
    logits = net.predict_logits(X)
    sure = np.sort(logits, axis=1)
    one = int(np.argsort(sure[:, -1] - sure[:, -2])[len(X) // 4])
    for index, temperature in enumerate((1, 2, 4, 8)):
        raised = np.exp((logits[one] - logits[one].max()) / temperature)
        share = raised / raised.sum()
        axes.bar(np.arange(10) + 0.2 * (index - 1.5), share, 0.2, label=f"T = {temperature}")
    axes.set(title="softmax(logits / T) of one image", xlabel="class", xticks=range(10))
    axes.legend(fontsize=7)


def _quantized(net: Sequential, X: Any, bits: Any, **options: Any) -> Sequential:
    return qc.Quantizer(bits, progress=False, **options).fit(net, X).transform(net)


def mixture(figure: Figure) -> None:
    """Draw the score of one width for all, and of mixtures, by bits a weight."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    net, X, _, other, _ = digits()
    one = [(bits, _quantized(net, X, bits)) for bits in (2, 3, 4, 8)]
    several = [
        (target, _quantized(net, X, (2, 3, 4, 8), target_bits=target))
        for target in (2.25, 2.5, 3, 3.5, 4)
    ]
    exact = net.predict_logits(other)
    for name, nets in (("one width", one), ("a mixture", several)):
        errors = [
            np.mean((small.predict_logits(other) - exact) ** 2) / np.var(exact) for _, small in nets
        ]
        axes.semilogy([bits for bits, _ in nets], errors, "o-", markersize=4, label=name)
    axes.set(title="error of the logits, on images not seen", xlabel="bits a weight")
    axes.legend(fontsize=7)


PLOTS: dict[str, Callable[[Figure], None]] = {
    "rounding": rounding, "outliers": outliers, "patterns": patterns, "pruned": pruned,
    "temperatures": temperatures, "mixture": mixture, "hqq": hqq, "low_rank": low_rank,
}  # fmt: skip
