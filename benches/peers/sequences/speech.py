"""Silero's voice activity, chunk by chunk with its state: latency beside ONNX Runtime."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from benches.models.inputs import speech
from benches.peers.sequences.peers import ort_session

import qcore as qc

__all__ = ["model_path", "network", "silero"]

CHUNK, CONTEXT, RATE = 512, 64, 16_000


def model_path() -> Path | None:
    """Return where silero-vad's network is, if it is installed."""
    spec = find_spec("silero_vad")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data" / "silero_vad.onnx"


def network(path: Path) -> qc.Graph:
    """Return the network for 16 kHz and one chunk at a time."""
    return qc.load(path).fixed({"sr": RATE}, {"input": (1, CONTEXT + CHUNK), "state": (2, 1, 128)})


def chunks(pieces: int, seed: int = 0) -> np.ndarray:
    """Return speech in chunks, each with the end of the one before it.

    Pieces of five seconds, each louder or softer, faster or slower, with more or less noise.
    """
    rng = np.random.default_rng(seed)
    parts = [np.zeros(CONTEXT, np.float32)]
    for piece in range(pieces):
        sound = speech(5.0, 100 * seed + piece)
        places = np.arange(0, len(sound) - 1, rng.uniform(0.75, 1.3))
        sound = np.interp(places, np.arange(len(sound)), sound) * 10 ** rng.uniform(-1, 0.3)
        sound = sound + 10 ** rng.uniform(-4, -2) * rng.standard_normal(len(sound))
        parts.append(sound.astype(np.float32))
    heard = np.concatenate(parts)
    starts = range(0, len(heard) - CONTEXT - CHUNK, CHUNK)
    return np.stack([heard[at : at + CONTEXT + CHUNK] for at in starts])[:, None]


def silero(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each runtime."""
    path = model_path()
    if path is None:
        print("silero: pip install silero-vad --no-deps")
        return
    net = network(path)
    samples = list(_recorded(net, chunks(4, seed=1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judges = list(_recorded(net, chunks(4, seed=2)))
        small = qc.compress(net, samples, validation_data=(judges, None))
    heard = chunks(8)
    session = ort_session(path, threads)
    runs: dict[str, Callable[[np.ndarray], float]] = {
        "qcore int8": _stream(small, threads), "qcore float": _stream(net, threads),
        "ORT float": _peer(session),
    }  # fmt: skip
    said = {name: np.array([run(chunk) for chunk in heard]) for name, run in runs.items()}
    for name in ("qcore float", "qcore int8"):
        off = np.abs(said[name] - said["ORT float"])
        same = np.mean((said[name] > 0.5) == (said["ORT float"] > 0.5))
        print(f"silero {name}: {off.max():.1e} from ONNX Runtime's at most, {same:.1%} of answers")
    times = _times(runs, heard, seconds)
    yield "| runtime | p50 µs | p99 µs | p99.9 µs | worst µs | p50 | p99.9 |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    marks = {name: np.percentile(taken, [50, 99, 99.9, 100]) for name, taken in times.items()}
    for name, found in marks.items():
        peer = marks["ORT float"]
        cells = [name, *(f"{value:.1f}" for value in found)]
        cells += [f"{peer[place] / found[place]:.2f}×" for place in (0, 2)]
        yield "| " + " | ".join(cells) + " |"


def _recorded(net: qc.Graph, heard: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Yield chunks, each with the state in which the network hears it."""
    stream = net.stream({"stateN": "state"})
    for chunk in heard:
        yield {"input": chunk, **stream.state}
        stream.run({"input": chunk})


def _stream(net: qc.Graph, threads: int) -> Callable[[np.ndarray], float]:
    stream = net.stream({"stateN": "state"}, threads=threads)
    return lambda chunk: stream.run({"input": chunk})["output"][0, 0]


def _peer(session: Any) -> Callable[[np.ndarray], float]:
    state = np.zeros((2, 1, 128), np.float32)
    rate = np.array(RATE)

    def run(chunk: np.ndarray) -> float:
        nonlocal state
        found, state = session.run(None, {"input": chunk, "state": state, "sr": rate})
        return float(found[0, 0])

    return run


def _times(
    runs: dict[str, Callable[[np.ndarray], float]], heard: np.ndarray, seconds: float
) -> dict[str, np.ndarray]:
    """Return what chunks take in microseconds; the runtimes take turns, some chunks each."""
    taken: dict[str, list[int]] = {name: [] for name in runs}
    gc.collect()
    gc.disable()
    try:
        end = perf_counter_ns() + int(max(seconds, 0.5) * 10e9)
        while perf_counter_ns() < end:
            for name, run in runs.items():
                run(heard[0])  # brings its weights back into the caches
                for chunk in heard[:50]:
                    start = perf_counter_ns()
                    run(chunk)
                    taken[name].append(perf_counter_ns() - start)
    finally:
        gc.enable()
    return {name: np.asarray(times) / 1000 for name, times in taken.items()}
