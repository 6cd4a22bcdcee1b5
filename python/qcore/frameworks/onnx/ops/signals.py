"""Ops of sound: Fourier transforms of fixed length, which are products, and rows in reverse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps
from qcore.frameworks.onnx.ops.attending import along, size_of

__all__ = ["OPS"]

_INT64 = 7
#: Weights of a transform: beyond that it is no product to be had.
_MOST = 1 << 24


def _scalar(reader: Reader, name: str) -> int | None:
    """Return a constant of one number."""
    found = reader.constant_value(name) if name else None
    return int(found.reshape(())) if found is not None and found.size == 1 else None


def _waves(length: int, bins: int, sign: int) -> NDArray[np.complex128]:
    """Return exp(± 2πi · bin · place / length), (bins, length); the angles lose no digits."""
    turns = np.outer(np.arange(bins), np.arange(length)) % length
    waves: NDArray[np.complex128] = np.exp(sign * 2j * np.pi * turns / length)
    return waves


def _stft(node: SourceNode, reader: Reader) -> None:
    """Read a short-time transform of a real signal as a convolution."""
    signal, window_name = node.inputs[0], node.input(2)
    known = reader.value(signal)
    shape = None if known is None else known.shape
    step, window = _scalar(reader, node.inputs[1]), None
    if window_name:
        window = reader.constant_value(window_name)
    length = _scalar(reader, node.input(3))
    if length is None and window is not None:
        length = int(window.size)
    is_real = shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1))
    fits = step is not None and length is not None and length > 0 and is_real
    if not fits or length is None or (window_name and (window is None or window.size != length)):
        reader.miss("STFT of complex values, or by what is computed", node.name)
        return
    bins = length // 2 + 1 if node.get("onesided", 1) else length
    if 2 * bins * length > _MOST:
        reader.miss(f"STFT of {length} places", node.name)
        return
    waves = _waves(length, bins, -1) * (1.0 if window is None else np.asarray(window, np.float64))
    kernel = np.stack([waves.real, waves.imag], axis=1).reshape(2 * bins, 1, length)
    rows = reader.add("Reshape", [signal, reader.ints([0, 1, -1])])
    found = reader.add("Conv", [rows, reader.constant(kernel, np.float32)], strides=[step])
    apart = reader.add("Reshape", [found, reader.ints([0, bins, 2, -1])])
    reader.add("Transpose", [apart], node.outputs, perm=[0, 3, 1, 2])


def _dft(node: SourceNode, reader: Reader) -> None:
    """Read a transform along an axis of known length as a product."""
    x = node.inputs[0]
    known = reader.value(x)
    shape = None if known is None else known.shape
    axis = node.get("axis", 1) if "axis" in node.attributes else None
    if axis is None:
        axis = _scalar(reader, node.input(2)) if node.input(2) else (1 if node.opset < 20 else -2)
    length = _scalar(reader, node.input(1))
    rank = 0 if shape is None else len(shape)
    at = -1 if axis is None else int(axis) + rank * (int(axis) < 0)
    if shape is None or rank < 2 or not 0 <= at < rank - 1 or shape[-1] not in (1, 2):
        reader.miss("DFT of unknown dims", node.name)
        return
    there, parts = shape[at], shape[-1]
    if length is None and not node.input(1) and isinstance(there, int):
        length = there
    if length is None or length != there or length < 1:
        reader.miss("DFT of a length that is not the input's", node.name)
        return
    inverse, one_sided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    if inverse and one_sided:
        reader.miss("DFT back from one side", node.name)
        return
    bins = length // 2 + 1 if one_sided else length
    if 4 * bins * length > _MOST:
        reader.miss(f"DFT of {length} places", node.name)
        return
    waves = _waves(length, bins, 1 if inverse else -1) / (length if inverse else 1)
    # Of (place, part) to (bin, part): a real place gives both parts of its wave, i times it the
    # same turned by a quarter.
    turned = np.stack([waves, 1j * waves], axis=-1)[..., :parts]
    matrix = np.stack([turned.real, turned.imag], axis=-1).transpose(1, 2, 0, 3)
    matrix = matrix.reshape(length * parts, bins * 2)
    perm = [place for place in range(rank - 1) if place != at] + [at, rank - 1]
    last = reader.add("Transpose", [x], perm=perm)
    flat = reader.add("Reshape", [last, reader.ints([0] * (rank - 2) + [length * parts])])
    made = reader.add("MatMul", [flat, reader.constant(matrix, np.float32)])
    apart = reader.add("Reshape", [made, reader.ints([0] * (rank - 2) + [bins, 2])])
    reader.add("Transpose", [apart], node.outputs, perm=np.argsort(perm).tolist())


def _reverse_sequence(node: SourceNode, reader: Reader) -> None:
    """Read rows of which the first few are turned round, as many as each sample says."""
    x, lengths = node.inputs
    rank = reader.rank(x)
    time, batch = int(node.get("time_axis", 0)), int(node.get("batch_axis", 1))
    if rank is None or {time, batch} != {0, 1}:
        reader.miss("ReverseSequence of unknown dims", node.name)
        return
    lengths = reader.add("Cast", [lengths], to=_INT64)
    steps = along(reader, size_of(reader, x, time))
    spread = [place for place in range(rank) if place != time]
    steps = reader.add("Unsqueeze", [steps, reader.ints(spread)])
    others = [place for place in range(rank) if place != batch]
    lengths = reader.add("Unsqueeze", [lengths, reader.ints(others)])
    back = reader.add("Sub", [lengths, reader.constant(np.int64(1))])
    back = reader.add("Sub", [back, steps])
    inside = reader.add("Less", [steps, lengths])
    places = reader.add("Where", [inside, back, steps])
    places = reader.add("Expand", [places, reader.add("Shape", [x])])
    reader.add("GatherElements", [x, places], node.outputs, axis=time)


OPS: dict[str, Op] = {
    "DFT": as_steps(_dft, (1, 3), 1, "axis", "inverse", "onesided"),
    "ReverseSequence": as_steps(_reverse_sequence, (2, 2), 1, "batch_axis", "time_axis"),
    "STFT": as_steps(_stft, (2, 4), 1, "onesided"),
}
