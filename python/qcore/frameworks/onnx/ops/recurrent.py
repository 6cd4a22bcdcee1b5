"""LSTM and GRU."""

from __future__ import annotations

from qcore.frameworks.onnx.op import Op, same

__all__ = ["OPS"]

_CELL = (
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
    "layout",
)  # fmt: skip

OPS: dict[str, Op] = {
    "GRU": same(*_CELL, "linear_before_reset", inputs=(3, 6), outputs=2),
    "LSTM": same(*_CELL, "input_forget", inputs=(3, 8), outputs=3),
}
