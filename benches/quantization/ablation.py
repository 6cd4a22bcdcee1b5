"""What each method brings, on and off: it stays only if one of these rows shows where it wins.

Judge on networks that were trained without the images: see `recipes.py`.
"""

import numpy as np
from common import TITLES, accuracy, cosine, logit_error, spread, table

import qcore as qc
from qcore.arrays.layerwise.hqq import fit_groups
from qcore.estimators.equalization.awq import activation_aware_scale
from qcore.estimators.equalization.hadamard import rotate
from qcore.estimators.equalization.smoothquant import smoothing_scale

ALL = ("gptq", "bias_correction", "clip_search", "coordinate_descent")

#: The same for a layer alone, which has no bias here.
FITTED = ("gptq", "clip_search", "coordinate_descent")

#: From rounding to the whole of it, one part at a time; 8-bit activations, a step for each output.
PARTS = {
    "round to nearest": {"algorithm": (), "observer": "minmax"},
    "range by mse": {"algorithm": (), "observer": "mse"},
    "hqq": {"algorithm": "hqq"},
    "gptq": {"algorithm": "gptq"},
    "gptq, adaround": {"algorithm": ("gptq", "adaround")},
    "+ bias_correction": {"algorithm": ("gptq", "bias_correction")},
    "+ clip_search, narrow": {
        "algorithm": ("gptq", "bias_correction", "clip_search"), "narrow_range": True,
    },
    "+ the free code": {"algorithm": ("gptq", "bias_correction", "clip_search")},
    "+ coordinate_descent: auto": {},
    "auto, adaround": {"algorithm": (*ALL, "adaround")},
    "auto but gptq": {"algorithm": ("bias_correction", "clip_search", "coordinate_descent")},
    "auto but bias_correction": {"algorithm": ("gptq", "clip_search", "coordinate_descent")},
    "smoothquant, auto": {"algorithm": ("smoothquant", *ALL)},
    "cross_layer_equalization, auto": {"algorithm": ("cross_layer_equalization", *ALL)},
    "hadamard, gptq": {"algorithm": ("hadamard", "gptq")},
    "hadamard, auto": {"algorithm": ("hadamard", *ALL)},
}  # fmt: skip

#: Weights alone, in groups of 32 inputs.
GROUPED = {
    "round to nearest": {"algorithm": (), "observer": "minmax"},
    "range by mse": {"algorithm": (), "observer": "mse"},
    "asymmetric": {"algorithm": (), "observer": "minmax", "symmetric": False},
    "asymmetric, range by mse": {"algorithm": (), "observer": "mse", "symmetric": False},
    "hqq": {"algorithm": "hqq"},
    "smoothquant": {"algorithm": "smoothquant"},
    "cross_layer_equalization": {"algorithm": "cross_layer_equalization"},
    "awq": {"algorithm": "awq"},
    "gptq": {"algorithm": "gptq"},
    "awq, gptq": {"algorithm": ("awq", "gptq")},
    "auto": {},
    "smoothquant, auto": {"algorithm": ("smoothquant", *ALL)},
    "cross_layer_equalization, auto": {"algorithm": ("cross_layer_equalization", *ALL)},
    "awq, auto": {"algorithm": ("awq", *ALL)},
}  # fmt: skip


def rows(bench):
    """Each part, by accuracy and by logit error, with a step for each output and in groups."""
    for part in (heavy_tails, salient_inputs, groups, outputs):
        part(bench)
        print()


def outputs(bench):
    """Steps for each output, 8-bit activations."""
    lines = (
        [TITLES[name], f"W{bits}A8", part, *_judged(bench, name, bits, options)]
        for name in bench.names
        for bits in (4, 3, 2)
        for part, options in PARTS.items()
    )
    table("What each part brings", ["network", "bits", "", "drop, points", "logit error"], lines)


def groups(bench):
    """Weights alone in groups; then with every eighth hidden unit 16 times as large."""

    def judged(kind, name, bits, part):
        options = {**GROUPED[part], "group_size": 32, "activations": None}
        return [
            TITLES[name], kind, f"W{bits}", part,
            *_judged(bench, name, bits, options, salient=kind != "as trained"),
        ]  # fmt: skip

    lines = (
        judged(kind, name, bits, part)
        for kind in ("as trained", "salient inputs")
        for name in bench.names
        for bits in (4, 3, 2)
        for part in GROUPED
    )
    table("Weights alone, groups of 32 with float16 steps",
          ["network", "", "bits", "", "drop, points", "logit error"], lines)  # fmt: skip


def heavy_tails(bench):
    """A layer whose weights have heavy tails (Student's t, 3 degrees of freedom)."""
    lines = []
    for bits in (4, 3):
        found = {}
        for seed in range(bench.seeds):
            rng = np.random.default_rng(seed)
            weight = rng.standard_t(3, (256, 512)).astype(np.float32)
            mix = rng.standard_normal((64, 512))
            x = rng.standard_normal((4000, 64)) @ mix + rng.standard_normal((4000, 512))
            x = x.astype(np.float32)
            exact = x[1000:] @ weight.T
            for part, (inputs, real) in _tails(weight, x, bits).items():
                found.setdefault(part, []).append(cosine(inputs[1000:] @ real.T, exact))
        lines += [[bits, part, f"{np.mean(c):.6f}", f"{min(c):.6f}"] for part, c in found.items()]
    table("Cosine of the output of 256x512 weights with heavy tails, a step for each output",
          ["bits", "", "mean of seeds", "least"], lines)  # fmt: skip


