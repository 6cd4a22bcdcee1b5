"""Spot keywords on integers: calibrate DS-CNN on a few sounds, judge it, time sound by sound.

``python examples/keyword_spotting.py --data DIR`` reads ``dscnn_kws_float.tflite`` and
``kws_test.npz`` of MLPerf Tiny's reference implementation from DIR.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import qcore as qc

CALIBRATION = 200


def main() -> None:
    """Print what 8 bits cost in answers, and gain in bytes and time."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the network and its sounds")
    parser.add_argument("--output", type=Path, help="where to save the quantized network")
    options = parser.parse_args()

    net = qc.load(options.data / "dscnn_kws_float.tflite")
    sounds = np.load(options.data / "kws_test.npz")
    # The file has the features as the int8 that MLPerf's int8 network takes.
    x = (sounds["x"].astype(np.float32) - 83) * np.float32(0.58470)
    y = sounds["y"]
    order = np.random.default_rng(0).permutation(len(x))
    few, rest = order[:CALIBRATION], order[CALIBRATION:]

    small = qc.compress(net, x[few], bits=8)
    print(f"{net.nbytes:,} bytes of weights before, {small.nbytes:,} after")
    print(f"float {100 * net.score(x[rest], y[rest]):.2f} %", end=", ")
    print(f"8 bits {100 * small.score(x[rest], y[rest]):.2f} % right", end="; ")
    same = np.mean(net.predict(x[rest]) == small.predict(x[rest]))
    print(f"the same answer in {100 * same:.2f} % of {len(rest)} sounds")

    # One sound at a time, in memory that is there before the first.
    session = small.session({"batch": 1})
    name, output = small.inputs[0].name, small.outputs[0].name
    taken = []
    for sound in x[rest]:
        start = time.perf_counter_ns()
        session.run({name: sound[None]})[output].argmax()
        taken.append((time.perf_counter_ns() - start) / 1000)
    p50, p99 = np.percentile(taken, [50, 99])
    print(f"a sound takes {p50:.0f} µs, 99 in 100 at most {p99:.0f} µs")
    if options.output is not None:
        small.save(options.output)


if __name__ == "__main__":
    main()
