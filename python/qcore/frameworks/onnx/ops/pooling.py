"""Pools, resizing, and sampling by a grid."""

from __future__ import annotations

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, same, write_plain

__all__ = ["OPS"]

_WINDOW = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _read_grid_sample(node: SourceNode, reader: Reader) -> None:
    """Read a GridSample of images; before opset 20 modes had other names."""
    if reader.rank(node.inputs[0]) == 5:
        reader.miss("GridSample of volumes", node.name)
        return
    old = {"bilinear": "linear", "bicubic": "cubic"}
    mode = str(node.get("mode", "linear"))
    attributes = {**node.attributes, "mode": old.get(mode, mode)}
    reader.add("GridSample", node.inputs, node.outputs, **attributes)


OPS: dict[str, Op] = {
    "AveragePool": same(*_WINDOW, "count_include_pad"),
    "GlobalAveragePool": same(),
    "GlobalMaxPool": same(),
    "GridSample": Op(
        _read_grid_sample, write_plain, (2, 2), 1,
        frozenset({"align_corners", "mode", "padding_mode"}),
    ),
    "LpPool": same(*_WINDOW, "p"),
    "MaxPool": same(*_WINDOW, "storage_order", outputs=2),
    "Resize": same(
        "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
        "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode",
        inputs=(1, 4),
    ),
}  # fmt: skip
