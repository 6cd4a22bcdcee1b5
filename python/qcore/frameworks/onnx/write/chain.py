"""A network as an ONNX graph that computes what qcore computes.

Layers with static integer inputs become QuantizeLinear and DequantizeLinear around a float Gemm,
the form that runtimes turn into their integer kernels. Layers that quantize their input row by row
become the same steps in plain operators around a MatMulInteger. Weights alone become what decodes
them: DequantizeLinear for affine codes, a look-up for a codebook.

On x86 CPUs without VNNI, ONNX Runtime multiplies uint8 by int8 with VPMADDUBSW, which adds two
products in int16 and saturates; its kernel for uint8 by uint8 widens first and is exact. So inputs
of integer products are uint8, and so are weights, with 128 as their zero point, but for those of
which no two can saturate: these stay int8, which is faster where there is VNNI.
"""

from __future__ import annotations

import json
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_flag, check_path
from qcore._runtime.extras import require
from qcore.arrays.layerwise.float_rows import without_float_rows
from qcore.arrays.params.qparams import QParams
from qcore.arrays.products.activations import ACTIVATIONS
from qcore.arrays.products.weights import integer_codes, output_scale
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.layers import Dense
from qcore.files.drafts import write_bytes
from qcore.frameworks.onnx.model.metadata import CLASSES, RECIPE, write_text

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["to_onnx"]

OPSET = 21  # INT4, and DequantizeLinear of blocks
IR_VERSION = 10
# What signed codes move by to become unsigned ones.
_MIDDLE = 128
# An int32 bias must leave room for the sum: |code - zero_point| <= 255 and |weight| <= 128.
_GREATEST_PRODUCT = 255 * 128
_TINY = np.finfo(np.float32).tiny


def to_onnx(
    network: Chain,
    path: str | PathLike[str] | None = None,
    *,
    recipe: str | None = None,
    int8_weights: bool = False,
) -> Any:
    """Return a network as an ONNX model, and write it to `path`, if it is given, atomically.

    Parameters
    ----------
    network : Sequential
    path : path, optional
    recipe : str, optional
        A text to keep under ``metadata_props["qcore.recipe"]``.
    int8_weights : bool, default False
        Keep all weights of integer products int8: for CPUs that are known to have VNNI, or to be
        ARM's. See "What runtimes make of it" in ``docs/numerics.md``.

    Returns
    -------
    onnx.ModelProto
        Of opset 21, with the input "input" (n, inputs) and the output "output" (n, outputs), both
        float32; the value before the last activation is called "logits". ``classes_`` are kept as
        a JSON text under ``metadata_props["qcore.classes"]``.

    Raises
    ------
    ImportError
        If the onnx package is not there; says what to install.
    """
    target = None if path is None else check_path(path)
    if network.one_versus_rest:
        raise ValueError(
            "network has one_versus_rest, probabilities that are scaled to a sum of 1, which no "
            "activation gives; set it to False for the softmax of its logits"
        )
    graph = _Graph(check_flag(int8_weights, "int8_weights"))
    value = _add_normalization(graph, network, "input")
    layers = network.layers
    for index, layer in enumerate(layers):
        after = layers[index + 1].input_qparams if index + 1 < len(layers) else None
        last = index + 1 == len(layers)
        value = _add_layer(graph, layer, value, after, "logits" if last else f"{layer.name}.sum")
        value = _add_activation(graph, layer, value, last)
    model = graph.model(network)
    if recipe is not None:
        write_text(model, RECIPE, recipe)
    if target is not None:
        write_bytes(target, model.SerializeToString())
    return model


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self, int8_weights: bool) -> None:
        self.int8_weights = int8_weights
        self.onnx = require("onnx", "ONNX")
        self.helper, self.numpy_helper = _submodules()
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        node = self.helper.make_node(operator, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, array: NDArray[Any] | np.generic | float) -> str:
        self.constants[name] = self.numpy_helper.from_array(np.asarray(array), name)
        return name

    def packed(self, name: str, q: QTensor) -> str:
        """Add 4-bit codes, two to a byte in one run over the whole tensor."""
        codes = q.values.reshape(-1).view(np.uint8) & 15
        codes = np.append(codes, np.uint8(0)) if codes.size % 2 else codes
        kinds = self.onnx.TensorProto
        kind = kinds.INT4 if q.signed else kinds.UINT4
        raw = (codes[0::2] | codes[1::2] << 4).tobytes()
        self.constants[name] = self.helper.make_tensor(name, kind, q.shape, raw, raw=True)
        return name

    def model(self, network: Chain) -> Any:
        kind = self.onnx.TensorProto.FLOAT
        first, last = network.layers[0], network.layers[-1]
        graph = self.helper.make_graph(
            self.nodes,
            "qcore",
            [self.helper.make_tensor_value_info("input", kind, ["n", first.in_features])],
            [self.helper.make_tensor_value_info("output", kind, ["n", last.out_features])],
            list(self.constants.values()),
        )
        model = self.helper.make_model(
            graph,
            producer_name="qcore",
            ir_version=IR_VERSION,
            opset_imports=[self.helper.make_opsetid("", OPSET)],
        )
        if network.classes_ is not None:
            write_text(model, CLASSES, json.dumps(network.classes_.tolist()))
        return model


