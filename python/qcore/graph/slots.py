"""Weight slots: any weight of a graph as a matrix (out, in), whatever its op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.lowering.lower import dense
from qcore.graph.node import Node

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["WeightSlot", "layout_nodes", "slots_of"]


class _View(NamedTuple):
    """How a weight lies as a matrix: its axes by groups, and their order in the matrix."""

    split: tuple[int, ...]  # the weight's shape, with axes that groups share split in two
    order: tuple[int, ...]  # the axes of `split` as the matrix has them
    out_axes: int  # how many of these are outputs


@dataclass(frozen=True, eq=False)
class WeightSlot:
    """A weight at its place in a node.

    Attributes
    ----------
    node : Node
    index : int
        Which input of the node it is.
    weight : array, QTensor or sparse matrix
        As it is stored.
    bias : str
        The name of the constant that is added to the outputs, "" where there is none.
    name : str
        The name of the constant. It is the input of the node, or the matrix itself, which nodes
        before lay out for it: so lie codes that no layout of the op has, such as groups of inputs
        where these are not its last axis.
    """

    node: Node
    index: int
    weight: Any
    bias: str
    name: str
    _view: _View

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix."""
        sizes = [self._view.split[axis] for axis in self._view.order]
        out = int(np.prod(sizes[: self._view.out_axes], dtype=np.int64))
        return out, int(np.prod(sizes[self._view.out_axes :], dtype=np.int64))

    def matrix(self) -> NDArray[np.float32]:
        """Return the weight as (out, in) float32: a view where its layout allows it.

        A convolution's is (out, kh·kw·in/groups), the channels of a tap next to each other.

        Examples
        --------
        >>> import numpy as np, qcore as qc
        >>> from qcore.graph.node import Node
        >>> from qcore.graph.value import Value
        >>> net = qc.Graph(
        ...     [Node("conv", "Conv", ("x", "w"), ("y",))],
        ...     inputs=[Value("x", "float32", (1, 3, 8, 8))], outputs=[Value("y", "float32")],
        ...     constants={"w": np.zeros((4, 3, 2, 2), np.float32)},
        ... )
        >>> net.slots[0].matrix().shape
        (4, 12)
        """
        array = np.asarray(dense(self.weight), np.float32)
        found: NDArray[np.float32] = array.reshape(self._view.split).transpose(self._view.order)
        return found.reshape(self.shape)

    def weight_of(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return a matrix (out, in) in the layout of the weight."""
        if matrix.shape != self.shape:
            raise ValueError(f"matrix has shape {matrix.shape}; {self.name} is {self.shape}")
        sizes = [self._view.split[axis] for axis in self._view.order]
        back = np.argsort(self._view.order)
        weight = matrix.reshape(sizes).transpose(back).reshape(self.weight.shape)
        return np.ascontiguousarray(weight)

    @property
    def is_matrix(self) -> bool:
        """Whether the matrix is the weight as it lies, its last axis the inputs."""
        split, order, out_axes = self._view
        as_it_lies = order == tuple(range(len(split))) and out_axes == len(split) - 1
        return as_it_lies and len(split) == len(self.weight.shape)

    @property
    def out_axis(self) -> int | None:
        """The axis of the weight along which its outputs lie; None where it is not one axis."""
        split, order, out_axes = self._view
        axes = [axis for axis in order[:out_axes] if split[axis] > 1]
        axes = axes or [order[out_axes - 1]]
        shared = len(split) - len(self.weight.shape)  # 1 where groups share the first axis
        if len(axes) > 1 or (shared and split[0] > 1):
            return None
        return max(0, axes[0] - shared)

    @property
    def in_axis(self) -> int:
        """The axis of the weight along which the channels of its inputs lie."""
        axis = self._view.order[-1]
        return max(0, axis - (len(self._view.split) - len(self.weight.shape)))

    def __repr__(self) -> str:
        out, inner = self.shape
        return f"WeightSlot({self.name!r} of {self.node.name!r}: {out} x {inner})"


def _conv(node: Node, shape: tuple[int, ...]) -> _View | None:
    if len(shape) < 3:
        return None
    axes = tuple(range(len(shape)))
    return _View(shape, (0, *axes[2:], 1), 1)


def _conv_transpose(node: Node, shape: tuple[int, ...]) -> _View | None:
    groups = int(node.get("group", 1))
    if len(shape) < 3 or groups < 1 or shape[0] % groups:
        return None
    split = (groups, shape[0] // groups, *shape[1:])
    taps = tuple(range(3, len(split)))
    return _View(split, (0, 2, *taps, 1), 2)


def _gemm(node: Node, shape: tuple[int, ...]) -> _View | None:
    if len(shape) != 2:
        return None
    return _View(shape, (0, 1) if node.get("transB", 0) else (1, 0), 1)


def _matmul(node: Node, shape: tuple[int, ...]) -> _View | None:
    return _View(shape, (1, 0), 1) if len(shape) == 2 else None


def _rows(node: Node, shape: tuple[int, ...]) -> _View | None:
    return _View(shape, (0, 1), 1) if len(shape) == 2 else None


def _gates(node: Node, shape: tuple[int, ...]) -> _View | None:
    return _View(shape, (0, 1, 2), 2) if len(shape) == 3 else None


_ViewOf = Callable[[Node, tuple[int, ...]], "_View | None"]

# Which inputs of an op are weights, how each is a matrix, and which input is the bias of it.
_SLOTS: dict[str, tuple[tuple[int, _ViewOf, int | None], ...]] = {
    "Conv": ((1, _conv, 2),),
    "ConvTranspose": ((1, _conv_transpose, 2),),
    "GRU": ((1, _gates, None), (2, _gates, None)),
    "Gather": ((0, _rows, None),),
    "Gemm": ((1, _gemm, 2),),
    "LSTM": ((1, _gates, None), (2, _gates, None)),
    "MatMul": ((1, _matmul, 2),),
}


def slots_of(graph: BaseGraph) -> tuple[WeightSlot, ...]:
    """Return the weight slots of a graph, in the order of its nodes."""
    found = []
    for node in graph.nodes:
        for index, view_of, bias_index in _SLOTS.get(node.op, ()):
            name = node.input(index)
            weight = graph.constants.get(name)
            if weight is None:
                name, view = _laid_out(graph, node, name, view_of)
                weight = graph.constants.get(name)
            elif not _is_integer(weight):
                view = view_of(node, tuple(weight.shape))
            else:
                continue
            if weight is not None and view is not None:
                bias = node.input(bias_index) if bias_index is not None else ""
                bias = bias if bias in graph.constants else ""
                found.append(WeightSlot(node, index, weight, bias, name, view))
    return tuple(found)


def _laid_out(
    graph: BaseGraph,
    node: Node,
    name: str,
    view_of: Callable[[Node, tuple[int, ...]], _View | None],
) -> tuple[str, _View | None]:
    """Return the matrix of codes that Reshape and Transpose make the weight `name` of."""
    steps: list[Node] = []
    while name not in graph.constants:
        maker = graph.producers.get(name)
        if maker is None or maker.op not in ("Reshape", "Transpose"):
            return "", None
        steps.append(maker)
        name = maker.inputs[0]
    matrix = graph.constants[name]
    if not isinstance(matrix, QTensor) or matrix.ndim != 2:
        return "", None
    places = np.arange(matrix.size).reshape(matrix.shape)
    laid = places
    for step in reversed(steps):
        if step.op == "Transpose":
            laid = laid.transpose(step.get("perm"))
        elif step.input(1) in graph.constants:
            laid = laid.reshape(tuple(np.asarray(graph.constants[step.inputs[1]]).tolist()))
        else:
            return "", None
    view = view_of(node, laid.shape)
    if view is None:
        return "", None
    found = WeightSlot(node, 0, laid, "", name, view)
    back = laid.reshape(view.split).transpose(view.order).reshape(found.shape)
    if not np.array_equal(back, places):
        return "", None
    return name, _View(matrix.shape, (0, 1), 1)


def layout_nodes(slot: WeightSlot, name: str) -> tuple[list[Node], dict[str, NDArray[np.int64]]]:
    """Return nodes that lay a matrix, the constant `name`, out as the weight of a slot.

    And the constants that these need. The last node gives what the slot's node is to read.
    """
    split, order, _ = slot._view
    back = tuple(int(axis) for axis in np.argsort(order))
    nodes: list[Node] = []
    shapes: dict[str, NDArray[np.int64]] = {}

    def add(op: str, attributes: Mapping[str, Any], shape: tuple[int, ...] | None = None) -> None:
        source = nodes[-1].outputs[0] if nodes else name
        made = f"{name}.{op.lower()}{len(nodes)}"
        inputs: tuple[str, ...] = (source,)
        if shape is not None:
            shapes[f"{made}.shape"] = np.array(shape, np.int64)
            inputs += (f"{made}.shape",)
        nodes.append(Node(made, op, inputs, (made,), attributes))

    sizes = tuple(split[axis] for axis in order)
    if sizes != slot.shape:
        add("Reshape", {}, sizes)
    if back != tuple(range(len(back))):
        add("Transpose", {"perm": list(back)})
    if split != tuple(slot.weight.shape):
        add("Reshape", {}, tuple(slot.weight.shape))
    return nodes, shapes


def _is_integer(weight: Any) -> bool:
    return isinstance(weight, np.ndarray) and weight.dtype.kind != "f"
