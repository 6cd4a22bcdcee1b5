"""Mixed precision: by output at 3 bits on average, and a network with one outlier layer."""

import numpy as np
from common import TITLES, accuracy, logit_error, spread, table

import qcore as qc


def rows(bench):
    """A mixture of 2, 3, 4, 5 and 8 bits by output, beside the same bits for all."""
    lines = []
    for name in bench.names:
        found = {"all of 3 bits": ([], []), "by layer": ([], []), "by output": ([], [])}
        floats, bits = [], []
        for seed, net in bench.networks(name):
            exact = net.predict_logits(bench.test)
            floats.append(accuracy(exact, bench.labels))
            mixture = {"bits": (2, 3, 4, 5, 8), "target_bits": 3}
            for what, options in (
                ("all of 3 bits", {"bits": 3}),
                ("by layer", {**mixture, "granularity": "layer"}),
                ("by output", mixture),
            ):
                small = qc.Quantizer(**options).fit_transform(net, bench.calibration(seed))
                score, error = bench.judge(small, exact)
                found[what][0].append(score)
                found[what][1].append(error)
                if what == "by output":
                    bits.append(_mean_bits(small))
        even = found["all of 3 bits"][1]
        for what, (scores, errors) in found.items():
            lower = sum(a < b for a, b in zip(errors, even, strict=True))
            lines.append([
                TITLES[name], what, spread(scores), spread(np.subtract(floats, scores)),
                f"{np.mean(errors):.5f}", f"{lower} of {len(even)}" if errors is not even else "",
                f"{np.mean(bits):.3f}" if what == "by output" else "3",
            ])  # fmt: skip
    table("3 bits a weight on average, 8-bit activations, 1,000 unlabelled training images",
          ["network", "widths", "accuracy %", "drop, points", "logit error", "lower on seeds",
           "bits"], lines)  # fmt: skip


def _mean_bits(net):
    tensors = [layer.weight for layer in net.layers]
    codes = sum(q.size for q in tensors)
    return sum(int(q.row_bits.astype(int).sum()) * q.shape[1] for q in tensors) / codes


def outlier_layer(bench):
    """One layer whose input has a feature 3,000 times as large as the rest."""
    lines = []
    for name in bench.names:
        kept, drops, errors = [], {}, {}
        for seed, net in bench.networks(name):
            net = _with_outlier(net)
            exact = net.predict_logits(bench.test)
            for what, options in (
                ("int8", {"bits": 8}),
                (
                    "int8, smoothquant",
                    {"bits": 8, "algorithm": ("smoothquant", "gptq", "bias_correction")},
                ),
                (
                    "int8, equalized",
                    {
                        "bits": 8,
                        "algorithm": ("cross_layer_equalization", "gptq", "bias_correction"),
                    },
                ),
                ("mixture", {"bits": (4, 8, "float32"), "target_bits": 12}),
            ):
                small = qc.Quantizer(**options).fit_transform(net, bench.calibration(seed))
                logits = small.predict_logits(bench.test)
                drop = accuracy(exact, bench.labels) - accuracy(logits, bench.labels)
                drops.setdefault(what, []).append(drop)
                errors.setdefault(what, []).append(logit_error(logits, exact))
                if what == "mixture":
                    kept.append([text for x in small.layers if (text := _kept(x))])
        for what in drops:
            lines.append([
                TITLES[name], what, spread(drops[what]), f"{np.mean(errors[what]):.5f}",
                "; ".join(", ".join(k) for k in kept) if what == "mixture" else "",
            ])  # fmt: skip
    table("A network whose fc2 has an outlier input; the mixture has 12 bits a weight at most",
          ["network", "", "drop, points", "logit error", "layers kept in float, by seed"],
          lines)  # fmt: skip


def _kept(layer):
    """Return a layer's name if it stays in float; with how many rows, if it is not all."""
    if isinstance(layer.weight, np.ndarray):
        return layer.name
    rows = layer.float_rows
    return "" if rows is None else f"{layer.name} ({rows.sum()} of {len(rows)} rows)"


def _with_outlier(net):
    """Return the same function, with one output of fc1 scaled up and its weights in fc2 down."""
    first, bias, second = net.layers[0].weight.copy(), net.layers[0].bias.copy(), None
    second = net.layers[1].weight.copy()
    first[0], bias[0] = first[0] * 3000, bias[0] * 3000
    second[:, 0] /= 3000
    return net.with_weights({"fc1.weight": first, "fc1.bias": bias, "fc2.weight": second})
