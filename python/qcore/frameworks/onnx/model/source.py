"""An ONNX model as it is read: nodes with plain attributes, constants as arrays, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._runtime.extras import require
from qcore.frameworks.onnx.model.constants import array_of
from qcore.graph.value import SOURCE_DTYPES, Value

__all__ = [
    "OPSETS",
    "RAISED",
    "SourceNode",
    "attributes_of",
    "constant_array",
    "dtype_name",
    "value_of",
]

#: The opsets that are read; every one is brought to what opset 21 means.
OPSETS = range(11, 29)
#: Older ones, which onnx's own converter raises to the first of these.
RAISED = range(7, 11)
_DOMAINS = ("", "ai.onnx")
#: ONNX Runtime's own ops, whose attributes are called as ONNX calls its own.
_RUNTIME = "com.microsoft"


@dataclass(frozen=True, eq=False)
class SourceNode:
    """A node of a model.

    Attributes
    ----------
    name : str
        Its own, or that of its first output.
    op : str
        With the domain before it, where that is not ONNX's.
    opset : int
        Of the model.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    @classmethod
    def of(cls, node: Any, opset: int) -> SourceNode:
        """Return a NodeProto as it is read."""
        first = next((name for name in node.output if name), "")
        op = node.op_type if node.domain in _DOMAINS else f"{node.domain}::{node.op_type}"
        return cls(
            node.name or first, op, tuple(node.input), tuple(node.output), attributes_of(node),
            opset,
        )  # fmt: skip

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what it is when absent."""
        return self.attributes.get(name, default)

    def input(self, index: int) -> str:
        """Return the name of an input; "" where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


# The attributes that are no integers, by AttributeProto's name of their type; every attribute has
# one type wherever it is.
_KINDS = {
    "FLOAT": (
        "alpha", "beta", "bias", "clip", "cubic_coeff_a", "epsilon", "extrapolation_value", "gamma",
        "lambd", "mask_filter_value", "momentum", "ratio", "scale", "softcap", "value_float",
    ),
    "FLOATS": ("activation_alpha", "activation_beta", "activation_params", "value_floats"),
    "GRAPH": ("body", "else_branch", "then_branch"),
    "INTS": (
        "axes", "dilations", "kernel_shape", "output_padding", "output_shape", "pads", "perm",
        "qkv_hidden_sizes", "scan_input_axes", "scan_input_directions", "scan_output_axes",
        "scan_output_directions", "split", "strides", "value_ints",
    ),
    "SPARSE_TENSOR": ("sparse_value",),
    "STRING": (
        "activation", "approximate", "auto_pad", "coordinate_transformation_mode", "direction",
        "equation", "keep_aspect_ratio_policy", "mode", "nearest_mode", "reduction", "round_mode",
        "value_string",
    ),
    "STRINGS": ("activations", "value_strings"),
    "TENSOR": ("value",),
}  # fmt: skip
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_INTEGERS = (
    "dtype", "k", "num_scan_inputs",
    "allowzero", "antialias", "axis", "batch_dims", "block_size", "blocksize", "ceil_mode",
    "count_include_pad", "detect_negative", "detect_positive", "do_rotary", "end",
    "exclude_outside", "exclusive", "fmod", "group", "hidden_size", "input_forget", "interleaved",
    "is_causal", "is_packed_batching", "keepdims", "kv_num_heads", "largest", "layout",
    "left_window_size", "linear_before_reset", "local_window_size", "mask_index_type",
    "noop_with_empty_axes", "num_heads", "num_outputs", "output_dtype", "p",
    "past_present_share_buffer", "q_num_heads", "qk_matmul_output_mode", "reverse",
    "right_window_size", "rotary_embedding_dim", "rotary_interleaved", "saturate",
    "select_last_index", "size", "smooth_softmax", "softmax_precision", "sorted", "spatial",
    "start", "stash_type", "storage_order", "to", "training_mode", "transA", "transB",
    "transBatchA", "transBatchB", "unidirectional", "upper", "value_int",
)  # fmt: skip
_KNOWN = {*_KIND_OF, *_INTEGERS}
#: Attributes that some of ONNX Runtime's own ops have of another type.
_OTHERWISE = ("activation_alpha", "activation_beta")


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a NodeProto: bytes as texts, other protos as they are.

    Raises
    ------
    ValueError
        If an attribute is not of the type that its name has in ONNX; names node and attribute.
    """
    helper = require("onnx", "reading ONNX").helper
    found = {}
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise ValueError(f"node {node.name!r} has an attribute of a function that it is not in")
        _check_kind(attribute, node)
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, (list, tuple)):
            value = tuple(item.decode() if isinstance(item, bytes) else item for item in value)
        found[attribute.name] = value
    return found


def _check_kind(attribute: Any, node: Any) -> None:
    kinds = {number: name for name, number in attribute.AttributeType.items()}
    kind = kinds.get(attribute.type, "UNDEFINED")
    wanted = _KIND_OF.get(attribute.name, "INT")
    if node.domain == _RUNTIME and attribute.name in _OTHERWISE:
        return
    if node.domain in (*_DOMAINS, _RUNTIME) and kind != wanted and attribute.name in _KNOWN:
        raise ValueError(
            f"node {node.name!r} ({node.op_type}) has {attribute.name!r} of type {kind}, not "
            f"{wanted}"
        )


def dtype_name(kind: int) -> str:
    """Return NumPy's name of one of ONNX's types."""
    onnx = require("onnx", "reading ONNX")
    if kind == onnx.TensorProto.STRING:
        return "str"
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name)
    except KeyError as error:
        raise ValueError(f"{kind} is no type of ONNX") from error


# Codes of fewer bits, each of which comes in a byte.
_NARROW = {"int2": "int8", "int4": "int8", "uint2": "uint8", "uint4": "uint8"}


def constant_array(tensor: Any, model: Path | None) -> NDArray[Any]:
    """Return a TensorProto as an array in one of the types that run.

    Parameters
    ----------
    tensor : TensorProto
    model : Path, optional
        The model's file, beside which its data may lie.

    Raises
    ------
    TypeError
        If its type is none that runs and none that casts to one exactly.
    ValueError
        If its data is not what its shape says.
    """
    name = dtype_name(tensor.data_type)
    name = _NARROW.get(name, name)
    if name not in SOURCE_DTYPES:
        raise TypeError(name)
    array = array_of(tensor, model)
    return np.ascontiguousarray(array, SOURCE_DTYPES[name]).reshape(array.shape)


def value_of(info: Any) -> Value:
    """Return a ValueInfoProto as a value.

    Raises
    ------
    TypeError
        If it is no tensor, or of a type that does not run: says what it is.
    """
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise TypeError((kind or "no_type").removesuffix("_type"))
    tensor = info.type.tensor_type
    name = dtype_name(tensor.elem_type)
    if name not in SOURCE_DTYPES:
        raise TypeError(name)
    if not tensor.HasField("shape"):
        return Value(info.name, name, None)
    return Value(info.name, name, tuple(_dim(dim) for dim in tensor.shape.dim))


def _dim(dim: Any) -> int | str | None:
    kind = dim.WhichOneof("value")
    if kind == "dim_value":
        # Exporters also write 0 or less for a size that is not known.
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    # "?" is what some exporters write for every size that they do not know: no name.
    named = kind == "dim_param" and dim.dim_param not in ("", "?")
    return str(dim.dim_param) if named else None
