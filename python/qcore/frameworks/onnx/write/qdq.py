"""Codes of a graph in ONNX: QuantizeLinear and DequantizeLinear around what is float there.

A value with codes is quantized and dequantized where it is made, the form that runtimes turn into
their integer kernels; weights stay codes behind a DequantizeLinear.

Codes are uint8, those of weights too, with 128 as their zero point: on CPUs without VNNI ONNX
Runtime's product of uint8 and int8 saturates, that of uint8 and uint8 does not. Weights of which no
two can saturate stay int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.lower import dense
from qcore.graph.node import Node

__all__ = ["coarse_weight", "integer_bias", "never_saturates", "write_codes", "write_weight"]

_MIDDLE = 128
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_CLAMPS = ("linear", "relu", "relu6", "clip")
# An int32 bias must leave room for the sum: |code - zero_point| <= 255 and |weight| <= 128.
_GREATEST_PRODUCT = 255 * 128
_TINY = np.finfo(np.float32).tiny


def write_codes(writer: Any, source: str, target: str, params: QParams) -> None:
    """Add the nodes by which `target` is what the codes of `source` stand for."""
    zero = int(params.zero_point) + (_MIDDLE if params.signed else 0)
    parts = [writer.constant(np.float32(params.scale)), writer.constant(np.uint8(zero))]
    codes = writer.add("QuantizeLinear", [source, *parts])
    writer.add("DequantizeLinear", [codes, *parts], [target])


def write_weight(writer: Any, name: str, weight: Any) -> None:
    """Add a constant: codes of 8 bits behind what decodes them, anything else as it is."""
    plain = isinstance(weight, QTensor) and weight.scheme == "affine" and weight.group_size is None
    if not plain or weight.row_bits is not None or weight.values.dtype != np.int8:
        writer.tensor(name, dense(weight))
        return
    if weight.zero_point.any():
        writer.tensor(name, dense(weight))
        return
    codes, zero = weight.values, np.zeros(weight.scale.shape, np.int8)
    if not never_saturates(codes, weight.axis):
        # In two's complement half of the range is added by turning the highest bit.
        codes = codes.view(np.uint8) ^ np.uint8(_MIDDLE)
        zero = np.full(weight.scale.shape, _MIDDLE, np.uint8)
    parts = {"codes": codes, "scale": np.asarray(weight.scale, np.float32), "zero_point": zero}
    names = []
    for part, array in parts.items():
        names.append(writer.fresh(f"{name}:{part}"))
        writer.tensor(names[-1], np.ascontiguousarray(array).reshape(np.shape(array)))
    attributes = {} if weight.axis is None else {"axis": weight.axis}
    writer.add("DequantizeLinear", names, [name], **attributes)


def never_saturates(codes: NDArray[np.int8], axis: int | None) -> bool:
    """Whether int16 holds the products of any two weights of an output with any uint8 inputs."""
    rows = np.moveaxis(codes, axis or 0, 0).reshape(codes.shape[axis or 0], -1)
    if axis is None:
        rows = codes.reshape(1, -1)
    ends = np.sort(rows.astype(np.int32), axis=1)
    least, most = ends[:, :2].clip(max=0).sum(axis=1), ends[:, -2:].clip(min=0).sum(axis=1)
    return bool((most * 255 < 2**15).all() and (least * 255 >= -(2**15)).all())


def coarse_weight(graph: BaseGraph, node: Node) -> QTensor | None:
    """Return the weight of a convolution with coarser steps, as qcore itself runs it.

    A channel of next to no weight has a bias that no int32 holds in units of its sums. Runtimes
    that quantize it by themselves saturate; with the step that qcore takes then, it fits. None
    where the weight is as it is, or is read elsewhere too.
    """
    source, target = graph.codes.get(node.inputs[0]), graph.codes.get(node.outputs[0])
    weight, bias = graph.constants.get(node.inputs[1]), graph.constants.get(node.input(2))
    if node.op != "Conv" or source is None or target is None:
        return None
    if not isinstance(weight, QTensor) or weight.axis != 0 or weight.group_size is not None:
        return None
    if not isinstance(bias, np.ndarray) or graph.readers.get(node.inputs[1]) != (node,):
        return None
    scale = np.asarray(weight.scale, np.float32).reshape(-1)
    if scale.size != bias.size or weight.values.dtype != np.int8 or weight.row_bits is not None:
        return None
    unit = np.float32(source.scale)
    least = np.float32(1e-30) * np.float32(target.scale) / unit
    wide = np.maximum(np.maximum(scale, np.abs(bias) / (np.float32(2**30) * unit)), least)
    found = np.abs(np.rint(bias.astype(np.float64) / (unit * scale).astype(np.float64)))
    fits = found <= 2**31 - 1 - weight.size // bias.size * _GREATEST_PRODUCT
    normal = unit * scale / np.float32(target.scale) >= _TINY
    if (fits & normal).all():
        return None
    ratio = (scale / wide).reshape(-1, *(1,) * (weight.values.ndim - 1))
    codes = np.rint(weight.values.astype(np.float32) * ratio).astype(np.int8)
    zero = np.zeros(wide.shape, np.int32)
    return QTensor.from_parts(codes, wide.astype(np.float32), zero, axis=0, bits=weight.bits)


def integer_bias(
    graph: BaseGraph, node: Node, weight: QTensor | None = None
) -> tuple[NDArray[np.int32], Any] | None:
    """Return the bias of a product in units of its sums, and these, where qcore has it so too.

    `weight`: what is written in place of the graph's.
    """
    codes: Mapping[str, Any] = graph.codes
    if node.op not in _PRODUCTS or not node.input(2) or node.input(3):
        return None
    source, target = codes.get(node.inputs[0]), codes.get(node.outputs[0])
    weight = graph.constants.get(node.inputs[1]) if weight is None else weight
    bias = graph.constants.get(node.inputs[2])
    clamps = node.get("activation", "linear") in _CLAMPS
    if source is None or target is None or not clamps or not isinstance(bias, np.ndarray):
        return None
    if not isinstance(weight, QTensor) or weight.group_size is not None or bias.ndim != 1:
        return None
    unit = np.float32(source.scale) * np.asarray(weight.scale, np.float32).reshape(-1)
    if unit.size not in (1, bias.size):
        return None
    found = np.rint(bias.astype(np.float64) / unit.astype(np.float64))
    room = max(0, 2**31 - 1 - weight.size // bias.size * _GREATEST_PRODUCT)
    multiplier = unit / np.float32(target.scale)
    if (np.abs(found) > room).any() or not ((multiplier >= _TINY) & np.isfinite(multiplier)).all():
        return None
    return found.astype(np.int32), unit if unit.size > 1 else np.broadcast_to(unit, bias.shape)
