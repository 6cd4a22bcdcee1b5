"""Pools, and resizing."""

from __future__ import annotations

from qcore.frameworks.onnx.op import Op, same

__all__ = ["OPS"]

_WINDOW = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")

OPS: dict[str, Op] = {
    "AveragePool": same(*_WINDOW, "count_include_pad"),
    "GlobalAveragePool": same(),
    "GlobalMaxPool": same(),
    "LpPool": same(*_WINDOW, "p"),
    "MaxPool": same(*_WINDOW, "storage_order", outputs=2),
    "Resize": same(
        "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
        "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode",
        inputs=(1, 4),
    ),
}  # fmt: skip
