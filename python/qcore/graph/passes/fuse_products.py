"""What goes into a product: scalings and shifts, padding, a residual, an activation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.activations import ACTIVATIONS
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = [
    "fuse_activation",
    "fuse_pad",
    "fuse_residual",
    "fuse_scale",
    "fuse_shift",
    "mean_to_pool",
]

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_SCALABLE = (*_PRODUCTS, "ConvTranspose")
# Which function a node behind a product is; its attributes say which of a kind.
_FUNCTIONS = {
    one.onnx: name for name, one in ACTIVATIONS.items()
    if one.onnx not in ("", "Softmax") and name not in ("gelu_tanh", "relu6")
}  # fmt: skip


def _plain(node: Node) -> bool:
    """Whether a product is one alone, with nothing fused into it behind its bias."""
    return not node.input(3) and node.get("activation", "linear") == "linear"


def _channels(node: Node, editor: Editor) -> int | None:
    weight: Any = editor.constants.get(node.input(1))
    if isinstance(weight, np.ndarray) and weight.dtype != np.float32:
        return None
    if not isinstance(weight, (np.ndarray, QTensor)):
        return None
    if node.op == "Conv":
        return int(weight.shape[0])
    if node.op == "ConvTranspose":
        return int(weight.shape[1]) if node.get("group", 1) == 1 and weight.ndim > 2 else None
    if weight.ndim != 2:
        return None
    return int(weight.shape[0] if node.get("transB", 0) else weight.shape[1])


def _per_channel(
    array: NDArray[Any] | None, node: Node, channels: int, editor: Editor
) -> NDArray[np.float64] | None:
    """Return a constant as one number for each output of a product; None if it is not."""
    if array is None or array.dtype.kind != "f":
        return None
    if array.size == 1:
        return np.full(channels, float(array.reshape(())))
    shape = editor.shape(node.outputs[0])
    spatial = len(shape) - 2 if shape is not None and node.op.startswith("Conv") else 0
    if node.op.startswith("Conv") and (shape is None or len(shape) < 3):
        return None
    trailing = array.shape[array.ndim - spatial :] if spatial else ()
    if array.ndim < 1 + spatial or any(dim != 1 for dim in trailing):
        return None
    leading = array.shape[: array.ndim - spatial]
    if leading[-1] != channels or any(dim != 1 for dim in leading[:-1]) or len(leading) > 2:
        return None
    return np.asarray(array, np.float64).reshape(channels)


def _behind(node: Node, editor: Editor) -> tuple[Node, str] | None:
    """Return the product whose output a node of two inputs reads, and the other input."""
    if len(node.inputs) != 2:
        return None
    for place in (0, 1):
        product = editor.inner(node.inputs[place], *_SCALABLE)
        if product is not None and _plain(product):
            return product, node.inputs[1 - place]
    return None


def fuse_scale(node: Node, editor: Editor) -> bool:
    """Multiply a product's weights and bias by the constants behind it."""
    if node.op not in ("Mul", "Div"):
        return False
    found = _behind(node, editor)
    if found is None or (node.op == "Div" and node.inputs[1] != found[1]):
        return False
    product, other = found
    channels = _channels(product, editor)
    factor = None
    if channels is not None:
        factor = _per_channel(editor.array(other), product, channels, editor)
    weight, bias = editor.array(product.input(1)), editor.array(product.input(2))
    if factor is None or weight is None or (product.input(2) and bias is None):
        return False
    factor = 1.0 / factor if node.op == "Div" else factor
    if not np.isfinite(factor).all():
        return False
    dims = [1] * weight.ndim
    first = product.op == "Conv" or (product.op == "Gemm" and product.get("transB", 0))
    dims[0 if first else 1] = -1
    scaled = weight.astype(np.float64) * factor.reshape(dims)
    inputs = [product.inputs[0], _weight(product.inputs[1], scaled, editor)]
    if bias is not None:
        moved = bias.astype(np.float64) * factor
        inputs.append(editor.constant(f"{product.name}.bias", moved.astype(np.float32)))
    new = product.changed(inputs=tuple(inputs), outputs=node.outputs)
    return editor.replace([product, node], [new])


def _weight(name: str, array: NDArray[Any], editor: Editor) -> str:
    """Put a changed weight in the place of the old one, under its name if nothing else reads it."""
    changed = array.astype(np.float32)
    if editor.is_inner(name):
        editor.constants[name] = changed
        return name
    return editor.constant(name, changed)


