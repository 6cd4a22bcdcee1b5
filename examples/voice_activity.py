"""Voice activity in a stream: what each chunk takes, and whether integers hear the same.

``python examples/voice_activity.py`` needs the package ``silero-vad`` (its file only: ``pip install
--no-deps silero-vad``), or ``--model silero_vad.onnx``. The sound is made here.
"""

from __future__ import annotations

import argparse
import gc
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import qcore as qc

RATE, CHUNK, CONTEXT = 16_000, 512, 64


def sound(seconds: float, seed: int) -> np.ndarray:
    """Return something like speech: bursts of a hummed note with formants, in noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(110 + 25 * np.sin(2 * np.pi * rng.uniform(0.4, 1.0) * t)) / RATE
    hummed = sum(
        np.exp(-(((110 * k - peak) / 250) ** 2)) * np.sin(k * pitch)
        for k in range(1, 28)
        for peak in (500, 1500, 2500)
    )
    syllables = np.clip(4 * np.sin(2 * np.pi * 3 * t), 0, 1) * (np.sin(2 * np.pi * 0.3 * t) > -0.2)
    loudness = 10 ** rng.uniform(-1.2, -0.3)
    found = loudness * hummed * syllables / 3 + 0.002 * rng.standard_normal(len(t))
    return found.astype(np.float32)


def chunks(samples: np.ndarray):
    """Yield a microphone's chunks, each behind the end of the one before it."""
    heard = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    for at in range(0, len(samples) - CHUNK + 1, CHUNK):
        yield heard[at : at + CONTEXT + CHUNK][None]


def recorded(net: qc.Graph, samples: np.ndarray):
    """Yield what the network is given, states among it: samples for `compress`."""
    stream = net.stream({"stateN": "state"})
    for chunk in chunks(samples):
        yield {"input": chunk, **stream.state}
        stream.run({"input": chunk})


def listen(name: str, net: qc.Graph, samples: np.ndarray) -> np.ndarray:
    """Return the probability of each chunk, and print what the chunks took."""
    stream = net.stream({"stateN": "state"}, threads=1)
    given, found, taken = list(chunks(samples)), [], []
    for chunk in given[:50]:
        stream.run({"input": chunk})  # the first calls bring everything into the caches
    stream.reset()
    gc.collect()
    gc.disable()
    for chunk in given:
        start = time.perf_counter_ns()
        found.append(float(stream.run({"input": chunk})["output"][0, 0]))
        taken.append((time.perf_counter_ns() - start) / 1000)
    gc.enable()
    p50, p99, p999 = np.percentile(taken, [50, 99, 99.9])
    late = sum(micros > 1e6 * CHUNK / RATE for micros in taken)
    print(
        f"{name}: p50 {p50:.1f} µs, p99 {p99:.1f}, p99.9 {p999:.1f}, slowest {max(taken):.1f}; "
        f"{late} of {len(taken)} chunks took longer than they sound"
    )
    return np.array(found)


def main() -> None:
    """Load, compress, and listen with both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="silero_vad.onnx")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    path = options.model
    if path is None:
        spec = find_spec("silero_vad")
        if spec is None or spec.origin is None:
            parser.error("--model is missing, and the package silero-vad is not installed")
        path = Path(spec.origin).parent / "data" / "silero_vad.onnx"
    net = qc.load(path).fixed({"sr": RATE}, {"input": (1, CONTEXT + CHUNK), "state": (2, 1, 128)})
    seen = [one for seed in range(1, 6) for one in recorded(net, sound(6.0, seed))]
    small = qc.compress(net, seen)
    heard = sound(options.seconds, seed=0)
    exact, coded = listen("float", net, heard), listen("8 bits", small, heard)
    same = np.mean((exact > 0.5) == (coded > 0.5))
    print(f"{net.nbytes:,} bytes -> {small.nbytes:,}; {same:.1%} of the answers are the same")
    print("left wide:", ", ".join(small.report_.totals.get("left wide", [])) or "nothing")


if __name__ == "__main__":
    main()
