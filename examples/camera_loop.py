"""A camera loop whose worst case is known: frames are generated, each has a deadline.

``python examples/camera_loop.py --data DIR`` reads ``mobilenetv1_vww_float.tflite`` (is there a
person?) from DIR. A session has all its memory before the first frame and allocates none later, so
what varies is the machine, not the program; frames that come too late are counted, not hidden.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

import numpy as np

import qcore as qc
from qcore import _core


def frames(count: int, side: int = 96):
    """Yield pictures of a bright disc that moves before a noisy wall, float32 in 0 to 1."""
    rng = np.random.default_rng(0)
    wall = rng.random((side, side, 3), dtype=np.float32) * np.float32(0.3)
    rows, columns = np.mgrid[:side, :side]
    picture = np.empty((1, side, side, 3), np.float32)
    for index in range(count):
        at = side / 2 + side / 3 * np.sin(index / 15), side / 2 + side / 3 * np.cos(index / 21)
        disc = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 < (side / 6) ** 2
        picture[0] = wall
        picture[0][disc] = (0.9, 0.7, 0.6)
        yield picture


def main() -> None:
    """Run the loop, and print percentiles, the slowest frame, and how many came too late."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="where the network is")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--deadline-ms", type=float, default=5.0)
    options = parser.parse_args()

    _core.set_num_threads(1)  # one core that is ours is steadier than two that are shared
    net = qc.load(options.data / "mobilenetv1_vww_float.tflite")
    seen = np.concatenate([frame.copy() for frame in frames(64)])
    small = qc.compress(net, seen, bits=8)
    session = small.session({"batch": 1})
    name, output = small.inputs[0].name, small.outputs[0].name
    for frame in frames(20):
        session.run({name: frame})  # the first calls bring everything into the caches

    taken, late, people = [], 0, 0
    gc.disable()
    for frame in frames(options.frames):
        start = time.perf_counter_ns()
        people += int(session.run({name: frame})[output][0, 1] > 0.5)
        taken.append((time.perf_counter_ns() - start) / 1e6)
        late += taken[-1] > options.deadline_ms
    gc.enable()
    p50, p99, p999 = np.percentile(taken, [50, 99, 99.9])
    print(f"{len(taken)} frames, a person in {people}")
    print(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms, slowest {max(taken):.2f} ms")
    print(f"{late} frames past {options.deadline_ms:g} ms")


if __name__ == "__main__":
    main()