def _submodules() -> tuple[Any, Any]:
    from onnx import helper, numpy_helper

    return helper, numpy_helper


def _add_normalization(graph: _Graph, network: Chain, value: str) -> str:
    """Add what is done to the columns of the input, if anything is."""
    if network.normalization is None:
        return value
    mean, scale = network.normalization.mean, network.normalization.scale
    mean_name = graph.constant("normalization.mean", mean.astype(np.float32))
    value = graph.add("Sub", [value, mean_name], "centred")
    scale_name = graph.constant("normalization.scale", scale.astype(np.float32))
    return graph.add("Mul", [value, scale_name], "normalized")


def _add_activation(graph: _Graph, layer: Dense, value: str, last: bool) -> str:
    output = "output" if last else f"{layer.name}.output"
    operator = ACTIVATIONS[layer.activation].onnx
    if not operator:
        return graph.add("Identity", [value], output) if last else value
    attributes = {"axis": -1} if operator == "Softmax" else {}
    return graph.add(operator, [value], output, **attributes)


def _add_layer(
    graph: _Graph, layer: Dense, value: str, after: QParams | str | None, output: str
) -> str:
    weight, source = layer.weight, layer.input_qparams
    if layer.float_rows is not None and source is not None:
        return _add_split(graph, layer, layer.float_rows, value, output)
    if isinstance(weight, QTensor) and isinstance(source, QParams):
        return _add_static(graph, layer, weight, source, value, after, output)
    if isinstance(weight, QTensor) and source == "dynamic":
        return _add_dynamic(graph, layer, weight, value, output)
    name = f"{layer.name}.weight"
    if isinstance(weight, QTensor) and layer.float_rows is None:
        decoded = _decoded(graph, name, weight)
    else:
        decoded = graph.constant(name, layer.dense_weight())
    inputs = [value, decoded]
    if layer.bias is not None:
        inputs.append(graph.constant(f"{layer.name}.bias", layer.bias))
    return graph.add("Gemm", inputs, output, transB=1)


def _add_split(
    graph: _Graph, layer: Dense, floats: NDArray[np.bool_], value: str, output: str
) -> str:
    """Add a layer of which some rows are floats: the product of each part, zeros elsewhere."""
    assert isinstance(layer.weight, QTensor)
    name, coded = layer.name, layer.copy()
    coded.weight = without_float_rows(layer.weight)
    parts = [_add_layer(graph, coded, value, None, f"{name}.coded")]
    real = np.where(floats[:, None], layer.dense_weight(), np.float32(0))
    weight = graph.constant(f"{name}.float_weight", np.ascontiguousarray(real.T, np.float32))
    parts.append(graph.add("MatMul", [value, weight], f"{name}.floats"))
    return graph.add("Add", parts, output)