def fuse_shift(node: Node, editor: Editor) -> bool:
    """Take the constants that are added to a product into its bias."""
    if node.op not in ("Add", "Sub"):
        return False
    found = _behind(node, editor)
    if found is None or (node.op == "Sub" and node.inputs[1] != found[1]):
        return False
    product, other = found
    channels = _channels(product, editor)
    if channels is None:
        return False
    shift = _per_channel(editor.array(other), product, channels, editor)
    name = product.input(2)
    bias = editor.array(name) if name else np.zeros(channels, np.float32)
    if shift is None or bias is None or bias.size not in (1, channels):
        return False
    if product.op == "Gemm" and product.get("beta", 1.0) != 1.0:
        return False
    total = bias.astype(np.float64).reshape(-1) + (shift if node.op == "Add" else -shift)
    moved = editor.constant(f"{product.name}.bias", total.astype(np.float32))
    inputs = (*product.inputs[:2], moved)
    return editor.replace([product, node], [product.changed(inputs=inputs, outputs=node.outputs)])


def fuse_residual(node: Node, editor: Editor) -> bool:
    """Add a value of the same shape in a product's epilogue."""
    if node.op != "Add" or node.inputs[0] == node.inputs[1]:
        return False
    for place in (1, 0):
        product = editor.inner(node.inputs[place], *_PRODUCTS)
        other = node.inputs[1 - place]
        if product is None or not _plain(product) or _channels(product, editor) is None:
            continue
        if other in editor.constants or not editor.same_shape(product.outputs[0], other):
            continue
        inputs = (*product.inputs[:2], product.input(2), other)
        new = product.changed(inputs=inputs, outputs=node.outputs)
        return editor.replace([product, node], [new])
    return False


def fuse_activation(node: Node, editor: Editor) -> bool:
    """Apply a function in the epilogue of the product before it."""
    if node.op not in _FUNCTIONS:
        return False
    product = editor.inner(node.inputs[0], *_PRODUCTS)
    if product is None or product.get("activation", "linear") != "linear":
        return False
    if _channels(product, editor) is None:
        return False
    found = _activation(node, editor)
    if found is None:
        return False
    attributes = {**product.attributes, **found}
    new = product.changed(attributes=attributes, outputs=node.outputs)
    return editor.replace([product, node], [new])


def _activation(node: Node, editor: Editor) -> dict[str, Any] | None:
    name = _FUNCTIONS[node.op]
    if node.op == "Clip":
        limits = {}
        for key, index in (("activation_min", 1), ("activation_max", 2)):
            if node.input(index):
                limit = editor.scalar(node.input(index))
                if limit is None:
                    return None
                limits[key] = limit
        return {"activation": "clip", **limits}
    if node.op == "Gelu":
        return {"activation": "gelu_tanh" if node.get("approximate") == "tanh" else "gelu"}
    if node.op == "HardSigmoid":
        parameters = {"activation_alpha": node.get("alpha", 0.2)}
        return {"activation": name, **parameters, "activation_beta": node.get("beta", 0.5)}
    if node.op in ("LeakyRelu", "Elu"):
        default = 0.01 if node.op == "LeakyRelu" else 1.0
        return {"activation": name, "activation_alpha": node.get("alpha", default)}
    return {"activation": name}


def fuse_pad(node: Node, editor: Editor) -> bool:
    """Let a convolution pad with the zeros that a Pad puts around its input."""
    if node.op != "Conv" or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", ""):
        return False
    pad = editor.inner(node.inputs[0], "Pad")
    if pad is None or pad.get("mode", "constant") != "constant" or pad.input(3):
        return False
    sizes = editor.array(pad.input(1))
    value = 0.0 if not pad.input(2) else editor.scalar(pad.input(2))
    if sizes is None or value != 0.0:
        return False
    rank = sizes.size // 2
    begins, ends = sizes[:rank], sizes[rank:]
    if rank < 3 or begins[:2].any() or ends[:2].any() or (sizes < 0).any():
        return False
    inner = np.asarray(node.get("pads", (0,) * 2 * (rank - 2)))
    if inner.size != 2 * (rank - 2) or node.get("auto_pad") == "VALID":
        inner = np.zeros(2 * (rank - 2), np.int64)
    total = tuple(int(n) for n in inner + np.concatenate([begins[2:], ends[2:]]))
    attributes = {key: v for key, v in node.attributes.items() if key != "auto_pad"}
    new = node.changed(
        inputs=(pad.inputs[0], *node.inputs[1:]), attributes={**attributes, "pads": total}
    )
    return editor.replace([pad, node], [new])


def mean_to_pool(node: Node, editor: Editor) -> bool:
    """Rewrite the mean over all places of an image as a GlobalAveragePool."""
    if node.op != "ReduceMean" or not node.get("keepdims", 1):
        return False
    axes, shape = editor.array(node.input(1)), editor.shape(node.inputs[0])
    if axes is None or shape is None or len(shape) < 3:
        return False
    if sorted(int(axis) % len(shape) for axis in axes) != list(range(2, len(shape))):
        return False
    new = node.changed(op="GlobalAveragePool", inputs=node.inputs[:1], attributes={})
    return editor.replace([node], [new])
