"""rapidocr's detector on pages that are drawn: the boxes that integers find, and how fast."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benches.models.inputs import page
from benches.peers.sequences.peers import peer_runs
from benches.peers.sequences.tables import line
from benches.peers.timing import best_times

import qcore as qc

__all__ = ["boxes_of", "detectors"]

SIDE = 320
CALIBRATE, VALIDATE, JUDGE = 8, 8, 32
#: As the package does it: what is text, and how sure a box has to be of it.
TEXT, SURE = 0.3, 0.5
#: Pixels by which the sides of a box may be off; lines of text are eight pixels high here.
CLOSE = 1


class Box(NamedTuple):
    top: int
    left: int
    bottom: int
    right: int


def pages(first: int, count: int) -> np.ndarray:
    """Return pages as the detector takes them, (n, 3, 320, 320)."""
    drawn = [np.asarray(page(SIDE, SIDE, seed), np.float32) for seed in range(first, first + count)]
    found: np.ndarray = (np.stack(drawn) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2), np.float32)


def boxes_of(chance: np.ndarray) -> list[Box]:
    """Return the upright boxes around what is text, of a page's chances (height, width)."""
    from scipy import ndimage

    parts, _ = ndimage.label(chance > TEXT, np.ones((3, 3), int))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        if chance[parts == number].mean() >= SURE:
            found.append(Box(rows.start, columns.start, rows.stop, columns.stop))
    return found


def is_close(one: Box, other: Box) -> bool:
    """Whether no side of a box is further from another's than `CLOSE`."""
    return all(abs(a - b) <= CLOSE for a, b in zip(one, other, strict=True))


def detectors(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for the detector."""
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        print("rapidocr: pip install rapidocr --no-deps")
        return
    for path in sorted((Path(spec.origin).parent / "models").glob("*det*.onnx")):
        yield _row(path, folder, seconds, threads)


def _row(path: Path, folder: Path, seconds: float, threads: int) -> str:
    net = qc.load(path)
    name, output = net.inputs[0].name, net.outputs[0].name
    calibrate, validate = pages(0, CALIBRATE), pages(CALIBRATE, VALIDATE)
    judge = pages(CALIBRATE + VALIDATE, JUDGE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small = qc.compress(net, calibrate, validation_data=(validate, None))
    for one in told:
        print(f"{path.name}: {one.message}")
    found = [
        [boxes_of(one.run({name: image[None]})[output][0, 0]) for image in judge]
        for one in (net, small)
    ]
    boxes = sum(map(len, found[0]))
    same = sum(
        any(is_close(box, other) for other in others)
        for ours, others in zip(*found, strict=True)
        for box in ours
    )
    more = sum(map(len, found[1])) - boxes
    wide = small.report_.totals.get("left wide", [])
    print(
        f"{path.name}: {same} of {boxes} boxes on {len(judge)} pages are there to a pixel, "
        f"{more:+d} in all; {len(wide)} values and weights left wide"
    )
    inputs = {name: judge[:1]}
    net, small = (one.fixed({}, {name: judge[:1].shape}) for one in (net, small))
    calls = {}
    for label, one in (("qcore int8", small), ("qcore float", net)):
        ready = one.session({}, threads)
        calls[label] = lambda ready=ready: ready.run(inputs)
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    for label, run, _ in peer_runs(copy, [{name: one[None]} for one in calibrate], inputs, threads):
        calls[label] = run
    times = best_times(calls, seconds, warm=True)
    return line(path.name, times, f"{same / max(1, boxes):.1%} of boxes")
