"""Attention in steps of ONNX, as exporters spell it; `graph.lowering` finds it as one step.

Values have the shape (batch, heads, rows, size) unless something else is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Reader

__all__ = [
    "Scores", "along", "attend", "between", "count_of", "merged", "padded", "repeated", "rotated",
    "size_of", "split_heads", "with_past",
]  # fmt: skip

_HIDDEN = np.float32(-np.inf)
_END = np.iinfo(np.int64).max
_FLOAT = 1


class Scores(NamedTuple):
    """What happens to the products of queries and keys.

    Attributes
    ----------
    scale : float or None
        Their factor; one over the root of a head's size, where there is none.
    softcap : float
        They are kept within it by a tanh; 0 for none.
    bias : str
        What is added to them; "" for nothing.
    may_hide_all : bool
        Whether the bias may be -inf for all keys of a row, which then is 0.
    """

    scale: float | None = None
    softcap: float = 0.0
    bias: str = ""
    may_hide_all: bool = False


def count_of(node: SourceNode, name: str, default: int | None = None) -> int:
    """Return an attribute that counts heads or the like.

    Raises
    ------
    ValueError
        If it is missing or below 1; names the node.
    """
    found = node.get(name, default)
    if not isinstance(found, int) or found < 1:
        said = "no" if found is None else f"{found} for"
        raise ValueError(f"node {node.name!r} ({node.op}) has {said} {name!r}; it must be above 0")
    return found


def size_of(reader: Reader, name: str, axis: int) -> str:
    """Return the size of an axis, a scalar of int64."""
    shape = reader.add("Shape", [name])
    return reader.add("Gather", [shape, reader.constant(np.int64(axis))], axis=0)


def split_heads(reader: Reader, rows: str, heads: int) -> str:
    """Return the heads that lie side by side in rows (batch, rows, heads · size)."""
    apart = reader.add("Reshape", [rows, reader.ints([0, 0, heads, -1])])
    return reader.add("Transpose", [apart], perm=(0, 2, 1, 3))


def merged(reader: Reader, value: str, outputs: Sequence[str] | None = None) -> str:
    """Return heads side by side in rows (batch, rows, heads · size)."""
    turned = reader.add("Transpose", [value], perm=(0, 2, 1, 3))
    return reader.add("Reshape", [turned, reader.ints([0, 0, -1])], outputs)


def with_past(reader: Reader, past: str, value: str, output: str) -> str:
    """Return keys or values behind those of the past, as the output where there is one."""
    if not past:
        if output:
            reader.add("Identity", [value], [output])
        return value
    return reader.add("Concat", [past, value], [output] if output else None, axis=2)


def repeated(reader: Reader, value: str, times: int) -> str:
    """Return keys or values with each head so many times, one after the other."""
    if times == 1:
        return value
    shape = reader.add("Shape", [value])
    batch, heads, rest = (
        reader.add("Slice", [shape, reader.ints(start), reader.ints(end)])
        for start, end in ((0, 1), (1, 2), (2, 4))
    )
    apart = reader.add("Unsqueeze", [value, reader.ints(2)])
    many = reader.add("Expand", [apart, reader.ints([1, 1, times, 1, 1])])
    all_heads = reader.add("Mul", [heads, reader.ints(times)])
    target = reader.add("Concat", [batch, all_heads, rest], axis=0)
    return reader.add("Reshape", [many, target])


def along(reader: Reader, size: str) -> str:
    """Return 0, 1, ... below a size."""
    zero, one = (reader.constant(np.int64(number)) for number in (0, 1))
    return reader.add("Range", [zero, size, one])


def _shown(reader: Reader, allowed: str) -> str:
    """Return what is added to scores: 0 where a key is allowed, else -inf."""
    zero, hidden = reader.constant(np.float32(0)), reader.constant(_HIDDEN)
    return reader.add("Where", [allowed, zero, hidden])


def between(
    reader: Reader, rows: str, keys: str, first: str, left: int | None, right: int | None
) -> str:
    """Return what hides keys outside a window around each row: (rows, keys), or with batches.

    Parameters
    ----------
    rows, keys : str
        How many there are.
    first : str
        The place of row 0 among the keys: a scalar, or (batch,); "" for 0.
    left, right : int or None
        So many keys before and behind the place of a row are seen; all for None.
    """
    places = reader.add("Unsqueeze", [along(reader, rows), reader.ints(1)])
    columns = reader.add("Unsqueeze", [along(reader, keys), reader.ints(0)])
    if first:
        if reader.rank(first) != 0:
            first = reader.add("Unsqueeze", [first, reader.ints([1, 2, 3])])
        places = reader.add("Add", [places, first])
    allowed = ""
    for limit, sign, op in ((right, 1, "LessOrEqual"), (left, -1, "GreaterOrEqual")):
        if limit is None:
            continue
        end = reader.add("Add", [places, reader.constant(np.int64(sign * limit))])
        found = reader.add(op, [columns, end])
        allowed = reader.add("And", [allowed, found]) if allowed else found
    return _shown(reader, allowed)


def padded(reader: Reader, counts: str, keys: str) -> str:
    """Return what hides keys from the count of each sequence on: (batch, 1, 1, keys)."""
    columns = along(reader, keys)
    counts = reader.add("Unsqueeze", [counts, reader.ints([1, 2, 3])])
    return _shown(reader, reader.add("Less", [columns, counts]))


def attend(
    reader: Reader, q: str, k: str, v: str, how: Scores, outputs: Sequence[str] | None = None,
    taps: Mapping[int, str] | None = None,
) -> str:  # fmt: skip
    """Return what queries attend to.

    `taps`: names for the scores: 0, as the products are; 1, within the soft cap; 2, with the bias;
    3, as weights.
    """
    taps = {} if taps is None else taps

    def tapped(value: str, place: int) -> str:
        if place in taps:
            reader.add("Identity", [value], [taps[place]])
        return value

    across = reader.add("Transpose", [k], perm=(0, 1, 3, 2))
    scores = reader.add("MatMul", [q, across])
    if how.scale is None:
        size = reader.add("Cast", [size_of(reader, q, 3)], to=_FLOAT)
        scores = reader.add("Div", [scores, reader.add("Sqrt", [size])])
    elif how.scale != 1:
        scores = reader.add("Mul", [scores, reader.constant(np.float32(how.scale))])
    scores = tapped(scores, 0)
    if how.softcap:
        cap = reader.constant(np.float32(how.softcap))
        scores = reader.add("Tanh", [reader.add("Div", [scores, cap])])
        scores = reader.add("Mul", [scores, cap])
    scores = tapped(scores, 1)
    if how.bias:
        scores = reader.add("Add", [scores, how.bias])
    scores = tapped(scores, 2)
    weights = reader.add("Softmax", [scores], axis=-1)
    if how.bias and how.may_hide_all:
        most = reader.add("ReduceMax", [how.bias, reader.ints(-1)], keepdims=1)
        hidden = reader.add("Equal", [most, reader.constant(_HIDDEN)])
        weights = reader.add("Where", [hidden, reader.constant(np.float32(0)), weights])
    return reader.add("MatMul", [tapped(weights, 3), v], outputs)


def rotated(
    reader: Reader, value: str, cos: str, sin: str, *, interleaved: bool, width: int,
    outputs: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """Return heads whose first `width` elements (all, for 0) are turned by angles.

    `cos` and `sin` have (batch or 1, rows, width / 2).
    """
    cos, sin = (reader.add("Unsqueeze", [name, reader.ints(1)]) for name in (cos, sin))

    def part(name: str, start: int, end: int, step: int = 1) -> str:
        places = [reader.ints(number) for number in (start, end, -1, step)]
        return reader.add("Slice", [name, *places])

    turning = part(value, 0, width) if width else value
    if interleaved:
        one, two = part(turning, 0, _END, 2), part(turning, 1, _END, 2)
    else:
        one, two = (reader.fresh(f"{value}:half") for _ in range(2))
        reader.add("Split", [turning], [one, two], axis=-1, num_outputs=2)

    def turn(a: str, b: str, op: str) -> str:
        return reader.add(op, [reader.add("Mul", [one, a]), reader.add("Mul", [two, b])])

    real, imaginary = turn(cos, sin, "Sub"), turn(sin, cos, "Add")
    last = outputs if not width else None
    if interleaved:
        pair = [reader.add("Unsqueeze", [x, reader.ints(-1)]) for x in (real, imaginary)]
        both = reader.add("Concat", pair, axis=-1)
        found = reader.add("Reshape", [both, reader.ints([0, 0, 0, -1])], last)
    else:
        found = reader.add("Concat", [real, imaginary], last, axis=-1)
    if not width:
        return found
    return reader.add("Concat", [found, part(value, width, _END)], outputs, axis=-1)
