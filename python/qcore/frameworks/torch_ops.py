"""ATen's ops, as torch.export gives them: how each is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["OPS"]

_LAST = 9223372036854775807


def _unary(op: str, **attributes: Any) -> Callable[..., None]:
    def read(r: Any, node: Any, x: Any, *rest: Any, **more: Any) -> None:
        r.add(op, [r.operand(x)], [node.name], **attributes)

    return read


def _binary(op: str, alpha: bool = False) -> Callable[..., None]:
    def read(r: Any, node: Any, x: Any, y: Any, **more: Any) -> None:
        if not hasattr(node.meta["val"], "dtype"):  # sizes: lists of one number here
            names = [r.ints([a]) if isinstance(a, int) else r.name_of(a) for a in (x, y)]
            r.add(op, names, [node.name])
            return
        like = next(a for a in (x, y) if hasattr(a, "meta"))
        names = [r.operand(x, like), r.operand(y, like)]
        factor = more.get("alpha", 1)
        if alpha and factor != 1:
            names[1] = r.add("Mul", [names[1], r.operand(factor, like)])
        if more.get("rounding_mode") is not None:
            r.miss(f"aten.{op.lower()} of rounding mode", node.name)
        r.add(op, names, [node.name])

    return read


def _convolution(
    r: Any, node: Any, x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, extra: Any, groups: int,
) -> None:  # fmt: skip
    dims = x.meta["val"].ndim - 2
    wide = [list(p) * dims if len(p) == 1 else list(p) for p in (stride, padding, dilation, extra)]
    names = [r.operand(x), r.operand(w), *([] if b is None else [r.operand(b)])]
    r.add(
        "ConvTranspose" if transposed else "Conv", names, [node.name], group=groups,
        strides=wide[0], pads=wide[1] * 2, dilations=wide[2],
        output_padding=wide[3] if transposed else None,
    )  # fmt: skip


def _batch_norm(
    r: Any, node: Any, x: Any, w: Any, b: Any, mean: Any, variance: Any, momentum: float,
    epsilon: float,
) -> None:  # fmt: skip
    size = mean.meta["val"].shape[0]
    gain = r.constant(np.ones(size, np.float32)) if w is None else r.operand(w)
    shift = r.constant(np.zeros(size, np.float32)) if b is None else r.operand(b)
    names = [r.operand(x), gain, shift, r.operand(mean), r.operand(variance)]
    r.add("BatchNormalization", names, [node.name], epsilon=epsilon)


def _layer_norm(r: Any, node: Any, x: Any, sizes: Any, w: Any, b: Any, epsilon: float) -> None:
    gain = r.constant(np.ones(sizes, np.float32)) if w is None else r.operand(w)
    names = [r.operand(x), gain, *([] if b is None else [r.operand(b)])]
    r.add("LayerNormalization", names, [node.name], axis=-len(sizes), epsilon=epsilon)


def _addmm(r: Any, node: Any, b: Any, x: Any, w: Any, beta: float = 1, alpha: float = 1) -> None:
    names = [r.operand(x), r.operand(w), r.operand(b)]
    r.add("Gemm", names, [node.name], alpha=float(alpha), beta=float(beta))


def _clamp(r: Any, node: Any, x: Any, low: Any = None, high: Any = None) -> None:
    limits = ["" if limit is None else r.operand(limit, x) for limit in (low, high)]
    r.add("Clip", [r.operand(x), *limits], [node.name])


def _view(r: Any, node: Any, x: Any, dims: Any) -> None:
    r.add("Reshape", [r.operand(x), r.shape(dims, unknown=True)], [node.name])


def _expand(r: Any, node: Any, x: Any, dims: Any, implicit: bool = False) -> None:
    before = x.meta["val"].shape
    ahead = len(dims) - len(before)
    same = []
    for place, dim in enumerate(dims):
        size = before[place - ahead] if place >= ahead else 1
        kept = isinstance(dim, int) and dim == -1
        same.append(1 if kept or not (isinstance(size, int) and size == 1) else dim)
    r.add("Expand", [r.operand(x), r.shape(same)], [node.name])


def _mean(op: str) -> Callable[..., None]:
    def read(r: Any, node: Any, x: Any, dims: Any = None, keep: bool = False, **more: Any) -> None:
        listed = [dims] if isinstance(dims, int) else dims
        names = [r.operand(x), *([r.ints(listed)] if listed else [])]
        r.add(op, names, [node.name], keepdims=int(keep))

    return read


def _cat(r: Any, node: Any, parts: Any, axis: int = 0) -> None:
    r.add("Concat", [r.operand(part) for part in parts], [node.name], axis=axis)


def _select(r: Any, node: Any, x: Any, axis: int, index: Any) -> None:
    r.add("Gather", [r.operand(x), r.constant(np.int64(index))], [node.name], axis=axis)


def _slice(
    r: Any, node: Any, x: Any, axis: int = 0, start: Any = None, stop: Any = None, step: int = 1
) -> None:
    if not start and stop in (None, _LAST) and step == 1:
        r.add("Identity", [r.operand(x)], [node.name])
        return
    places = [0 if start is None else start, _LAST if stop is None else stop]
    ends = [r.ints([p]) if isinstance(p, int) else r.name_of(p) for p in places]
    names = [r.operand(x), *ends, r.ints([axis]), r.ints([step])]
    r.add("Slice", names, [node.name])


def _permute(r: Any, node: Any, x: Any, order: Any) -> None:
    rank = len(order)
    r.add("Transpose", [r.operand(x)], [node.name], perm=[axis % rank for axis in order])


def _unsqueeze(r: Any, node: Any, x: Any, axis: int) -> None:
    r.add("Unsqueeze", [r.operand(x), r.ints([axis])], [node.name])


def _squeeze(r: Any, node: Any, x: Any, axes: Any) -> None:
    listed = [axes] if isinstance(axes, int) else list(axes)
    shape = x.meta["val"].shape
    ones = [a for a in listed if isinstance(shape[a], int) and shape[a] == 1]
    op, names = ("Squeeze", [r.operand(x), r.ints(ones)]) if ones else ("Identity", [r.operand(x)])
    r.add(op, names, [node.name])


def _softmax(op: str) -> Callable[..., None]:
    def read(r: Any, node: Any, x: Any, axis: int, half: bool = False) -> None:
        r.add(op, [r.operand(x)], [node.name], axis=axis)

    return read


def _max_pool(
    r: Any, node: Any, x: Any, kernel: Any, stride: Any = (), padding: Any = (0,),
    dilation: Any = (1,), ceil: bool = False,
) -> None:  # fmt: skip
    k, s, p, d = (_pair(v) for v in (kernel, stride or kernel, padding, dilation))
    r.add(
        "MaxPool", [r.operand(x)], [node.name], kernel_shape=k, strides=s, pads=p * 2,
        dilations=d, ceil_mode=int(ceil),
    )  # fmt: skip


def _average_pool(
    r: Any, node: Any, x: Any, kernel: Any, stride: Any = (), padding: Any = (0,),
    ceil: bool = False, include: bool = True, divisor: Any = None,
) -> None:  # fmt: skip
    if divisor is not None:
        r.miss("aten.avg_pool2d of a divisor", node.name)
    k, s, p = (_pair(v) for v in (kernel, stride or kernel, padding))
    r.add(
        "AveragePool", [r.operand(x)], [node.name], kernel_shape=k, strides=s, pads=p * 2,
        ceil_mode=int(ceil), count_include_pad=int(include),
    )  # fmt: skip


def _pair(value: Any) -> list[int]:
    listed = [value] if isinstance(value, int) else list(value)
    return listed * 2 if len(listed) == 1 else listed


def _adaptive(r: Any, node: Any, x: Any, sizes: Any) -> None:
    if list(sizes) != [1, 1]:
        r.miss(f"aten.adaptive_avg_pool2d to {list(sizes)}", node.name)
    r.add("GlobalAveragePool", [r.operand(x)], [node.name])


def _gelu(r: Any, node: Any, x: Any, approximate: str = "none") -> None:
    r.add("Gelu", [r.operand(x)], [node.name], approximate=approximate)


def _leaky(r: Any, node: Any, x: Any, slope: float = 0.01) -> None:
    r.add("LeakyRelu", [r.operand(x)], [node.name], alpha=float(slope))


def _elu(r: Any, node: Any, x: Any, alpha: float = 1.0, scale: float = 1, inner: float = 1) -> None:
    if scale != 1 or inner != 1:
        r.miss("aten.elu of scales", node.name)
    r.add("Elu", [r.operand(x)], [node.name], alpha=float(alpha))


def _pad(r: Any, node: Any, x: Any, sizes: Any, value: float = 0.0) -> None:
    rank = x.meta["val"].ndim
    pairs = [(sizes[i], sizes[i + 1]) for i in range(0, len(sizes), 2)]
    whole = [(0, 0)] * (rank - len(pairs)) + pairs[::-1]
    pads = [low for low, _ in whole] + [high for _, high in whole]
    r.add("Pad", [r.operand(x), r.ints(pads), r.operand(value, x)], [node.name])


def _embedding(r: Any, node: Any, table: Any, index: Any, *rest: Any) -> None:
    r.add("Gather", [r.operand(table), r.operand(index)], [node.name], axis=0)


def _size(r: Any, node: Any, x: Any, axis: int) -> None:
    end = axis + 1 if axis != -1 else None
    r.add("Shape", [r.operand(x)], [node.name], start=axis, end=end)


def _full_like(r: Any, node: Any, x: Any, value: Any, **more: Any) -> None:
    shape = r.add("Shape", [r.operand(x)])
    filled = np.asarray([value], r.dtype_of(node))
    r.add("ConstantOfShape", [shape], [node.name], value=filled)


def _full(r: Any, node: Any, dims: Any, value: Any, **more: Any) -> None:
    filled = np.asarray([value], r.dtype_of(node))
    r.add("ConstantOfShape", [r.shape(dims)], [node.name], value=filled)


def _where(r: Any, node: Any, condition: Any, x: Any, y: Any) -> None:
    names = [r.operand(condition), r.operand(x, node), r.operand(y, node)]
    r.add("Where", names, [node.name])


def _any(r: Any, node: Any, x: Any, axis: int, keep: bool = False) -> None:
    number = r.add("Cast", [r.operand(x)], to=6)
    most = r.add("ReduceMax", [number, r.ints([axis])], keepdims=int(keep))
    r.add("Cast", [most], [node.name], to=9)


_CAST = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}


def _to(r: Any, node: Any, x: Any, *rest: Any, **more: Any) -> None:
    r.add("Cast", [r.operand(x)], [node.name], to=_CAST[r.dtype_of(node)])


def _split(r: Any, node: Any, x: Any, sizes: Any, axis: int = 0) -> None:
    names = [f"{node.name}:{place}" for place in range(len(sizes))]
    r.parts |= {(node.name, place): name for place, name in enumerate(names)}
    r.add("Split", [r.operand(x), r.shape(sizes)], names, axis=axis)


OPS: dict[str, Callable[..., None]] = {
    "_adaptive_avg_pool2d": _adaptive, "_log_softmax": _softmax("LogSoftmax"),
    "_native_batch_norm_legit_no_training": _batch_norm, "_softmax": _softmax("Softmax"),
    "_to_copy": _to, "abs": _unary("Abs"), "add": _binary("Add", alpha=True), "addmm": _addmm,
    "alias": _unary("Identity"), "amax": _mean("ReduceMax"), "amin": _mean("ReduceMin"),
    "any": _any, "avg_pool2d": _average_pool, "bmm": _binary("MatMul"), "cat": _cat,
    "clamp": _clamp, "clone": _unary("Identity"), "constant_pad_nd": _pad,
    "convolution": _convolution, "detach": _unary("Identity"), "div": _binary("Div"),
    "elu": _elu, "embedding": _embedding, "eq": _binary("Equal"), "erf": _unary("Erf"),
    "exp": _unary("Exp"), "expand": _expand, "full": _full, "full_like": _full_like,
    "ge": _binary("GreaterOrEqual"), "gelu": _gelu, "gt": _binary("Greater"),
    "hardtanh": _clamp, "le": _binary("LessOrEqual"), "leaky_relu": _leaky,
    "log": _unary("Log"), "logical_not": _unary("Not"), "lt": _binary("Less"),
    "max_pool2d_with_indices": _max_pool, "maximum": _binary("Max"), "mean": _mean("ReduceMean"),
    "minimum": _binary("Min"), "mm": _binary("MatMul"), "mul": _binary("Mul"),
    "native_layer_norm": _layer_norm, "neg": _unary("Neg"), "permute": _permute,
    "pow": _binary("Pow"), "reciprocal": _unary("Reciprocal"), "relu": _unary("Relu"),
    "select": _select, "sigmoid": _unary("Sigmoid"), "slice": _slice,
    "split_with_sizes": _split, "sqrt": _unary("Sqrt"), "squeeze": _squeeze,
    "sub": _binary("Sub", alpha=True), "sum": _mean("ReduceSum"), "sym_size": _size,
    "tanh": _unary("Tanh"), "unsqueeze": _unsqueeze, "view": _view, "where": _where,
}  # fmt: skip