def _add_static(
    graph: _Graph,
    layer: Dense,
    weight: QTensor,
    source: QParams,
    value: str,
    after: QParams | str | None,
    output: str,
) -> str:
    name = layer.name
    codes, middle, scale = _integer_weight(graph, layer, weight)
    zero = int(source.zero_point) + (_MIDDLE if source.signed else 0)
    parameters = [
        graph.constant(f"{name}.input_scale", np.float32(source.scale)),
        graph.constant(f"{name}.input_zero_point", np.uint8(zero)),
    ]
    quantized = graph.add("QuantizeLinear", [value, *parameters], f"{name}.input_codes")
    x = graph.add("DequantizeLinear", [quantized, *parameters], f"{name}.input")
    bias = _integer_bias(layer, np.float32(source.scale) * scale, after)
    if bias is None:
        # (in, out), as the integer kernels of runtimes want the right operand of a MatMul.
        w = _dequantized(
            graph, f"{name}.weight", np.ascontiguousarray(codes.T), scale, axis=1, zero=middle
        )
        product = graph.add("MatMul", [x, w], f"{name}.product")
        offset = np.zeros(len(scale), np.float32) if layer.bias is None else layer.bias
        # A difference, which is the same: ONNX Runtime (1.32) makes the bias of a sum int32, also
        # one that int32 does not hold.
        return graph.add("Sub", [product, graph.constant(f"{name}.bias", -offset)], output)
    w = _dequantized(graph, f"{name}.weight", codes, scale, axis=0, zero=middle)
    steps = np.float32(source.scale) * scale
    b = _dequantized(graph, f"{name}.bias", bias, steps, axis=0, zero=0)
    return graph.add("Gemm", [x, w, b], output, transB=1)


def _integer_bias(
    layer: Dense, scale: NDArray[np.float32], after: QParams | str | None
) -> NDArray[np.int32] | None:
    """Return the bias in units of the sums, where qcore itself goes from codes to codes."""
    if not isinstance(after, QParams) or layer.activation not in ("relu", "linear"):
        return None
    bias = np.zeros(len(scale)) if layer.bias is None else layer.bias.astype(np.float64)
    codes = np.rint(bias / scale.astype(np.float64))
    room = max(0, 2**31 - 1 - layer.in_features * _GREATEST_PRODUCT)
    multiplier = scale / np.float32(after.scale)
    if (np.abs(codes) > room).any() or not ((multiplier >= _TINY) & np.isfinite(multiplier)).all():
        return None
    return codes.astype(np.int32)


def _add_dynamic(graph: _Graph, layer: Dense, weight: QTensor, value: str, output: str) -> str:
    name = layer.name
    codes, middle, scale = _integer_weight(graph, layer, weight)

    def step(operator: str, inputs: list[str], part: str, **attributes: Any) -> str:
        return graph.add(operator, inputs, f"{name}.{part}", **attributes)

    def constant(part: str, array: Any) -> str:
        return graph.constant(f"{name}.{part}", array)

    size = step("Abs", [value], "magnitude")
    most = step("ReduceMax", [size, constant("last_axis", np.array([-1]))], "absmax", keepdims=1)
    raw = step("Div", [most, constant("half_range", np.float32(127.5))], "raw_scale")
    usable = step("GreaterOrEqual", [raw, constant("least_scale", np.float32(_TINY))], "usable")
    row = step("Where", [usable, raw, constant("one", np.float32(1))], "input_scale")
    level = step("Round", [step("Div", [value, row], "scaled")], "level")
    kinds = graph.onnx.TensorProto
    moved = step("Add", [level, constant("input_middle", np.float32(_MIDDLE))], "moved")
    limits = [constant("least", np.float32(0)), constant("greatest", np.float32(255))]
    clipped = step("Clip", [moved, *limits], "clipped")
    factors = [
        step("Cast", [clipped], "input_codes", to=kinds.UINT8),
        constant("weight_codes", np.ascontiguousarray(codes.T)),
        constant("input_zero_point", np.uint8(_MIDDLE)),
        constant("weight_zero_point", codes.dtype.type(middle)),
    ]
    # By way of int64, or ONNX Runtime (1.32) fuses what follows as if all rows had one scale.
    wide = step("Cast", [step("MatMulInteger", factors, "sum_codes")], "wide", to=kinds.INT64)
    total = step("Cast", [wide], "product", to=kinds.FLOAT)
    scales = step("Mul", [row, constant("weight_scale", scale)], "scale")
    product = step("Mul", [total, scales], "real")
    bias = np.zeros(len(scale), np.float32) if layer.bias is None else layer.bias
    return graph.add("Add", [product, constant("bias", bias)], output)


