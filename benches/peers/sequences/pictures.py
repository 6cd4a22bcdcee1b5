"""rapidocr's recognizer on lines that are drawn: the text that integers read, and how fast."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from benches.models.inputs import text_line
from benches.peers.sequences.encoders import sentences
from benches.peers.sequences.peers import ort_session, peer_runs
from benches.peers.sequences.prose import prose
from benches.peers.sequences.tables import line
from benches.peers.timing import best_times

import qcore as qc

__all__ = ["lines_of", "read_text", "recognizers"]

HEIGHT, WIDTH = 48, 320
LETTERS = 26  # that a line of this width holds


def lines_of(texts: list[str]) -> np.ndarray:
    """Return lines of text as the recognizer takes them, (n, 3, 48, 320)."""
    images = [text_line(text, HEIGHT, WIDTH) for text in texts]
    pixels = np.stack([np.asarray(image, np.float32) for image in images])
    found: np.ndarray = (pixels / 255 - 0.5) / 0.5
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2))


def read_text(scores: np.ndarray) -> list[tuple[int, ...]]:
    """Return the characters of each line, by number: repeats and blanks left out (CTC)."""
    best = scores.argmax(axis=-1)
    found = []
    for row in best:
        kept = np.flatnonzero((row != 0) & (row != np.concatenate([[-1], row[:-1]])))
        found.append(tuple(int(code) for code in row[kept]))
    return found


def _short(words: list[str]) -> str:
    """Return as many words as a line of this width holds."""
    text = words[0]
    for word in words[1:]:
        if len(text) + 1 + len(word) > LETTERS:
            break
        text += f" {word}"
    return text


def _texts() -> list[str]:
    """Return short lines: the beginnings of sentences, and numbers; then ends of sentences."""
    rng = np.random.default_rng(0)
    found = []
    texts = [*sentences()[0], *sentences()[1]]
    for sentence in texts:
        found.append(_short(sentence.split()))
        if len(found) % 8 == 0:
            found.append(
                f"No. {rng.integers(1000, 99999)}: {rng.integers(1, 999)}.{rng.integers(10, 99)}"
            )
    ends = (_short(sentence.split()[::-1]) for sentence in texts)
    found += [" ".join(end.split()[::-1]) for end in ends]
    return found


def recognizers(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for the recognizer."""
    for package in ("rapidocr",):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            print(f"{package}: pip install {package} --no-deps")
            continue
        for path in sorted((Path(spec.origin).parent / "models").glob("*rec*.onnx")):
            yield _row(path, folder, seconds, threads)


def _row(path: Path, folder: Path, seconds: float, threads: int) -> str:
    texts = _texts()
    calibrate, validate = lines_of(texts[:32]), lines_of(texts[32:128])
    judge = lines_of(texts[128:])
    net = qc.load(path)
    name, output = net.inputs[0].name, net.outputs[0].name
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small = qc.compress(net, calibrate, validation_data=(validate, None))
    for one in told:
        print(f"{path.name}: {one.message}")
    wide = small.report_.totals.get("left wide", [])
    print(
        f"{path.name}: {len(wide)} values and weights left wide, {net.nbytes:,} -> {small.nbytes:,}"
    )

    def read(one: qc.Graph, lines: np.ndarray = judge) -> list[tuple[int, ...]]:
        parts = [one.run({name: lines[at : at + 8]})[output] for at in range(0, len(lines), 8)]
        return read_text(np.concatenate(parts))

    exact, found = read(net), read(small)
    others = lines_of([_short(text.split()) for text in prose(len(judge), frozenset(texts))])
    stay = np.mean([a == b for a, b in zip(read(net, others), read(small, others), strict=True)])
    print(f"{path.name}: {len(others)} lines of prose, {stay:.1%} read as by floats")
    session = ort_session(path, threads)
    peer = read_text(np.concatenate([session.run(None, {name: one[None]})[0] for one in judge]))
    same = np.mean([a == b for a, b in zip(exact, found, strict=True)])
    ours = np.mean([a == b for a, b in zip(exact, peer, strict=True)])
    print(
        f"{path.name}: {len(judge)} lines, {same:.1%} read as by floats, these {ours:.1%} as ORT's"
    )
    inputs = {name: judge[:1]}
    sizes = {
        dim: size
        for dim, size in zip(net.inputs[0].shape or (), judge[:1].shape, strict=True)
        if isinstance(dim, str)
    }
    if len(sizes) < 3 and None in (net.inputs[0].shape or ()):
        net, small = (one.fixed({}, {name: judge[:1].shape}) for one in (net, small))
        sizes = {}
    calls = {}
    for label, one in (("qcore int8", small), ("qcore float", net)):
        ready = one.session(sizes, threads)
        calls[label] = lambda ready=ready: ready.run(inputs)
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    samples = [{name: one[None]} for one in calibrate]
    for label, run, other in peer_runs(copy, samples, inputs, threads):
        calls[label] = run
        if other is not None and label != "ORT float":
            peer = read_text(np.concatenate([other({name: one[None]})[0] for one in judge]))
            share = np.mean([a == b for a, b in zip(exact, peer, strict=True)])
            print(f"{path.name}: {label} reads {share:.1%} of the lines as floats do")
    return line(path.name, best_times(calls, seconds, warm=True), f"{same:.1%} of lines")
