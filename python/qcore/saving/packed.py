"""A pruned network with shared weights, entropy-coded as a whole: a Deep Compression file.

The payload is one stored tensor of bytes, ``packed``::

    8 bytes     BLAKE2b of the rest
    layers, one after another, each:
        numbers     rows, columns, levels, usual code, stride, activation, forms of levels and bias
        levels      ascending, float16 (form 0) or float32 (form 1)
        number      length of the codes; the codes, entropy-coded (`qcore_kernels::entropy`)
        bias        form 0: none; 1: float32; 2: number e, number of bytes, integers whose unit is
                    2**-e, entropy-coded

A number is 7 bits a byte, the lowest first, with the top bit set on all bytes but the last.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.products.activations import ACTIVATIONS, NUMBERS
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.layers import Dense
from qcore.files.limits import USUAL, Limits

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["PACKED", "is_packable", "pack_layers", "packed_nbytes", "unpack_layers"]

#: The name of the stored tensor.
PACKED = "packed"

_HASH = 8
# Which share of the weights must be 0 for decoding time to be well spent.
_SPARSE = 0.5
# The finest unit of a bias's integers, and the longest number.
_FINEST = 24
_LONGEST_NUMBER = 9

Bytes = NDArray[np.uint8]


def is_packable(network: Chain) -> bool:
    """Whether every weight of a network is shared, by tensor, and at least half of all are 0."""
    if not all(_is_shared(layer) for layer in network.layers):
        return False
    weights = [layer.weight for layer in network.layers if isinstance(layer.weight, QTensor)]
    zeros = sum(np.count_nonzero(q.values == _zero_code(q)) for q in weights)
    return bool(zeros >= _SPARSE * sum(q.values.size for q in weights))


def pack_layers(network: Chain) -> Bytes:
    """Return the payload that holds the layers of a packable network."""
    body = b"".join(_pack_layer(layer) for layer in network.layers)
    return np.frombuffer(_hash(body) + body, np.uint8)


def packed_nbytes(network: Chain) -> int:
    """Return what papers count: coded weights and levels, without heads, biases and hash."""
    total = 0
    for layer in network.layers:
        weight = layer.weight
        assert isinstance(weight, QTensor)
        assert weight.levels is not None
        zero = _zero_code(weight)
        codes = np.ascontiguousarray(weight.values, np.uint8)
        total += _shortest(codes, weight.levels.size, zero)[1].size
        total += len(_pack_levels(weight.levels)[1])
    return total


def unpack_layers(payload: NDArray[Any], limits: Limits = USUAL) -> list[Dense]:
    """Return the layers that a payload holds, of no more bytes than the limits allow.

    Raises
    ------
    ValueError
        If its hash is wrong, or what it holds cannot be.
    """
    if payload.dtype != np.uint8 or payload.ndim != 1 or payload.size < _HASH:
        raise ValueError(f"its packed layers are {payload.shape} {payload.dtype}")
    data = payload.tobytes()
    if _hash(data[_HASH:]) != data[:_HASH]:
        raise ValueError("the hash of its packed layers is wrong")
    reader = _Reader(payload[_HASH:])
    layers = []
    while reader.left:
        layers.append(_unpack_layer(reader, limits))
    return layers


def _zero_code(weight: QTensor) -> int:
    return int(np.flatnonzero(weight.levels == 0)[0])


def _is_shared(layer: Dense) -> bool:
    weight = layer.weight
    if not isinstance(weight, QTensor) or weight.scheme != "kmeans" or weight.axis is not None:
        return False
    if layer.input_qparams is not None or not weight.values.size or weight.levels is None:
        return False
    ascending = bool((np.diff(weight.levels) > 0).all())
    return ascending and bool((weight.levels == 0).any())


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_HASH).digest()


def _pack_layer(layer: Dense) -> bytes:
    weight = layer.weight
    assert isinstance(weight, QTensor)
    assert weight.levels is not None
    form, levels = _pack_levels(weight.levels)
    zero = _zero_code(weight)
    codes = np.ascontiguousarray(weight.values, np.uint8)
    stride, coded = _shortest(codes, weight.levels.size, zero)
    bias_form, bias = _pack_bias(layer.bias)
    rows, columns = codes.shape
    activation = ACTIVATIONS[layer.activation].number
    assert activation is not None
    head = (rows, columns, weight.levels.size, zero, stride, activation, form, bias_form)
    numbers = b"".join(map(_number, head))
    return numbers + levels + _number(coded.size) + coded.tobytes() + bias


def _shortest(codes: Bytes, levels: int, zero: int) -> tuple[int, Bytes]:
    """Return the codes' bytes, with the columns as a square image's pixels if that is shorter."""
    rows, columns = codes.shape
    root = math.isqrt(columns)
    strides = {0, root} if root * root == columns and root > 1 else {0}
    coded = {
        stride: _core.entropy_encode(codes, (rows, columns, levels, zero, stride))
        for stride in sorted(strides)
    }
    best = min(coded, key=lambda stride: coded[stride].size)
    return best, coded[best]


def _pack_levels(levels: NDArray[np.float32]) -> tuple[int, bytes]:
    with np.errstate(over="ignore"):
        half = levels.astype(np.float16)
    if (half.astype(np.float32) == levels).all():
        return 0, half.astype("<f2").tobytes()
    return 1, levels.astype("<f4").tobytes()


def _pack_bias(bias: NDArray[np.float32] | None) -> tuple[int, bytes]:
    if bias is None:
        return 0, b""
    for exponent in range(_FINEST + 1):
        scaled = np.ldexp(bias.astype(np.float64), exponent)
        # Minus zero is a value to keep.
        if (np.abs(scaled) < 2**_FINEST).all() and (scaled == np.rint(scaled)).all():
            if (np.signbit(bias) & (bias == 0)).any():
                break
            coded = _core.entropy_encode_integers(scaled.astype(np.int32))
            return 2, _number(exponent) + _number(coded.size) + coded.tobytes()
    return 1, bias.astype("<f4").tobytes()


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class _Reader:
    """Bytes, read from the front; never past the end."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def size(self) -> int:
        return int(self._data.size)

    @property
    def left(self) -> int:
        return int(self._data.size - self._at)

    def take(self, length: int) -> Bytes:
        if length > self.left:
            raise ValueError(f"its packed layers end {length - self.left} bytes too early")
        self._at += length
        return np.ascontiguousarray(self._data[self._at - length : self._at])

    def number(self) -> int:
        value = 0
        for place in range(_LONGEST_NUMBER):
            byte = int(self.take(1)[0])
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise ValueError("its packed layers hold a number that is too long")