class _Codes(NamedTuple):
    """Weights as an integer product takes them: (out, in), with one zero point."""

    values: NDArray[np.int8] | NDArray[np.uint8]
    zero: int
    scale: NDArray[np.float32]


def _integer_weight(graph: _Graph, layer: Dense, weight: QTensor) -> _Codes:
    """Return the codes of a weight in the type that every kernel multiplies exactly."""
    codes = integer_codes(weight)
    if codes is None:
        raise ValueError(f"{layer.name}: {weight!r} cannot run on integer activations")
    scale = np.broadcast_to(output_scale(weight), (layer.out_features,))
    steps = np.ascontiguousarray(scale, np.float32)
    if graph.int8_weights or _never_saturates(codes):
        return _Codes(codes, 0, steps)
    # In two's complement half of the range is added by turning the highest bit.
    return _Codes(codes.view(np.uint8) ^ np.uint8(_MIDDLE), _MIDDLE, steps)


def _never_saturates(codes: NDArray[np.int8]) -> bool:
    """Whether int16 holds the products of any two weights of an output with any uint8 inputs."""
    ends = np.sort(codes.astype(np.int16), axis=1)
    least, most = ends[:, :2].clip(max=0).sum(axis=1), ends[:, -2:].clip(min=0).sum(axis=1)
    return bool((most * 255 < 2**15).all() and (least * 255 >= -(2**15)).all())


def _dequantized(
    graph: _Graph,
    name: str,
    codes: NDArray[Any],
    scale: NDArray[np.float32],
    axis: int,
    zero: int,
) -> str:
    inputs = [
        graph.constant(f"{name}_codes", codes),
        graph.constant(f"{name}_scale", scale),
        graph.constant(f"{name}_zero_point", np.full(scale.shape, zero, codes.dtype)),
    ]
    return graph.add("DequantizeLinear", inputs, name, axis=axis)


def _decoded(graph: _Graph, name: str, q: QTensor) -> str:
    """Add what decodes a weight; what has no operator of its own is there as floats."""
    if q.scheme == "affine":
        inputs = [
            graph.packed(f"{name}_codes", q)
            if q.bits == 4
            else graph.constant(f"{name}_codes", q.values),
            graph.constant(f"{name}_scale", q.scale),
        ]
        if q.zero_point.any():
            inputs.append(_zero_points(graph, name, q))
        if q.group_size is not None:
            return graph.add(
                "DequantizeLinear", inputs, name, axis=q.ndim - 1, block_size=q.group_size
            )
        attributes = {} if q.axis is None else {"axis": q.axis}
        return graph.add("DequantizeLinear", inputs, name, **attributes)
    if q.scheme == "kmeans" and q.axis is None and q.levels is not None:
        codes = graph.constant(f"{name}_codes", q.values)
        index = graph.add("Cast", [codes], f"{name}_index", to=graph.onnx.TensorProto.INT32)
        return graph.add("Gather", [graph.constant(f"{name}_levels", q.levels), index], name)
    return graph.constant(name, q.dequantize())


def _zero_points(graph: _Graph, name: str, q: QTensor) -> str:
    zeros = q.zero_point.astype(q.values.dtype)
    if q.bits != 4:
        return graph.constant(f"{name}_zero_point", zeros)
    packed = QTensor.from_parts(zeros, bits=4, signed=q.signed)
    return graph.packed(f"{name}_zero_point", packed)
