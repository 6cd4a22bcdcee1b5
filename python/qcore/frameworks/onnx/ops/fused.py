"""Ops that only fusing makes, and what they are in ONNX."""

from __future__ import annotations

from qcore.frameworks.onnx.op import Write
from qcore.frameworks.onnx.ops.elementwise import write_silu

__all__ = ["WRITTEN"]

WRITTEN: dict[str, Write] = {"Silu": write_silu}
