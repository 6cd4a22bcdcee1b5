"""Attention and rotary embeddings as ONNX Runtime's optimizer and its exporters leave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps
from qcore.frameworks.onnx.ops.attending import (
    Scores,
    along,
    attend,
    between,
    count_of,
    merged,
    repeated,
    rotated,
    size_of,
    split_heads,
    with_past,
)

__all__ = ["OPS", "attended"]

_FLOAT, _INT64 = 1, 7
#: What is added to the scores of hidden keys.
_FILTER = -10000.0


# masks ---------------------------------------------------------------------------------------
def _hidden(node: SourceNode, reader: Reader, mask: str, keys: str) -> str:
    """Return what a mask of ones, or lengths, adds to scores."""
    rank = reader.rank(mask)
    if rank not in (1, 2, 3):
        what = "unknown dims" if rank is None else f"{rank} dims"
        reader.miss(f"{node.op} by a mask of {what}", node.name)
        return mask
    filtered = reader.constant(np.float32(node.get("mask_filter_value", _FILTER)))
    one = reader.constant(np.float32(1))
    if rank == 1:
        counts = reader.add("Cast", [mask], to=_INT64)
        counts = reader.add("Unsqueeze", [counts, reader.ints([1, 2, 3])])
        seen = reader.add("Less", [along(reader, keys), counts])
        return reader.add("Where", [seen, reader.constant(np.float32(0)), filtered])
    mask = reader.add("Unsqueeze", [mask, reader.ints([1, 2] if rank == 2 else 1)])
    mask = reader.add("Cast", [mask], to=_FLOAT)
    return reader.add("Mul", [reader.add("Sub", [one, mask]), filtered])


def attended(
    node: SourceNode, reader: Reader, heads: Sequence[str], past: Sequence[str],
    present: Sequence[str], mask: str, bias: str,
) -> str:  # fmt: skip
    """Return the rows that queries attend to.

    Parameters
    ----------
    heads, past : sequence of str
        Queries, keys and values; keys and values of the past: (batch, heads, rows, size).
    present : sequence of str
        Names for the keys and values behind those of the past; "" where nobody wants them.
    mask, bias : str
        Which keys are there, and what is added to scores; "" for none.
    """
    q, k, v = heads
    k, v = (
        with_past(reader, old, new, name)
        for old, new, name in zip(past, (k, v), present, strict=True)
    )
    rows, keys = size_of(reader, q, 2), size_of(reader, k, 2)
    parts = [bias] if bias else []
    if mask:
        parts.insert(0, _hidden(node, reader, mask, keys))
    if node.get("unidirectional", 0):
        first = size_of(reader, past[0], 2) if past[0] else ""
        parts.append(between(reader, rows, keys, first, None, 0))
    added = parts[0] if parts else ""
    for part in parts[1:]:
        added = reader.add("Add", [added, part])
    # A factor of 0 is how some say that there is none.
    scale = float(node.get("scale", 0.0)) or None
    how = Scores(scale, float(node.get("softcap", 0.0)), added)
    return merged(reader, attend(reader, q, k, v, how), node.outputs[:1])


# ONNX Runtime's ops --------------------------------------------------------------------------
def _multi_head(node: SourceNode, reader: Reader) -> None:
    """Read a MultiHeadAttention, whose queries, keys and values come apart or packed."""
    count = count_of(node, "num_heads")
    bias = node.input(3)
    if any(node.input(at) for at in (8, 9)) or any(node.outputs[3:]):
        reader.miss("MultiHeadAttention with a buffer or scores", node.name)
        return
    if not node.input(1):
        found = _unpacked(reader, node.inputs[0], 3)
    elif not node.input(2):
        found = [node.inputs[0], *_unpacked(reader, node.inputs[1], 2)]
    else:
        found = list(node.inputs[:3])
    whole = [name for name in found if _apart(reader, name)]
    if bias:
        if whole and len(whole) != 2:
            reader.miss("MultiHeadAttention of packed rows with a bias", node.name)
            return
        found = _biased(node, reader, found, bias, 1 if whole else 3)
    heads = [name if name in whole else split_heads(reader, name, count) for name in found]
    past = [node.input(6), node.input(7)]
    present = [*node.outputs, "", ""][1:3]
    attended(node, reader, heads, past, present, node.input(4), node.input(5))


def _apart(reader: Reader, name: str) -> bool:
    return reader.rank(name) == 4


def _unpacked(reader: Reader, packed: str, count: int) -> list[str]:
    """Return what lies along the fourth of five dims, as heads."""
    parts = [reader.fresh(f"{packed}:part") for _ in range(count)]
    reader.add("Split", [packed], parts, axis=3, num_outputs=count)
    flat = [reader.add("Squeeze", [part, reader.ints(3)]) for part in parts]
    return [reader.add("Transpose", [part], perm=(0, 2, 1, 3)) for part in flat]


def _biased(
    node: SourceNode, reader: Reader, rows: Sequence[str], bias: str, count: int
) -> list[str]:
    """Return rows with their parts of one bias; of the first `count`."""
    widths = []
    for name in rows:
        value = reader.value(name)
        width = value.shape[-1] if value is not None and value.shape else None
        widths.append(width)
    if count == 1 or any(not isinstance(width, int) for width in widths):
        total = _width(reader, bias)
        if total is None or total % 3:
            reader.miss(f"{node.op} of rows whose widths are not known", node.name)
            return list(rows)
        widths = [total // 3] * 3
    parts = _parts(reader, bias, widths, 0)
    found = [reader.add("Add", [name, part]) for name, part in zip(rows, parts, strict=True)]
    return [*found[:count], *rows[count:]]


def _width(reader: Reader, name: str) -> int | None:
    value = reader.value(name)
    width = value.shape[-1] if value is not None and value.shape else None
    return width if isinstance(width, int) else None


def _parts(reader: Reader, name: str, widths: Sequence[Any], axis: int) -> list[str]:
    """Return the parts of a value along an axis; of a constant, as constants."""
    whole: Any = reader.constant_value(name)
    if isinstance(whole, np.ndarray) and whole.shape[axis] == sum(widths):
        places = np.cumsum(widths)[:-1]
        made = []
        for letter, part in zip("qkv", np.split(whole, places, axis=axis), strict=True):
            made.append(reader.fresh(f"{name}:{letter}"))
            reader.constants[made[-1]] = np.ascontiguousarray(part)
        return made
    made = [reader.fresh(f"{name}:{letter}") for letter in "qkv"]
    reader.add("Split", [name, reader.ints(widths)], made, axis=axis)
    return made


def widths_of(node: SourceNode, reader: Reader, weight: str) -> list[int] | None:
    """Return how wide queries, keys and values are that one matrix makes."""
    total = _width(reader, weight)
    widths = [int(width) for width in node.get("qkv_hidden_sizes", ())]
    if not widths and total is not None and total % 3 == 0:
        widths = [total // 3] * 3
    if len(widths) != 3 or min(widths) < 1 or total not in (None, sum(widths)):
        if total is None and not widths:
            reader.miss(f"{node.op} by weights of unknown dims", node.name)
            return None
        raise ValueError(f"node {node.name!r} ({node.op}) has weights {total} wide for {widths}")
    return widths


def past_of(reader: Reader, past: str) -> list[str]:
    """Return keys and values that lie in one value (2, batch, heads, rows, size)."""
    if not past:
        return ["", ""]
    parts = [reader.fresh(f"{past}:part") for _ in range(2)]
    reader.add("Split", [past], parts, axis=0, num_outputs=2)
    return [reader.add("Squeeze", [part, reader.ints(0)]) for part in parts]


def whole_present(reader: Reader, parts: Sequence[str], outputs: Sequence[str]) -> None:
    """Make one value of keys and values."""
    apart = [reader.add("Unsqueeze", [part, reader.ints(0)]) for part in parts]
    reader.add("Concat", apart, outputs, axis=0)


def _attention(node: SourceNode, reader: Reader) -> None:
    """Read an Attention, which makes queries, keys and values itself by one matrix."""
    count = count_of(node, "num_heads")
    if node.get("do_rotary", 0) or node.get("past_present_share_buffer", 0) or node.input(6):
        reader.miss("Attention with a buffer or rotary embeddings", node.name)
        return
    widths = widths_of(node, reader, node.inputs[1])
    if widths is None:
        return
    weights = _parts(reader, node.inputs[1], widths, 1)
    rows = [reader.add("MatMul", [node.inputs[0], weight]) for weight in weights]
    if node.input(2):
        parts = _parts(reader, node.input(2), widths, 0)
        rows = [reader.add("Add", pair) for pair in zip(rows, parts, strict=True)]
    heads = [split_heads(reader, name, count) for name in rows]
    present = ["", ""]
    if any(node.outputs[1:2]):
        present = [reader.fresh(f"{node.outputs[1]}:part") for _ in range(2)]
    past = past_of(reader, node.input(4))
    attended(node, reader, heads, past, present, node.input(3), node.input(5))
    if any(node.outputs[1:2]):
        whole_present(reader, present, node.outputs[1:2])


def _grouped(node: SourceNode, reader: Reader) -> None:
    """Read a GroupQueryAttention: causal, with a past, and rotary embeddings inside.

    The past is as long as its rows; a buffer that is longer grows.
    """
    count, of_keys = count_of(node, "num_heads"), count_of(node, "kv_num_heads")
    if not node.input(5) or bool(node.input(1)) != bool(node.input(2)):
        raise ValueError(f"node {node.name!r} ({node.op}) has no keys, no values or no lengths")
    if node.get("do_rotary", 0) and not (node.input(7) and node.input(8)):
        raise ValueError(f"node {node.name!r} ({node.op}) has no angles")
    if count % of_keys:
        raise ValueError(f"node {node.name!r} has {count} heads for {of_keys} of keys")
    if node.get("smooth_softmax", 0) or any(node.input(at) for at in range(11, len(node.inputs))):
        reader.miss("GroupQueryAttention with a sink or coded keys", node.name)
        return
    if any(node.outputs[3:]):
        reader.miss("GroupQueryAttention's scores", node.name)
        return
    rows = list(node.inputs[:3])
    if not node.input(1):
        width = _width(reader, rows[0])
        if width is None or width % (count + 2 * of_keys):
            reader.miss("GroupQueryAttention of packed rows of unknown dims", node.name)
            return
        size = width // (count + 2 * of_keys)
        rows = _parts(reader, rows[0], [count * size, of_keys * size, of_keys * size], 2)
    q, k, v = (
        split_heads(reader, name, count if at == 0 else of_keys) for at, name in enumerate(rows)
    )
    length = size_of(reader, q, 2)
    lengths = reader.add("Cast", [node.inputs[5]], to=_INT64)
    lengths = reader.add("Reshape", [lengths, reader.ints(-1)])
    one, zero = reader.constant(np.int64(1)), reader.constant(np.int64(0))
    first = reader.add("Sub", [reader.add("Add", [lengths, one]), length])
    first = reader.add("Max", [first, zero])
    if node.get("do_rotary", 0):
        places = node.input(9)
        if not places:
            across = reader.add("Unsqueeze", [first, reader.ints(1)])
            places = reader.add("Add", [across, along(reader, length)])
        cos, sin = (reader.add("Gather", [node.input(at), places], axis=0) for at in (7, 8))
        turned = bool(node.get("rotary_interleaved", 0))
        width = _turned(reader, node.input(7), q)
        q, k = (rotated(reader, x, cos, sin, interleaved=turned, width=width) for x in (q, k))
    present = [*node.outputs, "", ""][1:3]
    k, v = (
        _kept(reader, old, new, name, first)
        for old, new, name in zip(node.inputs[3:5], (k, v), present, strict=True)
    )
    keys = size_of(reader, k, 2)
    window = int(node.get("local_window_size", -1))  # keys that a row sees, its own among them
    if window == 0 or window < -1:
        raise ValueError(f"node {node.name!r} ({node.op}) has the window {window}")
    bias = between(reader, length, keys, first, None if window < 0 else window - 1, 0)
    if node.input(10):
        bias = reader.add("Add", [bias, node.input(10)])
    k, v = (repeated(reader, name, count // of_keys) for name in (k, v))
    scale = float(node.get("scale", 0.0)) or None
    how = Scores(scale, float(node.get("softcap", 0.0)), bias)
    merged(reader, attend(reader, q, k, v, how), node.outputs[:1])


def _turned(reader: Reader, cos: str, heads: str) -> int:
    """Return how many elements of a head are turned; 0 for all."""
    half, value = _width(reader, cos), reader.value(heads)
    size = value.shape[-1] if value is not None and value.shape else None
    return 0 if half is None or size == 2 * half else 2 * half


def _kept(reader: Reader, past: str, new: str, output: str, first: str) -> str:
    """Return keys or values behind those of the past, of which each sequence has so many."""
    batch = reader.value(past) if past else None
    alone = batch is not None and batch.shape is not None and batch.shape[0] == 1
    if not past or alone:
        return with_past(reader, past, new, output)
    both = reader.add("Concat", [past, new], axis=2)
    length, total = size_of(reader, past, 2), size_of(reader, both, 2)
    columns = along(reader, total)
    first = reader.add("Unsqueeze", [first, reader.ints([1, 2, 3])])
    columns = reader.add("Unsqueeze", [columns, reader.ints([0, 1, 3])])
    behind = reader.add("Add", [reader.add("Sub", [columns, first]), length])
    places = reader.add("Where", [reader.add("Less", [columns, first]), columns, behind])
    last = reader.add("Sub", [total, reader.constant(np.int64(1))])
    places = reader.add("Min", [places, last])
    places = reader.add("Expand", [places, reader.add("Shape", [both])])
    return reader.add("GatherElements", [both, places], [output] if output else None, axis=2)


def _rotary(node: SourceNode, reader: Reader) -> None:
    """Read a RotaryEmbedding, whose places are those of the rows or one for the first of them."""
    x, places, cos, sin = node.inputs
    if node.get("is_packed_batching", 0) or float(node.get("scale", 1.0)) != 1:
        reader.miss("RotaryEmbedding packed or scaled", node.name)
        return
    half, count, width = (
        _width(reader, cos), int(node.get("num_heads", 0)), int(node.get("rotary_embedding_dim", 0))
    )  # fmt: skip
    rank = reader.rank(x)
    if rank not in (3, 4) or count < 0 or width < 0 or width % 2:
        reader.miss("RotaryEmbedding of a value of unknown dims", node.name)
        return
    heads = x
    if rank == 3:
        wide = _width(reader, x)
        if not count and wide is not None and half:
            count = wide // (2 * half)
        if count < 1:
            reader.miss("RotaryEmbedding of a number of heads that is not known", node.name)
            return
        heads = split_heads(reader, x, count)
    if reader.rank(places) == 1:
        places = reader.add("Add", [places, along(reader, size_of(reader, heads, 2))])
        places = reader.add("Unsqueeze", [places, reader.ints(0)])
    cos, sin = (reader.add("Gather", [name, places], axis=0) for name in (cos, sin))
    turned = bool(node.get("interleaved", 0))
    last = None if rank == 3 else node.outputs
    found = rotated(reader, heads, cos, sin, interleaved=turned, width=width, outputs=last)
    if rank == 3:
        merged(reader, found, node.outputs)


_OF = "com.microsoft::"

OPS: dict[str, Op] = {
    f"{_OF}Attention": as_steps(
        _attention, (2, 7), 2, "do_rotary", "mask_filter_value", "num_heads",
        "past_present_share_buffer", "qkv_hidden_sizes", "rotary_embedding_dim", "scale",
        "unidirectional",
    ),
    f"{_OF}GroupQueryAttention": as_steps(
        _grouped, (1, 14), 4, "do_rotary", "k_quant_type", "kv_cache_bit_width", "kv_num_heads",
        "local_window_size", "num_heads", "qk_output", "rotary_interleaved", "scale",
        "smooth_softmax", "softcap", "v_quant_type",
    ),
    f"{_OF}MultiHeadAttention": as_steps(
        _multi_head, (1, 10), 4, "mask_filter_value", "num_heads", "scale", "unidirectional"
    ),
    f"{_OF}RotaryEmbedding": as_steps(
        _rotary, (4, 4), 1, "interleaved", "is_packed_batching", "num_heads",
        "rotary_embedding_dim", "scale",
    ),
}  # fmt: skip
