"""Plots of codes: how numbers become integers or levels, and what is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import qcore as qc


def sqnr(exact: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the signal's share over the error's, in decibels."""
    return float(10 * np.log10(np.mean(exact**2) / np.mean((exact - found) ** 2)))


def linear(figure: Figure) -> None:
    """Draw the stairs of three bits, and their errors."""
    left, right = figure.subplots(1, 2)
    x = np.linspace(-1.3, 1.3, 2001, dtype=np.float32)
    ways = {
        "symmetric": qc.quantize(x, 3, scale=1 / 3, zero_point=0, narrow_range=True),
        "asymmetric": qc.quantize(x, 3, signed=False, scale=1.5 / 7, zero_point=2),
        "floor, to the centre": qc.quantize(
            x, 3, signed=False, rounding="floor", scale=0.25, offset=-1.0
        ),
    }
    for name, codes in ways.items():
        found = codes.dequantize()
        left.step(x, found, where="mid", label=name)
        right.plot(x, found - x, label=name)
    left.plot(x, x, color="grey", linewidth=0.7)
    left.set(title="Q(x), 3 bits", xlabel="x")
    right.set(title="error: half a step inside, clipping outside", xlabel="x", ylim=(-0.5, 0.5))
    left.legend(fontsize=7)


def heavy_tailed() -> NDArray[np.float32]:
    """Return activations as networks have them: most near 0, few far away."""
    values = np.random.default_rng(0).standard_t(3, 200_000)
    return np.maximum(values, 0).astype(np.float32)


def ranges(figure: Figure) -> None:
    """Draw where the observers clip, and the error of each, by the bits."""
    left, right = figure.subplots(1, 2)
    x = heavy_tailed()
    left.hist(x[x > 0], bins=200, color="lightgrey", log=True)
    bits = [3, 4, 5, 6, 7, 8]
    for index, method in enumerate(("minmax", "percentile", "mse", "entropy")):
        errors = []
        for width in bits:
            params = (
                qc.Observer(method, bits=width).update(x).qparams(signed=False, symmetric=False)
            )
            codes = qc.quantize(
                x, width, signed=False, scale=params.scale, zero_point=params.zero_point
            )
            errors.append(sqnr(x, codes.dequantize()))
            if width == 4:
                top = float(params.scale * (15 - params.zero_point))
                left.axvline(top, color=f"C{index}", label=f"{method}: {top:.1f}")
        right.plot(bits, errors, marker="o", markersize=3, color=f"C{index}", label=method)
    left.set(title="greatest value at 4 bits", xlabel="x")
    right.set(title="signal to noise, dB", xlabel="bits", xticks=bits)
    left.legend(fontsize=7)
    right.legend(fontsize=7)


def levels(figure: Figure) -> None:
    """Draw sixteen levels of each scheme on normal weights, and what they lose."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    w = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    schemes: dict[str, dict[str, Any]] = {
        "affine": {"bits": 4}, "affine, mse": {"bits": 4, "observer": "mse"},
        "power_of_two": {"bits": 4, "scheme": "power_of_two"},
        "log": {"bits": 4, "scheme": "log"}, "fp4": {"scheme": "fp4"}, "nf4": {"scheme": "nf4"},
        "quantile": {"levels": 16, "scheme": "quantile"},
        "kmeans": {"levels": 16, "scheme": "kmeans"},
    }  # fmt: skip
    names = []
    for row, (name, options) in enumerate(schemes.items()):
        found = qc.quantize(w, **options).dequantize()
        axes.plot(np.unique(found), np.full(len(np.unique(found)), row), "|", markersize=12)
        names.append(f"{name}: {sqnr(w, found):.1f} dB")
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel="level", xlim=(-4.6, 4.6))
    axes.set_title("16 levels for normal weights")
    axes.invert_yaxis()


def blocks(figure: Figure) -> None:
    """Draw what each scheme of small blocks keeps of weights, by what a weight takes."""
    rng = np.random.default_rng(0)
    samples = {
        "normal weights": rng.standard_normal((256, 1024)),
        "heavy tails": rng.standard_t(3, (256, 1024)),
    }
    floats = ("nvfp4", "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2")
    for axes, (title, values) in zip(figure.subplots(1, 2), samples.items(), strict=True):
        w = values.astype(np.float32)
        for scheme in floats:
            codes = qc.quantize(w, scheme=scheme)
            at = 8 * codes.nbytes / w.size
            axes.plot(at, sqnr(w, codes.dequantize()), "o", markersize=5, label=scheme)
        found = [qc.quantize(w, bits, group_size=32) for bits in (4, 6, 8)]
        axes.plot(
            [8 * codes.nbytes / w.size for codes in found],
            [sqnr(w, codes.dequantize()) for codes in found],
            ".-", color="grey", label="affine, groups of 32",
        )  # fmt: skip
        axes.set(title=f"{title}: signal to noise, dB", xlabel="bits a weight")
    axes.legend(fontsize=6)


def entropy(figure: Figure) -> None:
    """Draw what a weight takes on disk, by the share that is pruned."""
    (axes,) = figure.subplots(1, 1, squeeze=False)[0]
    rng = np.random.default_rng(0)
    w = rng.standard_normal((512, 512)).astype(np.float32)
    shares = np.array([0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
    stored, bound = [], []
    for share in shares:
        codes = qc.quantize(qc.prune(w, sparsity=float(share)), scheme="kmeans", levels=16)
        stored.append(_bits_on_disk(codes))
        shown = np.bincount(codes.values.ravel()).astype(float)
        shown = shown[shown > 0] / w.size
        bound.append(float(-(shown * np.log2(shown)).sum()))
    axes.axhline(4, color="C0", label="dense codes")
    axes.plot(
        100 * shares, stored, "o-", markersize=3, color="C1", label="as `qc.save` stores them"
    )
    axes.plot(100 * shares, bound, color="grey", linestyle="--", label="entropy of the codes")
    axes.set(title="bits a weight, 16 shared values", xlabel="pruned, %", ylim=(0, 5.5))
    axes.legend(fontsize=7)


def _bits_on_disk(codes: qc.QTensor) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        qc.save(path, {"w": codes})
        return 8 * path.stat().st_size / codes.values.size


PLOTS: dict[str, Callable[[Figure], None]] = {
    "linear": linear, "ranges": ranges, "levels": levels, "blocks": blocks,
    "entropy": entropy,
}  # fmt: skip
