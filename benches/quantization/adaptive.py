"""Nested precision: one 8-bit file, run at 8 and at 4 bits."""

import numpy as np
from common import TITLES, accuracy, spread, table

import qcore as qc


def rows(bench):
    """The 4-bit network in the 8-bit codes, beside a 4-bit network of its own."""
    lines = []
    for name in bench.names:
        scores = {"float": [], "8 of 8": [], "4 of 8": [], "4 alone": []}
        for seed, net in bench.networks(name):
            images = bench.calibration(seed)
            exact = net.predict_logits(bench.test)
            scores["float"].append(accuracy(exact, bench.labels))
            both = qc.Quantizer(8, nested=4).fit_transform(net, images)
            scores["8 of 8"].append(bench.judge(both, exact)[0])
            scores["4 of 8"].append(bench.judge(both.set_precision(4), exact)[0])
            alone = qc.compress(net, images, bits=4)
            scores["4 alone"].append(bench.judge(alone, exact)[0])
        off = np.subtract(scores["4 alone"], scores["4 of 8"])
        lines.append([TITLES[name], *map(spread, scores.values()), spread(off)])
    table("Nested precision, accuracy in percent",
          ["network", "float", "8 bits", "4 bits of the 8-bit file", "4-bit network",
           "4-bit network less nested, points"], lines)  # fmt: skip