def _tails(weight, x, bits):
    found = {}
    for turn in (False, True):
        w, inputs = (rotate(weight), rotate(x)) if turn else (weight, x)
        stats = qc.InputStats().update(inputs[:1000])
        for part, options in {
            "round to nearest": {},
            "range by mse": {"observer": "mse"},
            "gptq": {"algorithm": "gptq", "stats": stats},
            "all": {"algorithm": FITTED, "stats": stats},
        }.items():
            q = qc.quantize(w, bits=bits, axis=0, **options)
            found[("hadamard, " if turn else "") + part] = (inputs, q.dequantize())
    return found


def salient_inputs(bench):
    """A layer whose inputs differ in size (log-normal), weights alone in groups of 32."""
    lines = []
    for bits in (4, 3):
        found = {}
        for seed in range(bench.seeds):
            rng = np.random.default_rng(seed)
            weight = rng.standard_normal((128, 256)).astype(np.float32)
            mix = rng.standard_normal((32, 256)) / 6
            x = rng.standard_normal((3000, 32)) @ mix + rng.standard_normal((3000, 256))
            x = (x * np.exp(rng.standard_normal(256))).astype(np.float32)
            seen, held, exact = x[:1000], x[1000:], x[1000:] @ weight.T
            for scaling, scale in _scales(weight, qc.InputStats().update(seen), bits).items():
                stats = qc.InputStats().update(seen / scale)
                for part, algorithm in (("", ()), (", gptq", "gptq"), (", all", FITTED)):
                    fitted = {"algorithm": algorithm, "stats": stats} if algorithm else {}
                    q = qc.quantize(weight * scale, bits=bits, group_size=32, **fitted)
                    error = logit_error((held / scale) @ q.dequantize().T, exact)
                    found.setdefault(scaling + part, []).append(error)
        lines += [[bits, part, f"{np.mean(e):.5f}"] for part, e in found.items()]
    table("Output error of 128x256 weights, whose inputs differ in size, groups of 32",
          ["bits", "", "output error"], lines)  # fmt: skip


def _scales(weight, stats, bits):
    return {
        "as it is": np.ones(weight.shape[1], np.float32),
        "smoothquant": smoothing_scale(weight, stats).astype(np.float32),
        "awq": activation_aware_scale(weight, stats, bits=bits, group_size=32),
    }


def norms(bench):
    """The exponent of hqq's error: output error of each layer on images not seen, groups of 32."""
    lines = []
    for name in bench.names:
        for bits in (3, 2):
            found = {}
            for _, net in bench.networks(name):
                held = bench.test
                for layer in net.layers:
                    exact = held @ layer.weight.T
                    for norm in (0.7, 1.0, 2.0):
                        off = held @ _by_norm(layer.weight, bits, norm).T - exact
                        share = float(np.mean(off**2) / exact.var())
                        found.setdefault((layer.name, norm), []).append(share)
                    held = layer.forward(held)
            for (layer, norm), shares in found.items():
                lines.append([TITLES[name], layer, bits, norm, f"{np.mean(shares):.5f}"])
    table("hqq by the exponent of its error, groups of 32",
          ["network", "layer", "bits", "p", "output error"], lines)  # fmt: skip


def _by_norm(weight, bits, norm):
    spare = -weight.shape[1] % 32
    groups = np.pad(weight.astype(np.float64), [(0, 0), (0, spare)]).reshape(-1, 32)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale, zero = fit_groups(groups, low, high, norm=norm)
    codes = np.clip(np.rint(groups / scale[:, None]) + zero[:, None], low, high)
    real = (codes - zero[:, None]) * scale[:, None]
    return real.reshape(len(weight), -1)[:, : weight.shape[1]].astype(np.float32)


def _judged(bench, name, bits, options, *, salient=False):
    drops, errors = [], []
    for seed, net in bench.networks(name):
        net = _with_salient_units(net) if salient else net
        exact = net.predict_logits(bench.test)
        small = qc.Quantizer(bits, **options).fit_transform(net, bench.calibration(seed))
        found, error = bench.judge(small, exact)
        drops.append(accuracy(exact, bench.labels) - found)
        errors.append(error)
    return spread(drops), f"{np.mean(errors):.5f}"


def _with_salient_units(net):
    """Return the same function, with every eighth hidden unit 16 times as large."""
    weights = {name: w.copy() for name, w in net.named_weights().items()}
    for before, after in zip(net.layers, net.layers[1:], strict=False):
        weights[f"{before.name}.weight"][::8] *= 16
        weights[f"{before.name}.bias"][::8] *= 16
        weights[f"{after.name}.weight"][:, ::8] /= 16
    return net.with_weights(weights)
