"""Attention and rotary embeddings, which opset 23 brought."""

from __future__ import annotations

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps
from qcore.frameworks.onnx.ops.attending import (
    Scores,
    attend,
    between,
    count_of,
    merged,
    padded,
    repeated,
    rotated,
    size_of,
    split_heads,
    with_past,
)

__all__ = ["OPS"]

_HIDDEN = np.float32(-np.inf)
#: Outputs of the op beside the first.
_KEYS, _VALUES, _SCORES = 1, 2, 3


def _read(node: SourceNode, reader: Reader) -> None:
    q, k, v = node.inputs[:3]
    past = [node.input(at) for at in (4, 5)]
    if bool(past[0]) != bool(past[1]):
        raise ValueError(f"node {node.name!r} (Attention) has a past of keys or of values only")
    if node.input(6) and past[0]:
        raise ValueError(f"node {node.name!r} (Attention) has a past and lengths of its keys")
    mode = int(node.get("qk_matmul_output_mode", 0))
    if mode not in range(4):
        raise ValueError(f"node {node.name!r} (Attention) has qk_matmul_output_mode {mode}")
    rank = reader.rank(q)
    rows = rank == 3 if rank is not None else "q_num_heads" in node.attributes
    if rows:
        heads = [count_of(node, name) for name in ("q_num_heads", "kv_num_heads")]
        q, k, v = (
            split_heads(reader, name, heads[min(at, 1)]) for at, name in enumerate((q, k, v))
        )
    else:
        heads = [_heads(reader, name) for name in (q, k)]
    if 0 in heads:
        reader.miss("Attention of a number of heads that is not known", node.name)
        return
    if heads[0] % heads[1]:
        raise ValueError(
            f"node {node.name!r} (Attention) has {heads[0]} heads of queries, no multiple of "
            f"{heads[1]} of keys"
        )
    times = heads[0] // heads[1]
    outputs = [*node.outputs, "", "", ""]
    k = with_past(reader, past[0], k, outputs[_KEYS])
    v = with_past(reader, past[1], v, outputs[_VALUES])
    bias, hides = _bias(node, reader, q, k, past[0])
    scale, cap = node.get("scale"), float(node.get("softcap", 0.0))
    if cap < 0:
        raise ValueError(f"node {node.name!r} (Attention) has the softcap {cap}")
    how = Scores(None if scale is None else float(scale), cap, bias, hides)
    taps = {mode: outputs[_SCORES]} if outputs[_SCORES] else None
    k, v = (repeated(reader, name, times) for name in (k, v))
    first = list(node.outputs[:1]) if node.outputs[0] else None
    if rows:
        merged(reader, attend(reader, q, k, v, how, None, taps), first)
    else:
        attend(reader, q, k, v, how, first, taps)


def _heads(reader: Reader, name: str) -> int:
    """Return the heads of a value of four dims; 0 where they are not known."""
    value = reader.value(name)
    dims = value.shape if value is not None else None
    found = dims[1] if dims is not None and len(dims) == 4 else 0
    return found if isinstance(found, int) else 0


def _bias(node: SourceNode, reader: Reader, q: str, k: str, past: str) -> tuple[str, bool]:
    """Return what is added to scores, and whether it may hide all keys of a row."""
    mask, lengths = node.input(3), node.input(6)
    rows, keys = size_of(reader, q, 2), size_of(reader, k, 2)
    parts, hides = [], False
    if mask:
        parts.append(_mask(node, reader, mask, keys))
        hides = True
    first = size_of(reader, past, 2) if past else ""
    if lengths:
        lengths = reader.add("Cast", [lengths], to=7)
        first = reader.add("Sub", [lengths, rows])
        parts.append(padded(reader, lengths, keys))
        hides = True
    window = [int(node.get(name, -1)) for name in ("left_window_size", "right_window_size")]
    if min(window) < -1:
        raise ValueError(f"node {node.name!r} (Attention) has a window of {window}")
    left, right = (None if size < 0 else size for size in window)
    if node.get("is_causal", 0):
        right = 0 if right is None else min(right, 0)
    if left is not None or right is not None:
        parts.append(between(reader, rows, keys, first, left, right))
        hides = hides or left is not None
    bias = parts[0] if parts else ""
    for part in parts[1:]:
        bias = reader.add("Add", [bias, part])
    return bias, hides


def _mask(node: SourceNode, reader: Reader, mask: str, keys: str) -> str:
    """Return a mask as floats to be added, as wide as there are keys."""
    known = reader.value(mask)
    if known is None:
        reader.miss("Attention by a mask of a type that is not known", node.name)
        return mask
    if known.running_dtype == "bool":
        zero, hidden = reader.constant(np.float32(0)), reader.constant(_HIDDEN)
        mask = reader.add("Where", [mask, zero, hidden])
    elif known.running_dtype != "float32":
        raise ValueError(f"node {node.name!r} (Attention) has a mask of {known.dtype}")
    if not node.input(6):
        return mask
    # A mask may end where the longest sequence does.
    behind = reader.add("Sub", [keys, size_of(reader, mask, -1)])
    pads = reader.add("Concat", [reader.ints(0), reader.add("Unsqueeze", [behind, reader.ints(0)])],
                      axis=0)  # fmt: skip
    return reader.add("Pad", [mask, pads, reader.constant(_HIDDEN), reader.ints(-1)])


def _read_rotary(node: SourceNode, reader: Reader) -> None:
    x, cos, sin = node.inputs[:3]
    if node.input(3):
        cos, sin = (reader.add("Gather", [name, node.input(3)], axis=0) for name in (cos, sin))
    width = int(node.get("rotary_embedding_dim", 0))
    if width < 0 or width % 2:
        raise ValueError(f"node {node.name!r} (RotaryEmbedding) turns {width} elements")
    turned = bool(node.get("interleaved", 0))
    rank = reader.rank(x)
    if rank == 4 or (rank is None and not node.get("num_heads", 0)):
        rotated(reader, x, cos, sin, interleaved=turned, width=width, outputs=node.outputs)
        return
    heads = split_heads(reader, x, count_of(node, "num_heads"))
    found = rotated(reader, heads, cos, sin, interleaved=turned, width=width)
    merged(reader, found, node.outputs)


OPS: dict[str, Op] = {
    "Attention": as_steps(
        _read, (3, 7), 4, "is_causal", "kv_num_heads", "left_window_size", "q_num_heads",
        "qk_matmul_output_mode", "right_window_size", "scale", "softcap", "softmax_precision",
    ),
    "RotaryEmbedding": as_steps(
        _read_rotary, (3, 4), 1, "interleaved", "num_heads", "rotary_embedding_dim",
    ),
}  # fmt: skip
