"""What ONNX Runtime's optimizer makes of several nodes: read as what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps
from qcore.frameworks.onnx.ops.attending import along, size_of
from qcore.frameworks.onnx.ops.normalization import write_rms

__all__ = ["OPS"]

_INT32 = 6
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


# normalizations ------------------------------------------------------------------------------
def _normalize(
    node: SourceNode, reader: Reader, x: str, parts: Sequence[str], epsilon: float
) -> None:
    """Normalize the last axis; the gain alone makes it a root mean square."""
    simple = "Simplified" in node.op
    op = "RMSNormalization" if simple else "LayerNormalization"
    axis = int(node.get("axis", -1))
    epsilon = float(node.get("epsilon", epsilon))
    reader.add(op, [x, *parts], node.outputs[:1], axis=axis, epsilon=epsilon)


def _simplified(node: SourceNode, reader: Reader) -> None:
    if any(node.outputs[1:]):
        reader.miss(f"{node.op} in training", node.name)
    _normalize(node, reader, node.inputs[0], node.inputs[1:2], 1e-5)


def _skip(node: SourceNode, reader: Reader) -> None:
    """Read the normalization of a sum: inputs, gain, shift (where it has one), bias of the sum."""
    if any(node.outputs[1:3]):
        reader.miss(f"{node.op} in training", node.name)
    simple = "Simplified" in node.op
    bias = node.input(3 if simple else 4)
    total = [node.outputs[3]] if len(node.outputs) > 3 and node.outputs[3] else None
    x = reader.add("Add", node.inputs[:2], None if bias else total)
    if bias:
        x = reader.add("Add", [x, bias], total)
    _normalize(node, reader, x, [node.inputs[2], "" if simple else node.input(3)], 1e-12)


def _embed(node: SourceNode, reader: Reader) -> None:
    """Read the embeddings of tokens, places and segments, added up and normalized."""
    tokens, segments, words, places, kinds, gain, shift, mask, ids = (
        node.input(at) for at in range(9)
    )
    if not all((words, places, gain)):
        raise ValueError(f"node {node.name!r} (EmbedLayerNormalization) has no embeddings or gain")
    if bool(segments) != bool(kinds):
        raise ValueError(f"node {node.name!r} (EmbedLayerNormalization) has half of its segments")
    total = reader.add("Gather", [words, tokens], axis=0)
    if not ids:
        ids = along(reader, size_of(reader, tokens, 1))
    last = list(node.outputs[2:3]) if any(node.outputs[2:3]) else None
    placed = reader.add("Gather", [places, ids], axis=0)
    total = reader.add("Add", [total, placed], None if segments else last)
    if segments:
        total = reader.add("Add", [total, reader.add("Gather", [kinds, segments], axis=0)], last)
    _normalize(node, reader, total, [gain, shift], 1e-12)
    if any(node.outputs[1:2]):
        # Without a mask they are 0 there, and nobody reads them.
        counted = mask or reader.add("Sub", [tokens, tokens])
        counts = reader.add("ReduceSum", [counted, reader.ints(1)], keepdims=0)
        reader.add("Cast", [counts], node.outputs[1:2], to=_INT32)


# functions -----------------------------------------------------------------------------------
def _gelu(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    if node.input(1):
        x = reader.add("Add", node.inputs[:2])
    how = "tanh" if node.op.endswith("FastGelu") else "none"
    reader.add("Gelu", [x], node.outputs, approximate=how)


def _quick_gelu(node: SourceNode, reader: Reader) -> None:
    x, alpha = node.inputs[0], reader.constant(np.float32(node.get("alpha", 1.702)))
    gate = reader.add("Sigmoid", [reader.add("Mul", [x, alpha])])
    reader.add("Mul", [x, gate], node.outputs)


# products ------------------------------------------------------------------------------------
def _transposed(node: SourceNode, reader: Reader, name: str) -> str:
    """Return a value with its last two axes exchanged."""
    rank = reader.rank(name)
    if rank is None:
        reader.miss(f"{node.op} of a transposed value of unknown dims", node.name)
        return name
    if rank < 2:
        return name
    return reader.add("Transpose", [name], perm=(*range(rank - 2), rank - 1, rank - 2))


def _matmul(node: SourceNode, reader: Reader) -> None:
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        reader.miss(f"{node.op} of batches in the middle", node.name)
        return
    inputs = [
        _transposed(node, reader, name) if node.get(flag, 0) else name
        for name, flag in zip(node.inputs, ("transA", "transB"), strict=True)
    ]
    alpha = float(node.get("alpha", 1.0))
    if alpha == 1:
        reader.add("MatMul", inputs, node.outputs)
        return
    product = reader.add("MatMul", inputs)
    reader.add("Mul", [product, reader.constant(np.float32(alpha))], node.outputs)


#: The activations of fused products, and what their parameters are called.
_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Clip": (), "HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",), "Relu": (),
    "Sigmoid": (), "Tanh": (),
}  # fmt: skip


def _activated(
    node: SourceNode, reader: Reader, value: str, name: str, parameters: Sequence[float]
) -> None:
    if name not in _ACTIVATIONS:
        reader.miss(f"{node.op} with the activation {name}", node.name)
        return
    wanted = _ACTIVATIONS[name]
    if name == "Clip":
        limits = [reader.constant(np.float32(limit)) for limit in parameters[:2]]
        reader.add("Clip", [value, *limits], node.outputs)
        return
    given: dict[str, Any] = dict(zip(wanted, map(float, parameters), strict=False))
    if name == "HardSigmoid":
        given = {"alpha": 0.2, "beta": 0.5} | given
    reader.add(name, [value], node.outputs, **given)


def _conv(node: SourceNode, reader: Reader) -> None:
    """Read a convolution with a bias, a residual and an activation."""
    kept = {name: node.get(name) for name in _CONV}
    value = reader.add("Conv", node.inputs[:3], **kept)
    if node.input(3):
        value = reader.add("Add", [value, node.input(3)])
    name = node.get("activation", "")
    if name:
        _activated(node, reader, value, name, node.get("activation_params", ()))
    else:
        reader.add("Identity", [value], node.outputs)


def _gemm(node: SourceNode, reader: Reader) -> None:
    kept = {name: node.get(name) for name in ("alpha", "beta", "transA", "transB")}
    value = reader.add("Gemm", node.inputs, **kept)
    name = node.get("activation", "")
    if name:
        found = [node.get(f"activation_{part}") for part in ("alpha", "beta")]
        _activated(node, reader, value, name, [part for part in found if part is not None])
    else:
        reader.add("Identity", [value], node.outputs)


_OF = "com.microsoft::"
_PRODUCT = ("alpha", "transA", "transB", "transBatchA", "transBatchB")

OPS: dict[str, Op] = {
    "SimplifiedLayerNormalization": Op(
        _simplified, write_rms, (2, 2), 2, frozenset({"axis", "epsilon", "stash_type"})
    ),
    f"{_OF}BiasGelu": as_steps(_gelu, (2, 2), 1),
    f"{_OF}EmbedLayerNormalization": as_steps(_embed, (1, 9), 3, "epsilon", "mask_index_type"),
    f"{_OF}FastGelu": as_steps(_gelu, (1, 2), 1),
    f"{_OF}FusedConv": as_steps(_conv, (2, 4), 1, *_CONV, "activation", "activation_params"),
    f"{_OF}FusedGemm": as_steps(
        _gemm, (2, 3), 1, "activation", "activation_alpha", "activation_beta", "alpha", "beta",
        "transA", "transB",
    ),
    f"{_OF}FusedMatMul": as_steps(_matmul, (2, 2), 1, *_PRODUCT),
    f"{_OF}Gelu": as_steps(_gelu, (1, 1), 1),
    f"{_OF}QuickGelu": as_steps(_quick_gelu, (1, 1), 1, "alpha"),
    f"{_OF}SkipLayerNormalization": as_steps(_skip, (3, 5), 4, "epsilon"),
    f"{_OF}SkipSimplifiedLayerNormalization": as_steps(_skip, (3, 4), 4, "epsilon"),
    f"{_OF}TransposeMatMul": as_steps(_matmul, (2, 2), 1, *_PRODUCT),
}  # fmt: skip
