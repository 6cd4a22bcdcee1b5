"""How an op is read from ONNX and written to it: one line of the table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from numpy.typing import ArrayLike, NDArray

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.graph.building.emitter import Emitter
from qcore.graph.graph import BaseGraph
from qcore.graph.node import Body, Node
from qcore.graph.value import Value

__all__ = [
    "Op", "Reader", "Writer", "as_steps", "check_counts", "same", "unwritten", "write_plain",
]  # fmt: skip


class Reader(Emitter):
    """What an op is read with: adds nodes, and knows the rest of the model."""

    @abstractmethod
    def array_of(self, tensor: Any, where: str) -> NDArray[Any] | None:
        """Return a TensorProto as an array; None where its type is missing, which is noted."""

    @abstractmethod
    def body(self, proto: Any) -> Body:
        """Return a branch."""

    @abstractmethod
    def dtype(self, kind: int, node: SourceNode) -> int:
        """Return ONNX's number of the type that runs for one that the model names."""

    @abstractmethod
    def miss(self, op: str, where: str) -> None:
        """Note that there is no such op."""

    def rank(self, name: str) -> int | None:
        """Return how many dims a value has, where inference knows it."""
        value = self.value(name)
        return None if value is None else value.ndim

    @abstractmethod
    def value(self, name: str) -> Value | None:
        """Return a value with its type and shape, as far as inference knows them."""


class Writer(Protocol):
    """What an op is written with."""

    graph: BaseGraph

    def add(
        self, op: str, inputs: Iterable[str], outputs: Iterable[str] | None = None, /,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """Add a node of ONNX; return its first output, which is new where none is given."""

    def constant(self, value: ArrayLike) -> str:
        """Add a constant under a new name; return it."""


Read: TypeAlias = Callable[[SourceNode, Reader], None]
Write: TypeAlias = Callable[[Node, Writer], None]


@dataclass(frozen=True)
class Op:
    """An op of ONNX.

    Attributes
    ----------
    read : callable
        Adds the nodes that do in opset 21 what a node does.
    write : callable
        Adds the ONNX nodes for a node.
    inputs : (int, int or None)
        How many inputs there may be.
    outputs : int or None
        How many outputs there may be at most.
    attributes : frozenset of str or None
        The attributes that there may be; None where `read` looks after them.
    """

    read: Read
    write: Write
    inputs: tuple[int, int | None]
    outputs: int | None = 1
    attributes: frozenset[str] | None = None

    def take(self, node: SourceNode, reader: Reader) -> None:
        """Check a node and read it."""
        check_counts(node, self)
        self.read(node, reader)


def check_counts(node: SourceNode, op: Op) -> None:
    """Refuse a node with too many or too few inputs or outputs, or attributes that it cannot have.

    Raises
    ------
    ValueError
        Names the node.
    """
    low, high = op.inputs
    count = len(node.inputs)
    if count < low or (high is not None and count > high):
        raise ValueError(f"node {node.name!r} ({node.op}) has {count} inputs")
    # Of any number of inputs, as of Concat's, none is optional; a Loop looks after its own.
    needed = count if high is None and low else low
    if "" in node.inputs[:needed]:
        absent = node.inputs.index("")
        raise ValueError(
            f"node {node.name!r} ({node.op}) leaves out input {absent}, which it needs"
        )
    if not any(node.outputs) or (op.outputs is not None and len(node.outputs) > op.outputs):
        raise ValueError(f"node {node.name!r} ({node.op}) has {len(node.outputs)} outputs")
    if op.attributes is not None:
        for name in node.attributes:
            if name not in op.attributes:
                raise ValueError(f"node {node.name!r} ({node.op}) has the attribute {name!r}")


def same(*attributes: str, inputs: int | tuple[int, int | None] = 1, outputs: int | None = 1) -> Op:
    """Return the op that is the same in every opset that is read, and in qcore."""
    counts = (inputs, inputs) if isinstance(inputs, int) else inputs
    return Op(_read_same, write_plain, counts, outputs, frozenset(attributes))


def _read_same(node: SourceNode, reader: Reader) -> None:
    reader.add(node.op, node.inputs, node.outputs, **node.attributes)


def as_steps(
    read: Read, inputs: tuple[int, int | None], outputs: int | None = 1, *attributes: str
) -> Op:
    """Return an op that is read as nodes of other ops."""
    return Op(read, unwritten, inputs, outputs, frozenset(attributes))


def unwritten(node: Node, writer: Writer) -> None:
    """Write a node of an op that is read as others: no graph has one."""
    raise NotImplementedError(f"{node.op} is read as its steps, never written")


def write_plain(node: Node, writer: Writer) -> None:
    """Write a node that is one of ONNX as it is."""
    writer.add(node.op, node.inputs, node.outputs, **node.attributes)
