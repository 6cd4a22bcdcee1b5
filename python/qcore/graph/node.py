"""A node of a graph: an op, what it reads and makes, its attributes and its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["Body", "Node", "check_attribute"]

_SCALARS = (bool, int, float, str)


@dataclass(frozen=True, eq=False)
class Node:
    """An op at its place.

    Attributes
    ----------
    name : str
    op : str
        As ONNX calls it; it means what opset 21 says.
    inputs, outputs : tuple of str
        Names of values; "" where an optional one is absent.
    attributes : mapping of str to bool, int, float, str, ndarray, Body or lists of scalars
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names in (self.inputs, self.outputs):
            if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
                raise TypeError(f"inputs and outputs are {names!r}; they must be texts in a tuple")
        if not isinstance(self.attributes, Mapping):
            raise TypeError(f"attributes is {self.attributes!r}; it must be a mapping")
        for text in (self.name, self.op, *self.inputs, *self.outputs):
            if not isinstance(text, str):
                raise TypeError(f"a node's names are {text!r}; they must be str")
        if not self.op or not any(self.outputs):
            raise ValueError(f"node {self.name!r} has no op or makes nothing")
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        checked = {
            key: check_attribute(value, self.name, key) for key, value in self.attributes.items()
        }
        object.__setattr__(self, "attributes", MappingProxyType(checked))

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what it is when absent."""
        return self.attributes.get(name, default)

    def input(self, index: int) -> str:
        """Return the name of an input; "" where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def changed(self, **changes: Any) -> Node:
        """Return the node with some of its attributes of this class changed."""
        return replace(self, **changes)

    @property
    def read(self) -> tuple[str, ...]:
        """Every value that it needs, those that its branches read from outside among them."""
        found = dict.fromkeys(name for name in self.inputs if name)
        for value in self.attributes.values():
            if isinstance(value, Body):
                found |= dict.fromkeys(value.captured)
        return tuple(found)

    @property
    def inner_bytes(self) -> int:
        """Bytes of the constants of its branches."""
        return sum(value.nbytes for value in self.attributes.values() if isinstance(value, Body))

    def __reduce__(self) -> tuple[Any, ...]:
        return Node, (self.name, self.op, self.inputs, self.outputs, dict(self.attributes))

    def __repr__(self) -> str:
        made = ", ".join(self.outputs)
        return f"Node({self.name!r}: {self.op}({', '.join(self.inputs)}) -> {made})"


@dataclass(frozen=True, eq=False)
class Body:
    """The nodes of a branch, or of a loop's step, which may read values of the graph around it.

    Attributes
    ----------
    nodes : tuple of Node
    outputs : tuple of str
    constants : mapping of str to ndarray
    inputs : tuple of str
        What a step takes; branches take nothing.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Any]
    inputs: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the constants, those of branches inside among them."""
        own = sum(int(constant.nbytes) for constant in self.constants.values())
        return own + sum(node.inner_bytes for node in self.nodes)

    @property
    def captured(self) -> tuple[str, ...]:
        """The values from outside that it reads."""
        made = {name for node in self.nodes for name in node.outputs}
        made |= {*self.constants, *self.inputs}
        wanted = [name for node in self.nodes for name in node.read] + list(self.outputs)
        return tuple(dict.fromkeys(name for name in wanted if name not in made))


def check_attribute(value: Any, node: str, key: str) -> Any:
    """Return an attribute as it is kept: lists as tuples, NumPy's scalars as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        kept = tuple(item.item() if isinstance(item, np.generic) else item for item in value)
        if all(isinstance(item, _SCALARS) for item in kept):
            return kept
    elif isinstance(value, (*_SCALARS, np.ndarray, Body)):
        return value
    raise TypeError(f"node {node!r} has the attribute {key} of {type(value).__name__}")
