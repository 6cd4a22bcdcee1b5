"""Several values in, one out, element by element, with broadcasting."""

from __future__ import annotations

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, same, write_plain

__all__ = ["OPS"]


def _read_cast(node: SourceNode, reader: Reader) -> None:
    reader.add("Cast", node.inputs, node.outputs, to=reader.dtype(int(node.get("to", 1)), node))


def _read_cast_like(node: SourceNode, reader: Reader) -> None:
    reader.add("CastLike", node.inputs, node.outputs)


def _read_many(node: SourceNode, reader: Reader) -> None:
    """Max, Min, Sum and Mean of any number of values as steps of two."""
    step = {"Sum": "Add", "Mean": "Add"}.get(node.op, node.op)
    names = list(node.inputs)
    mean = node.op == "Mean" and len(names) > 1
    total = names[0]
    for place, name in enumerate(names[1:], 2):
        last = place == len(names) and not mean
        total = reader.add(step, [total, name], node.outputs if last else None)
    if mean:
        reader.add("Div", [total, reader.constant(np.float32(len(names)))], node.outputs)
    elif len(names) == 1:
        reader.add("Identity", names, node.outputs)


def _read_bitwise_not(node: SourceNode, reader: Reader) -> None:
    ones = reader.add("CastLike", [reader.constant(np.int64(-1)), node.inputs[0]])
    reader.add("BitwiseXor", [node.inputs[0], ones], node.outputs)


_TWO = (
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Or", "Pow", "Sub", "Xor",
)  # fmt: skip

OPS: dict[str, Op] = {name: same(inputs=2) for name in _TWO} | {
    "BitwiseNot": Op(_read_bitwise_not, write_plain, (1, 1), 1, frozenset()),
    "Cast": Op(_read_cast, write_plain, (1, 1), 1, frozenset({"to", "saturate", "round_mode"})),
    "CastLike": Op(_read_cast_like, write_plain, (2, 2), 1, frozenset({"saturate", "round_mode"})),
    "Max": Op(_read_many, write_plain, (1, None), 1, frozenset()),
    "Mean": Op(_read_many, write_plain, (1, None), 1, frozenset()),
    "Min": Op(_read_many, write_plain, (1, None), 1, frozenset()),
    "Mod": same("fmod", inputs=2),
    "Sum": Op(_read_many, write_plain, (1, None), 1, frozenset()),
    "Where": same(inputs=3),
}
