"""What a weight of a graph is multiplied with: the rows that its matrix (out, in) takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.attention import attentions
from qcore.graph.slots import WeightSlot

__all__ = ["has_rows", "kept_tokens", "rows_of", "without_padding"]

Floats = NDArray[np.float32]
Kept = NDArray[np.bool_]

#: Rows that are taken of one batch: the patches of an image are many, and alike.
MOST_ROWS = 1 << 12

#: A token to whose scores this or less is added is hidden, as in the graph's own steps.
HIDDEN = -1e4


def has_rows(slot: WeightSlot) -> bool:
    """Whether all outputs of a weight read the same rows, and these are an input of its node."""
    op, node = slot.node.op, slot.node
    if op == "Conv":
        return int(node.get("group", 1)) == 1
    if op in ("LSTM", "GRU"):
        return slot.index == 1  # the recurrent weight reads what the node itself makes
    return op in ("Gemm", "MatMul")


def kept_tokens(graph: BaseGraph, batch: Mapping[str, NDArray[Any]]) -> Kept | None:
    """Return which tokens (samples, tokens) of a batch are no padding; None without a mask.

    Where all attention of a graph has one mask over (samples, 1, 1, tokens).
    """
    steps = [node for nodes, _ in attentions(graph) for node in nodes]
    masks = {node.input(3) for node in steps if node.op == "Attention"}
    if len(masks) != 1 or "" in masks or masks & set(graph.constants):
        return None
    [name] = masks
    mask = batch[name] if name in batch else graph.run(batch, [name])[name]
    if mask.ndim != 4 or mask.shape[1:3] != (1, 1):
        return None
    kept: Kept = mask[:, 0, 0, :] > HIDDEN
    return kept


def rows_of(slot: WeightSlot, value: NDArray[Any], kept: Kept | None = None) -> Floats:
    """Return the rows (n, in) that the matrix of a slot takes of its node's input.

    Of more than `MOST_ROWS`, every so many-th one. `kept`: which tokens are no padding; nothing is
    to be fitted to what the others hold.
    """
    value = np.asarray(value, np.float32)
    if slot.node.op == "Conv":
        return _patches(slot, value)
    if slot.node.op == "Gemm" and slot.node.get("transA", 0):
        value = value.T
    value = without_padding(value, kept)
    rows = value.reshape(-1, value.shape[-1])
    return rows[_chosen(len(rows))]


def without_padding(value: Floats, kept: Kept | None) -> Floats:
    """Return the rows of tokens that are no padding, where a value has a row for each token."""
    if kept is None or value.ndim != 3 or value.shape[:2] != kept.shape or not kept.any():
        return value
    rows: Floats = value[kept]
    return rows


def _chosen(count: int) -> NDArray[np.intp]:
    """Return the places of at most `MOST_ROWS` of so many rows, in even steps."""
    step = max(1, math.ceil(count / MOST_ROWS))
    return np.arange(0, count, step)


def _patches(slot: WeightSlot, value: Floats) -> Floats:
    """Return the patches of images (n, channels, ...), the channels of a tap side by side."""
    node, kernel = slot.node, slot.weight.shape[2:]
    count = len(kernel)
    strides = tuple(node.get("strides") or (1,) * count)
    dilations = tuple(node.get("dilations") or (1,) * count)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(node, value.shape[2:], spans, strides)
    padded = np.pad(value, [(0, 0), (0, 0), *pads])
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, spans, axis=tuple(range(2, 2 + count))
    )
    every = [slice(None, None, step) for step in (1, 1, *strides, *dilations)]
    windows = windows[tuple(every)]
    # (n, places, taps, channels)
    order = (0, *range(2, 2 + 2 * count), 1)
    windows = windows.transpose(order)
    places = windows.shape[: 1 + count]
    at = np.unravel_index(_chosen(math.prod(places)), places)
    return np.ascontiguousarray(windows[at]).reshape(len(at[0]), -1)


def _pads(
    node: Any, sizes: tuple[int, ...], spans: list[int], strides: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Return what is added before and after each spatial dim."""
    auto = node.get("auto_pad", "NOTSET")
    count = len(spans)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, span, stride in zip(sizes, spans, strides, strict=True):
            total = max(0, (math.ceil(size / stride) - 1) * stride + span - size)
            less, more = total // 2, total - total // 2
            pads.append((less, more) if auto == "SAME_UPPER" else (more, less))
        return pads
    if auto == "VALID":
        return [(0, 0)] * count
    given = tuple(node.get("pads") or (0,) * (2 * count))
    return list(zip(given[:count], given[count:], strict=True))
