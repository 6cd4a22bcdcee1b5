"""Normalizations: a batch's goes into the product before it, a written-out one is one node."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["fuse_layer_norm", "fuse_rms_norm", "split_batch_norm"]


def split_batch_norm(node: Node, editor: Editor) -> bool:
    """Rewrite a BatchNormalization as ``x * scale + shift``, which the product before it takes.

    In float64, so that scale and shift are what the constants say.
    """
    if node.op != "BatchNormalization":
        return False
    arrays = [editor.array(name) for name in node.inputs[1:5]]
    known = [np.asarray(array, np.float64) for array in arrays if array is not None]
    shape = editor.shape(node.inputs[0])
    if len(known) < 4 or shape is None or len(shape) < 2:
        return False
    gain, shift, mean, variance = known
    if not (gain.shape == shift.shape == mean.shape == variance.shape) or gain.ndim != 1:
        return False
    factor = gain / np.sqrt(variance + node.get("epsilon", 1e-5))
    offset = shift - mean * factor
    dims = (-1,) + (1,) * (len(shape) - 2)
    scale = editor.constant(f"{node.name}.scale", factor.reshape(dims))
    bias = editor.constant(f"{node.name}.shift", offset.reshape(dims))
    scaled = f"{node.outputs[0]}:scaled"
    editor.note_shape(scaled, node.inputs[0])
    return editor.replace(
        [node],
        [
            Node(f"{node.name}.scale", "Mul", (node.inputs[0], scale), (scaled,)),
            Node(node.name, "Add", (scaled, bias), node.outputs),
        ],
    )


def _mean_of(name: str, editor: Editor) -> tuple[Node, str, tuple[int, ...]] | None:
    """Return a ReduceMean that keeps dims, what it reads, and its axes."""
    node = editor.maker(name, "ReduceMean")
    if node is None or not node.get("keepdims", 1):
        return None
    axes = editor.array(node.input(1))
    if axes is None or not axes.size:
        return None
    return node, node.inputs[0], tuple(int(axis) for axis in axes)


def _last_axes(axes: tuple[int, ...], name: str, editor: Editor) -> int | None:
    """Return the first of axes that are the last ones, counted from the end; None for others."""
    shape = editor.shape(name)
    rank = None if shape is None else len(shape)
    if any(axis >= 0 for axis in axes) and rank is None:
        return None
    counted = sorted(axis if axis < 0 else axis - (rank or 0) for axis in axes)
    return counted[0] if counted == list(range(-len(counted), 0)) else None


def _square_of(name: str, editor: Editor) -> tuple[list[Node], str] | None:
    """Return what a value is the square of, and the node that squares it."""
    node = editor.inner(name, "Pow", "Mul")
    if node is None:
        return None
    if node.op == "Mul":
        return ([node], node.inputs[0]) if node.inputs[0] == node.inputs[1] else None
    return ([node], node.inputs[0]) if editor.scalar(node.inputs[1]) == 2 else None


def _root_mean_square(
    name: str, editor: Editor
) -> tuple[list[Node], str, tuple[int, ...], float] | None:
    """Return d, axes and epsilon, and the nodes, of ``sqrt(mean(d²) + epsilon)``."""
    root = editor.inner(name, "Sqrt", "Pow")
    if root is None or (root.op == "Pow" and editor.scalar(root.inputs[1]) != 0.5):
        return None
    plus = editor.inner(root.inputs[0], "Add")
    if plus is None:
        return None
    for place in (0, 1):
        epsilon = editor.scalar(plus.inputs[place])
        mean = _mean_of(plus.inputs[1 - place], editor)
        if epsilon is None or mean is None or not editor.is_inner(mean[0].outputs[0]):
            continue
        square = _square_of(mean[1], editor)
        if square is not None:
            return [root, plus, mean[0], *square[0]], square[1], mean[2], epsilon
    return None


def _normalized(
    node: Node, editor: Editor
) -> tuple[list[Node], str, tuple[int, ...], float] | None:
    """Return d, axes, epsilon and the nodes of ``d / sqrt(mean(d²) + epsilon)``."""
    if node.op == "Div":
        found = _root_mean_square(node.inputs[1], editor)
        return (
            None if found is None or found[1] != node.inputs[0] else ([node, *found[0]], *found[1:])
        )
    if node.op != "Mul":
        return None
    for place in (0, 1):
        inverse = editor.inner(node.inputs[place], "Reciprocal", "Div")
        if inverse is None or (inverse.op == "Div" and editor.scalar(inverse.inputs[0]) != 1):
            continue
        found = _root_mean_square(inverse.inputs[-1], editor)
        if found is not None and found[1] == node.inputs[1 - place]:
            return [node, inverse, *found[0]], *found[1:]
    return None


def fuse_layer_norm(node: Node, editor: Editor) -> bool:
    """Rewrite ``(x - mean) / sqrt(mean((x - mean)²) + epsilon) * gain + bias`` as one node."""
    found = _normalized(node, editor)
    if found is None:
        return False
    nodes, centred, axes, epsilon = found
    minus = editor.maker(centred, "Sub")
    mean = None if minus is None else _mean_of(minus.inputs[1], editor)
    if minus is None or mean is None or mean[1] != minus.inputs[0] or mean[2] != axes:
        return False
    x = minus.inputs[0]
    if {id(n) for n in editor.readers(centred)} - {id(n) for n in nodes}:
        return False
    if not editor.is_inner(mean[0].outputs[0]):
        return False
    return _finish(node, editor, "LayerNormalization", x, [*nodes, minus, mean[0]], axes, epsilon)


def fuse_rms_norm(node: Node, editor: Editor) -> bool:
    """Rewrite ``x / sqrt(mean(x²) + epsilon) * gain`` as one node."""
    found = _normalized(node, editor)
    if found is None:
        return False
    nodes, x, axes, epsilon = found
    return _finish(node, editor, "RMSNormalization", x, nodes, axes, epsilon)


def _finish(
    node: Node, editor: Editor, op: str, x: str, nodes: list[Node], axes: tuple[int, ...],
    epsilon: float,
) -> bool:  # fmt: skip
    """Take gain and bias behind a normalization, and put the one node there."""
    axis = _last_axes(axes, x, editor)
    shape = editor.shape(x)
    if axis is None or shape is None:
        return False
    sizes = shape[axis:]
    if not all(isinstance(size, int) for size in sizes):
        return False
    output = node.outputs[0]
    gain, output, used = _vector(output, "Mul", sizes, editor)
    nodes = [*nodes, *used]
    inputs = [x, editor.constant(f"{node.name}.gain", np.ones(sizes) if gain is None else gain)]
    if op == "LayerNormalization":
        bias, output, used = _vector(output, "Add", sizes, editor)
        nodes += used
        if bias is not None:
            inputs.append(editor.constant(f"{node.name}.bias", bias))
    new = Node(node.name, op, tuple(inputs), (output,), {"axis": axis, "epsilon": epsilon})
    return editor.replace(nodes, [new])


def _vector(
    name: str, op: str, sizes: tuple[Any, ...], editor: Editor
) -> tuple[NDArray[Any] | None, str, list[Node]]:
    """Return a constant over the last axes with which a value is combined next."""
    after = editor.only_reader(name, op)
    if after is not None:
        other = after.inputs[1] if after.inputs[0] == name else after.inputs[0]
        array = editor.array(other)
        if array is not None and array.ndim <= len(sizes):
            whole = np.broadcast_to(array, sizes) if _fits(array.shape, sizes) else None
            if whole is not None:
                return np.array(whole, np.float32), after.outputs[0], [after]
    return None, name, []


def _fits(shape: tuple[int, ...], sizes: tuple[Any, ...]) -> bool:
    tail = sizes[len(sizes) - len(shape) :]
    return all(dim in (1, size) for dim, size in zip(shape, tail, strict=True))
