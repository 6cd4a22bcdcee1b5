"""ONNX Runtime's products of integers that give floats, and its attention on integers."""

from __future__ import annotations

from typing import Any

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps
from qcore.frameworks.onnx.ops.attending import count_of, split_heads
from qcore.frameworks.onnx.ops.quantized import matmul_integer
from qcore.frameworks.onnx.ops.runtime.attention import (
    attended,
    past_of,
    whole_present,
    widths_of,
)

__all__ = ["OPS"]

_FLOAT = 1


def _product(
    reader: Reader, operands: list[str], scales: list[str], bias: str,
    outputs: Any,
) -> str:  # fmt: skip
    """Add a product of integers, times both scales, with a bias."""
    sums = matmul_integer(reader, operands)
    floats = reader.add("Cast", [sums], to=_FLOAT)
    scale = reader.add("Mul", scales)
    value = reader.add("Mul", [floats, scale], None if bias else outputs)
    return reader.add("Add", [value, bias], outputs) if bias else value


def _dynamic(node: SourceNode, reader: Reader) -> None:
    """Read a DynamicQuantizeMatMul: floats become uint8 with one scale, as they come."""
    x, b, scale, zero, bias = (node.input(at) for at in range(5))
    codes, own, own_zero = (reader.fresh(f"{x}:{part}") for part in ("codes", "scale", "zero"))
    reader.add("DynamicQuantizeLinear", [x], [codes, own, own_zero])
    _product(reader, [codes, b, own_zero, zero], [own, scale], bias, node.outputs)


def _to_float(node: SourceNode, reader: Reader) -> None:
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (node.input(at) for at in range(7))
    _product(reader, [a, b, a_zero, b_zero], [a_scale, b_scale], bias, node.outputs)


def _attention(node: SourceNode, reader: Reader) -> None:
    """Read a QAttention: queries, keys and values are made by integers, the rest by floats."""
    count = count_of(node, "num_heads")
    if node.get("do_rotary", 0) or node.get("past_present_share_buffer", 0):
        reader.miss("QAttention with a buffer or rotary embeddings", node.name)
        return
    x, weight, bias, scale, of_weight, mask, zero, weight_zero, past = (
        node.input(at) for at in range(9)
    )
    widths = widths_of(node, reader, weight)
    if widths is None:
        return
    rows = _product(reader, [x, weight, zero, weight_zero], [scale, of_weight], bias, None)
    parts = [reader.fresh(f"{rows}:{letter}") for letter in "qkv"]
    reader.add("Split", [rows, reader.ints(widths)], parts, axis=2)
    heads = [split_heads(reader, part, count) for part in parts]
    present = ["", ""]
    if any(node.outputs[1:2]):
        present = [reader.fresh(f"{node.outputs[1]}:part") for _ in range(2)]
    attended(node, reader, heads, past_of(reader, past), present, mask, "")
    if any(node.outputs[1:2]):
        whole_present(reader, present, node.outputs[1:2])


_OF = "com.microsoft::"

OPS: dict[str, Op] = {
    f"{_OF}DynamicQuantizeMatMul": as_steps(_dynamic, (3, 5)),
    f"{_OF}MatMulIntegerToFloat": as_steps(_to_float, (4, 7)),
    f"{_OF}QAttention": as_steps(
        _attention, (5, 9), 2, "do_rotary", "mask_filter_value", "num_heads",
        "past_present_share_buffer", "rotary_embedding_dim", "scale", "unidirectional",
    ),
}  # fmt: skip
