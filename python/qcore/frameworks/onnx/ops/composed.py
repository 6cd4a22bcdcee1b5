"""Ops that are a few steps of others, as which they are read."""

from __future__ import annotations

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps
from qcore.frameworks.onnx.ops.attending import along, size_of

__all__ = ["OPS"]

_INT64 = 7


def _like(reader: Reader, number: float, name: str) -> str:
    """Return a number in the type of a value."""
    known = reader.value(name)
    if known is not None:
        return reader.constant(np.array(number, known.running_dtype))
    return reader.add("CastLike", [reader.constant(np.float32(number)), name])


def _float(reader: Reader, number: float) -> str:
    return reader.constant(np.float32(number))


# places --------------------------------------------------------------------------------------
def _diagonal(reader: Reader, x: str, op: str, k: str) -> str:
    """Return where column - row compares with k, for the last two axes."""
    rows = reader.add("Unsqueeze", [along(reader, size_of(reader, x, -2)), reader.ints(1)])
    columns = reader.add("Unsqueeze", [along(reader, size_of(reader, x, -1)), reader.ints(0)])
    return reader.add(op, [reader.add("Sub", [columns, rows]), k])


def _trilu(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    k = reader.constant(np.int64(0))
    if node.input(1):
        k = reader.add("Reshape", [node.input(1), reader.constant(np.zeros(0, np.int64))])
    op = "GreaterOrEqual" if node.get("upper", 1) else "LessOrEqual"
    kept = _diagonal(reader, x, op, k)
    reader.add("Where", [kept, x, _like(reader, 0, x)], node.outputs)


def _eye(node: SourceNode, reader: Reader) -> None:
    on = _diagonal(
        reader, node.inputs[0], "Equal", reader.constant(np.int64(int(node.get("k", 0))))
    )
    if "dtype" in node.attributes:
        reader.add("Cast", [on], node.outputs, to=reader.dtype(int(node.get("dtype")), node))
    else:
        reader.add("CastLike", [on, node.inputs[0]], node.outputs)


def _marked(reader: Reader, places: str, depth: str, axis: int) -> str:
    """Return where along a new axis of a size the places are; those below 0 count from its end."""
    rank = reader.rank(places)
    if rank is None:
        raise ValueError("places of unknown dims")
    at = axis + rank + 1 if axis < 0 else axis
    if not 0 <= at <= rank:
        raise ValueError(f"the axis {axis} of {rank + 1} dims")
    zero = reader.constant(np.int64(0))
    wrapped = reader.add("Add", [places, depth])
    places = reader.add("Where", [reader.add("Less", [places, zero]), wrapped, places])
    apart = reader.add("Unsqueeze", [places, reader.ints(at)])
    columns = along(reader, depth)
    if at < rank:
        columns = reader.add("Unsqueeze", [columns, reader.ints(list(range(1, rank - at + 1)))])
    return reader.add("Equal", [apart, columns])


def _one_hot(node: SourceNode, reader: Reader) -> None:
    places, depth, values = node.inputs
    if reader.rank(places) is None:
        reader.miss("OneHot of places of unknown dims", node.name)
        return
    places = reader.add("Cast", [places], to=_INT64)
    depth = reader.add("Cast", [depth], to=_INT64)
    depth = reader.add("Reshape", [depth, reader.constant(np.zeros(0, np.int64))])
    try:
        on = _marked(reader, places, depth, int(node.get("axis", -1)))
    except ValueError as error:
        raise ValueError(f"node {node.name!r} (OneHot) has {error}") from None
    off, one = (
        reader.add("Gather", [values, reader.constant(np.int64(at))], axis=0) for at in (0, 1)
    )
    reader.add("Where", [on, one, off], node.outputs)


def _gather_nd(node: SourceNode, reader: Reader) -> None:
    """Read a GatherND as a Gather of rows, counted through."""
    data, places = node.inputs
    known = reader.value(places)
    last = known.shape[-1] if known is not None and known.shape else None
    if node.get("batch_dims", 0) or not isinstance(last, int) or last < 1:
        reader.miss("GatherND with batches or places of unknown dims", node.name)
        return
    places = reader.add("Cast", [places], to=_INT64)
    shape = reader.add("Shape", [data])
    zero = reader.constant(np.int64(0))
    row = ""
    for axis in range(last):
        size = reader.add("Gather", [shape, reader.constant(np.int64(axis))], axis=0)
        one = reader.add("Gather", [places, reader.constant(np.int64(axis))], axis=-1)
        wrapped = reader.add("Add", [one, size])
        one = reader.add("Where", [reader.add("Less", [one, zero]), wrapped, one])
        row = one if not row else reader.add("Add", [reader.add("Mul", [row, size]), one])
    rest = reader.add("Slice", [shape, reader.ints(last), reader.ints(np.iinfo(np.int64).max)])
    target = reader.add("Concat", [reader.ints(-1), rest], axis=0)
    reader.add("Gather", [reader.add("Reshape", [data, target]), row], node.outputs, axis=0)


# functions -----------------------------------------------------------------------------------
def _is_nan(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    reader.add("Not", [reader.add("Equal", [x, x])], node.outputs)


def _is_inf(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    low, high = (bool(node.get(f"detect_{side}", 1)) for side in ("negative", "positive"))
    if low and high:
        x = reader.add("Abs", [x])
    # Neither: nothing is equal to NaN.
    wanted = np.inf if high else (-np.inf if low else np.nan)
    reader.add("Equal", [x, _float(reader, wanted)], node.outputs)


def _mish(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    soft = reader.add("Tanh", [reader.add("Softplus", [x])])
    reader.add("Mul", [x, soft], node.outputs)


def _celu(node: SourceNode, reader: Reader) -> None:
    alpha = _float(reader, float(node.get("alpha", 1.0)))
    part = reader.add("Elu", [reader.add("Div", [node.inputs[0], alpha])], alpha=1.0)
    reader.add("Mul", [part, alpha], node.outputs)


def _thresholded(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    kept = reader.add("Greater", [x, _float(reader, float(node.get("alpha", 1.0)))])
    reader.add("Where", [kept, x, _float(reader, 0)], node.outputs)


def _shrink(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    bias, limit = (float(node.get(name, value)) for name, value in (("bias", 0.0), ("lambd", 0.5)))
    near = reader.add("Where", [
        reader.add("Less", [x, _float(reader, -limit)]),
        reader.add("Add", [x, _float(reader, bias)]), _float(reader, 0),
    ])  # fmt: skip
    over = reader.add("Greater", [x, _float(reader, limit)])
    reader.add("Where", [over, reader.add("Sub", [x, _float(reader, bias)]), near], node.outputs)


def _hardmax(node: SourceNode, reader: Reader) -> None:
    """Read the first largest of an axis; before opset 13 of all axes from it on."""
    x, axis, rank = node.inputs[0], int(node.get("axis", -1 if node.opset >= 13 else 1)), 0
    rank = reader.rank(x) or 0
    last = axis in (-1, rank - 1)
    if not rank or (node.opset < 13 and not last):
        reader.miss("Hardmax of a value of unknown dims, or of several axes", node.name)
        return
    places = reader.add("ArgMax", [x], axis=axis, keepdims=1)
    at = axis % rank
    columns = along(reader, size_of(reader, x, at))
    if at < rank - 1:
        columns = reader.add("Unsqueeze", [columns, reader.ints(list(range(1, rank - at)))])
    on = reader.add("Equal", [places, columns])
    reader.add("CastLike", [on, x], node.outputs)


# normalizations ------------------------------------------------------------------------------
def _lrn(node: SourceNode, reader: Reader) -> None:
    """Read a local response normalization: the mean of squares over channels by a pool."""
    x, size = node.inputs[0], node.get("size")
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"node {node.name!r} (LRN) has the size {size}")
    square = reader.add("Reshape", [reader.add("Mul", [x, x]), reader.ints([0, 0, -1])])
    image = reader.add("Unsqueeze", [square, reader.ints(1)])
    pads = ((size - 1) // 2, 0, size - 1 - (size - 1) // 2, 0)
    mean = reader.add(
        "AveragePool", [image], kernel_shape=(size, 1), pads=pads, count_include_pad=1
    )
    mean = reader.add("Reshape", [mean, reader.add("Shape", [x])])
    scaled = reader.add("Mul", [mean, _float(reader, float(node.get("alpha", 1e-4)))])
    base = reader.add("Add", [scaled, _float(reader, float(node.get("bias", 1.0)))])
    root = reader.add("Pow", [base, _float(reader, float(node.get("beta", 0.75)))])
    reader.add("Div", [x, root], node.outputs)


def _lp_norm(node: SourceNode, reader: Reader) -> None:
    x, p = node.inputs[0], int(node.get("p", 2))
    if p not in (1, 2):
        raise ValueError(f"node {node.name!r} (LpNormalization) has p {p}")
    axis = reader.ints(int(node.get("axis", -1)))
    norm = reader.add(f"ReduceL{p}", [x, axis], keepdims=1)
    none = reader.add("Equal", [norm, _float(reader, 0)])
    norm = reader.add("Where", [none, _float(reader, 1), norm])
    reader.add("Div", [x, norm], node.outputs)


def _mean_variance(node: SourceNode, reader: Reader) -> None:
    x = node.inputs[0]
    axes = reader.ints(list(node.get("axes", (0, 2, 3))))
    centred = reader.add("Sub", [x, reader.add("ReduceMean", [x, axes], keepdims=1)])
    square = reader.add("Mul", [centred, centred])
    variance = reader.add("ReduceMean", [square, axes], keepdims=1)
    root = reader.add("Add", [reader.add("Sqrt", [variance]), _float(reader, 1e-9)])
    reader.add("Div", [centred, root], node.outputs)


OPS: dict[str, Op] = {
    "Celu": as_steps(_celu, (1, 1), 1, "alpha"),
    "EyeLike": as_steps(_eye, (1, 1), 1, "dtype", "k"),
    "GatherND": as_steps(_gather_nd, (2, 2), 1, "batch_dims"),
    "Hardmax": as_steps(_hardmax, (1, 1), 1, "axis"),
    "IsInf": as_steps(_is_inf, (1, 1), 1, "detect_negative", "detect_positive"),
    "IsNaN": as_steps(_is_nan, (1, 1)),
    "LRN": as_steps(_lrn, (1, 1), 1, "alpha", "beta", "bias", "size"),
    "LpNormalization": as_steps(_lp_norm, (1, 1), 1, "axis", "p"),
    "MeanVarianceNormalization": as_steps(_mean_variance, (1, 1), 1, "axes"),
    "Mish": as_steps(_mish, (1, 1)),
    "OneHot": as_steps(_one_hot, (3, 3), 1, "axis"),
    "Shrink": as_steps(_shrink, (1, 1), 1, "bias", "lambd"),
    "ThresholdedRelu": as_steps(_thresholded, (1, 1), 1, "alpha"),
    "Trilu": as_steps(_trilu, (1, 2), 1, "upper"),
    "com.microsoft::Trilu": as_steps(_trilu, (1, 2), 1, "upper"),
}  # fmt: skip
