"""Every op of ONNX that is read or written: its type, and how."""

from __future__ import annotations

from qcore.frameworks.onnx.op import Op
from qcore.frameworks.onnx.ops import (
    arithmetic,
    attention,
    composed,
    einsum,
    elementwise,
    fused,
    loops,
    normalization,
    pooling,
    products,
    quantized,
    recurrent,
    reductions,
    shapes,
    signals,
)
from qcore.frameworks.onnx.ops.runtime import attention as runtime_attention
from qcore.frameworks.onnx.ops.runtime import blocks, optimized
from qcore.frameworks.onnx.ops.runtime import integers as runtime_integers

__all__ = ["FAMILIES", "OPS", "WRITTEN"]

#: The modules whose tables it is made of.
FAMILIES = (
    arithmetic, attention, blocks, composed, einsum, elementwise, loops, normalization, pooling,
    products, quantized, recurrent, reductions, optimized, runtime_attention, runtime_integers,
    shapes, signals,
)  # fmt: skip

#: By ONNX's name.
OPS: dict[str, Op] = {name: op for family in FAMILIES for name, op in family.OPS.items()}
#: By qcore's name: what ONNX has, and what only fusing makes.
WRITTEN = {name: op.write for name, op in OPS.items()} | fused.WRITTEN