def _unpack_layer(reader: _Reader, limits: Limits) -> Dense:
    rows, columns, count, zero, stride, activation, form, bias_form = (
        reader.number() for _ in range(8)
    )
    if activation not in NUMBERS or form > 1 or bias_form > 2 or not 1 <= count <= 256:
        raise ValueError("the head of a packed layer cannot be")
    dtype = np.dtype("<f2" if form == 0 else "<f4")
    levels = reader.take(count * dtype.itemsize).view(dtype).astype(np.float32)
    coded = reader.take(reader.number())
    shape = (rows, columns, count, zero, stride)
    limits.check_bytes(Path(PACKED), rows * columns, reader.size)
    _core.entropy_check(coded.size, shape)
    codes = np.empty((rows, columns), np.uint8)
    _core.entropy_decode(coded, shape, codes)
    layer = Dense(columns, rows, NUMBERS[activation], use_bias=bias_form != 0)
    bits = max(1, int(count - 1).bit_length())
    layer.weight = QTensor.from_parts(
        codes, 1.0, bits=bits, signed=False, scheme="kmeans", levels=levels
    )
    layer.bias = _unpack_bias(reader, bias_form, rows)
    return layer


def _unpack_bias(reader: _Reader, form: int, size: int) -> NDArray[np.float32] | None:
    if form == 0:
        return None
    if form == 1:
        return reader.take(4 * size).view("<f4").astype(np.float32)
    exponent = reader.number()
    if exponent > _FINEST:
        raise ValueError(f"the unit of a packed bias is 2**-{exponent}")
    coded = reader.take(reader.number())
    integers = np.empty(size, np.int32)
    _core.entropy_decode_integers(coded, integers)
    return np.ldexp(integers.astype(np.float64), -exponent).astype(np.float32)
