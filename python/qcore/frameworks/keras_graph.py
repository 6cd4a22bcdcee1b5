"""Keras' functional models as graphs: residuals, branches and layers that are used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qcore.errors import UnsupportedError
from qcore.graph.building.check import checked
from qcore.graph.building.images import ImageEmitter
from qcore.graph.passes import prepared
from qcore.graph.value import Value
from qcore.nn.graph import Graph

__all__ = ["functional_graph", "is_functional"]

_NEAR = 1e-4
_PASSED = (
    "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout1D",
    "SpatialDropout2D",
)  # fmt: skip
# What an activation of Keras is here.
_FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "elu": ("Elu", {}), "exponential": ("Exp", {}), "gelu": ("Gelu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_silu": ("HardSwish", {}), "hard_swish": ("HardSwish", {}), "relu": ("Relu", {}),
    "selu": ("Selu", {}), "sigmoid": ("Sigmoid", {}), "silu": ("Silu", {}),
    "softplus": ("Softplus", {}), "softsign": ("Softsign", {}), "swish": ("Silu", {}),
    "tanh": ("Tanh", {}),
}  # fmt: skip
_SUMS = {"Add": "Add", "Maximum": "Max", "Minimum": "Min", "Multiply": "Mul", "Subtract": "Sub"}


def is_functional(model: Any) -> bool:
    """Whether a model says which layer is fed by which."""
    functional = getattr(model, "_functional", None) or model
    return hasattr(functional, "_nodes_by_depth")


def functional_graph(model: Any) -> Graph:
    """Return a functional model as a graph, compared with it once on random samples.

    Raises
    ------
    ValueError
        If the outputs differ.
    UnsupportedError
        If it has layers that there are not: lists each.
    """
    functional = getattr(model, "_functional", None) or model
    graph = checked(prepared(_Reader(functional).graph()))
    _compare(model, graph)
    return graph


def _compare(model: Any, graph: Graph) -> None:
    rng = np.random.default_rng(0)
    rows = [
        rng.standard_normal([4 if not isinstance(dim, int) else dim for dim in value.shape or ()])
        for value in graph.inputs
    ]
    given = [array.astype(np.float32) for array in rows]
    wanted = model.predict_on_batch(given if len(given) > 1 else given[0])
    found = graph.run({value.name: x for value, x in zip(graph.inputs, given, strict=True)})
    outputs = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
    for value, output in zip(graph.outputs, outputs, strict=True):
        two = np.asarray(output, np.float64)
        gap = float(np.abs(found[value.name] - two).max(initial=0.0))
        if not gap <= _NEAR * max(float(np.abs(two).max(initial=0.0)), 1e-6):
            raise ValueError(f"the graph gives other outputs than the model: {gap:.3g} apart")


class _Reader(ImageEmitter):
    """Takes the calls of layers, one by one."""

    def __init__(self, functional: Any) -> None:
        super().__init__()
        self.functional = functional
        self.missing: dict[str, tuple[int, str]] = {}
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def graph(self) -> Graph:
        """Return the graph."""
        known: dict[int, str] = {}
        inputs = []
        for tensor in self.functional.inputs:
            name = self.fresh(str(tensor.name))
            known[id(tensor)] = name
            self.shapes[name] = tuple(tensor.shape)
            inputs.append(Value(name, str(tensor.dtype), _named(tensor.shape)))
        self.walk(self.functional, known)
        outputs = []
        for tensor in self.functional.outputs:
            if self.missing:
                break
            outputs.append(Value(self.last(known[id(tensor)]), "float32", _named(tensor.shape)))
        if self.missing:
            raise UnsupportedError.of((op, n, first) for op, (n, first) in self.missing.items())
        return Graph(self.nodes, inputs=inputs, outputs=outputs, constants=self.constants)

    def walk(self, functional: Any, known: dict[int, str]) -> None:
        """Take the nodes of a model, or of one inside it."""
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for node in functional._nodes_by_depth[depth]:
                if not node.is_input and node.operation is not None:
                    self._take(node, known)

    def _take(self, node: Any, known: dict[int, str]) -> None:
        layer = node.operation
        if any(id(tensor) not in known for tensor in node.input_tensors):
            return  # behind something that is missing, which was noted
        names = [known[id(tensor)] for tensor in node.input_tensors]
        if hasattr(layer, "_nodes_by_depth") or getattr(layer, "_functional", None) is not None:
            inner = getattr(layer, "_functional", None) or layer
            inside = {id(t): n for t, n in zip(inner.inputs, names, strict=True)}
            self.walk(inner, inside)
            for outer, tensor in zip(node.outputs, inner.outputs, strict=True):
                if id(tensor) in inside:
                    known[id(outer)] = inside[id(tensor)]
            return
        self.place = layer
        kind = type(layer).__name__
        read = _LAYERS.get(kind)
        if read is None or len(node.outputs) != 1:
            self.miss(kind, str(layer.name))
            return
        made = self.fresh(f"{layer.name}:output")
        self.shapes[made] = tuple(node.outputs[0].shape)
        known[id(node.outputs[0])] = made
        read(self, layer, names, made)

    def miss(self, op: str, where: str) -> None:
        """Note that there is no such layer."""
        count, first = self.missing.get(op, (0, where))
        self.missing[op] = (count + 1, first)

    # pieces ------------------------------------------------------------------------------------
    def finish(self, made: str, value: str, first: bool, function: Any = None) -> None:
        """Give a value its name, behind an activation."""
        name = getattr(function, "__name__", "linear") if function is not None else "linear"
        if name == "softmax":
            value = self.add("Softmax", [value], axis=1 if first else -1)
        elif name in ("relu6", "leaky_relu"):
            limits = [self.constant(np.float32(limit)) for limit in (0, 6)]
            value = (
                self.add("Clip", [value, *limits])
                if name == "relu6"
                else self.add("LeakyRelu", [value], alpha=0.2)
            )
        elif name in _FUNCTIONS:
            op, attributes = _FUNCTIONS[name]
            value = self.add(op, [value], **attributes)
        elif name != "linear":
            self.miss(f"activation {name}", str(self.place.name))
        if first:
            self.made_first(made, value)
        else:
            self.add("Identity", [value], [made])

    def each(self, name: str, op: str, made: str, *more: str, **attributes: Any) -> None:
        """Apply an op to every element, in the layout in which a value is there."""
        first = self.has_first(name)
        x = self.first(name) if first else name
        self.finish(made, self.add(op, [x, *more], **attributes), first)


def _named(shape: Any) -> tuple[Any, ...]:
    return tuple("batch" if d is None and axis == 0 else d for axis, d in enumerate(shape))


def _array(variable: Any) -> Any:
    value = variable.value if hasattr(variable, "value") else variable
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _dense(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    mode = getattr(layer, "quantization_mode", None)
    if mode is not None:
        r.miss(f"Dense whose weights Keras quantized ({mode})", str(layer.name))
        return
    value = r.add("MatMul", [r.last(names[0]), r.constant(_array(layer.kernel))])
    if layer.use_bias:
        value = r.add("Add", [value, r.constant(_array(layer.bias))])
    r.finish(made, value, False, layer.activation)


def _is_plain(r: _Reader, layer: Any) -> bool:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        r.miss(f"{type(layer).__name__} of channels first", str(layer.name))
        return False
    return True


def _conv(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    if not _is_plain(r, layer):
        return
    weight = _array(layer.kernel)
    groups = int(getattr(layer, "groups", 1))
    if type(layer).__name__ == "DepthwiseConv2D":
        groups = weight.shape[2]
        weight = weight.reshape(*weight.shape[:2], 1, -1)
    inputs = [r.first(names[0]), r.constant(np.ascontiguousarray(weight.transpose(3, 2, 0, 1)))]
    if layer.use_bias:
        inputs.append(r.constant(_array(layer.bias)))
    pads = {"same": "SAME_UPPER", "valid": "VALID"}
    value = r.add(
        "Conv", inputs, group=groups, auto_pad=pads[layer.padding],
        strides=tuple(layer.strides), dilations=tuple(layer.dilation_rate),
    )  # fmt: skip
    r.finish(made, value, True, layer.activation)


def _batch_norm(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    rank = len(r.shapes[names[0]])
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    if axis % rank != rank - 1:
        r.miss(f"BatchNormalization over axis {axis}", str(layer.name))
        return
    factor = 1.0 / np.sqrt(_array(layer.moving_variance).astype(np.float64) + layer.epsilon)
    factor = factor * _array(layer.gamma) if layer.scale else factor
    shift = -_array(layer.moving_mean) * factor
    shift = shift + _array(layer.beta) if layer.center else shift
    _affine(r, names[0], made, factor, shift)


def _affine(r: _Reader, name: str, made: str, factor: Any, shift: Any) -> None:
    first = r.has_first(name)
    dims = (-1, 1, 1) if first and np.size(factor) > 1 else np.shape(factor)
    x = r.first(name) if first else name
    scaled = r.add("Mul", [x, r.constant(np.reshape(factor, dims).astype(np.float32))])
    moved = r.constant(np.reshape(np.broadcast_to(shift, np.shape(factor)), dims).astype("f4"))
    r.finish(made, r.add("Add", [scaled, moved]), first)


def _rescaling(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    _affine(r, names[0], made, scale + 0 * offset, offset + 0 * scale)


def _layer_norm(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    rank = len(r.shapes[names[0]])
    axes = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if [axis % rank for axis in axes] != [rank - 1]:
        r.miss(f"LayerNormalization over {axes}", str(layer.name))
        return
    size = int(r.shapes[names[0]][-1])
    gain = _array(layer.gamma) if layer.scale else np.ones(size, np.float32)
    inputs = [r.last(names[0]), r.constant(gain)]
    if layer.center:
        inputs.append(r.constant(_array(layer.beta)))
    value = r.add("LayerNormalization", inputs, axis=-1, epsilon=float(layer.epsilon))
    r.finish(made, value, False)


def _activation(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    first = r.has_first(names[0])
    r.finish(made, r.first(names[0]) if first else names[0], first, layer.activation)


def _relu(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    if layer.negative_slope or layer.threshold:
        r.miss("ReLU of a slope or a threshold", str(layer.name))
        return
    if layer.max_value is None:
        r.each(names[0], "Relu", made)
        return
    limits = [r.constant(np.float32(limit)) for limit in (0, layer.max_value)]
    r.each(names[0], "Clip", made, *limits)


def _leaky(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    r.each(names[0], "LeakyRelu", made, alpha=float(layer.negative_slope))


def _softmax(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    r.finish(made, r.add("Softmax", [r.last(names[0])], axis=int(layer.axis)), False)


def _sum(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    op = _SUMS[type(layer).__name__]
    if len(names) < 2:
        r.miss(f"{type(layer).__name__} with a number", str(layer.name))
        return
    ranks = {len(r.shapes[name]) for name in names}
    first = ranks == {4} and any(map(r.has_first, names))
    values = [r.first(name) if first else r.last(name) for name in names]
    total = values[0]
    for value in values[1:]:
        total = r.add(op, [total, value])
    r.finish(made, total, first)


def _concat(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    rank = len(r.shapes[made])
    axis = int(layer.axis) % rank
    first = rank == 4 and any(map(r.has_first, names))
    values = [r.first(name) if first else r.last(name) for name in names]
    r.finish(made, r.add("Concat", values, axis=(0, 2, 3, 1)[axis] if first else axis), first)


def _pool(op: str) -> Callable[..., None]:
    def read(r: _Reader, layer: Any, names: list[str], made: str) -> None:
        if _is_plain(r, layer):
            pads = {"same": "SAME_UPPER", "valid": "VALID"}
            value = r.add(
                op, [r.first(names[0])], kernel_shape=tuple(layer.pool_size),
                strides=tuple(layer.strides), auto_pad=pads[layer.padding],
            )  # fmt: skip
            r.finish(made, value, True)

    return read


def _global(op: str) -> Callable[..., None]:
    def read(r: _Reader, layer: Any, names: list[str], made: str) -> None:
        if _is_plain(r, layer):
            axes = [r.first(names[0]), r.ints([2, 3])]
            value = r.add(op, axes, keepdims=int(layer.keepdims))
            r.finish(made, value, bool(layer.keepdims))

    return read


def _flatten(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    r.finish(made, r.add("Flatten", [r.last(names[0])], axis=1), False)


def _reshape(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    dims = [-1, *(int(dim) for dim in r.shapes[made][1:])]
    r.finish(made, r.add("Reshape", [r.last(names[0]), r.ints(dims)]), False)


def _permute(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    r.finish(made, r.add("Transpose", [r.last(names[0])], perm=(0, *layer.dims)), False)


def _pad(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    if _is_plain(r, layer):
        (top, bottom), (left, right) = layer.padding
        sizes = r.ints([0, 0, top, left, 0, 0, bottom, right])
        r.finish(made, r.add("Pad", [r.first(names[0]), sizes]), True)


def _pass(r: _Reader, layer: Any, names: list[str], made: str) -> None:
    r.each(names[0], "Identity", made)


_LAYERS: dict[str, Callable[..., None]] = {
    "Activation": _activation, "AveragePooling2D": _pool("AveragePool"),
    "BatchNormalization": _batch_norm, "Concatenate": _concat, "Conv2D": _conv, "Dense": _dense,
    "DepthwiseConv2D": _conv, "Flatten": _flatten,
    "GlobalAveragePooling2D": _global("ReduceMean"),
    "GlobalMaxPooling2D": _global("ReduceMax"), "LayerNormalization": _layer_norm,
    "LeakyReLU": _leaky, "MaxPooling2D": _pool("MaxPool"), "Permute": _permute, "ReLU": _relu,
    "Rescaling": _rescaling, "Reshape": _reshape, "Softmax": _softmax, "ZeroPadding2D": _pad,
    **dict.fromkeys(_SUMS, _sum), **dict.fromkeys(_PASSED, _pass),
}  # fmt: skip
