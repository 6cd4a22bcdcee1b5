"""The pieces of which encoders are made, as nodes: each takes its weights by their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import UnsupportedError
from qcore.frameworks.pretrained.config import Config
from qcore.frameworks.pretrained.weights import Weights
from qcore.graph.building.emitter import Emitter
from qcore.graph.value import Value

__all__ = ["FLOAT", "INT64", "Architecture", "Builder", "Encoded", "Names"]

#: Types as the attribute of ONNX's Cast numbers them.
FLOAT, INT64 = 1, 7

# The functions of feed-forward layers, as libraries call them.
_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {}),
    "gelu_fast": ("Gelu", {"approximate": "tanh"}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "silu": ("Silu", {}),
    "swish": ("Silu", {}),
    "tanh": ("Tanh", {}),
}
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Encoded:
    """What an architecture makes.

    Attributes
    ----------
    inputs : list of Value
    hidden : str
        The last hidden states, (batch, sequence, hidden).
    mask : str
        The input that masks tokens, "" where all count.
    pooled : str
        What its class returns as ``pooler_output``, "" where there is none.
    width : int
        The size of a hidden state.
    """

    inputs: list[Value]
    hidden: str
    mask: str
    pooled: str
    width: int


Head = Callable[["Builder", Encoded], str]


@dataclass(frozen=True)
class _Place:
    """What nodes are named after."""

    name: str


@dataclass(frozen=True)
class Architecture:
    """A kind of pretrained model.

    Attributes
    ----------
    prefix : str
        Of the encoder's tensors where there is a head.
    encode : callable
        Emits the encoder.
    heads : mapping of str to callable
        By what follows "For" in a class's name: emits the logits.
    training_heads : tuple of str
        Heads that an encoder was trained with and is used without.
    left_out : tuple of str
        How the names of tensors begin that are not needed.
    """

    prefix: str
    encode: Callable[[Builder], Encoded]
    heads: Mapping[str, Head] = field(default_factory=dict)
    training_heads: tuple[str, ...] = ("MaskedLM", "PreTraining")
    left_out: tuple[str, ...] = ("pooler.",)


@dataclass(frozen=True)
class Names:
    """What a layer's parts are called, behind the layer's own name."""

    query: str
    key: str
    value: str
    out: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


class Builder(Emitter):
    """Emits the pieces of an encoder.

    Attributes
    ----------
    config : Config
    weights : Weights
    in_head : bool
        Whether names are those of a head, which have no prefix.
    """

    def __init__(self, config: Config, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.weights = weights
        self.in_head = False

    # weights -----------------------------------------------------------------------------------
    def tensor(self, name: str, *shape: int) -> str:
        """Return a tensor as a constant of its name; one that is used again is there once."""
        full = self.weights.name_of(name, head=self.in_head)
        if full not in self.constants:
            self.add_constant(full, self.weights.take(name, shape, head=self.in_head))
        return full

    def _transposed(self, name: str, out: int, inner: int) -> str:
        """Return a weight (out, in) as MatMul takes it."""
        full = self.weights.name_of(name, head=self.in_head)
        if full in self.constants:
            return full
        taken = self.weights.take(name, (out, inner), head=self.in_head)
        if isinstance(taken, QTensor) and taken.group_size is not None:
            self.add_constant(f"{full}.codes", cast("Any", taken))
            return self.add("Transpose", [f"{full}.codes"], [full], perm=[1, 0])
        self.add_constant(full, taken.T)
        return full

    def layers(self, name: str) -> int:
        """Return how many layers the configuration has; no more than there are tensors."""
        found = self.config.size(name, least=0)
        if found > len(self.weights):
            raise UnsupportedError(
                f"'{self.config.path}' has {name} = {found}, more than tensors are there"
            )
        return found

    def at(self, name: str) -> None:
        """Name the nodes that follow after a part of the model."""
        self.place = _Place(self.weights.name_of(name, head=self.in_head))

    # pieces ------------------------------------------------------------------------------------
    def linear(self, x: str, name: str, inner: int, out: int, *, bias: bool = True) -> str:
        """Emit x·Wᵀ + b over the last axis."""
        self.at(name)
        parts = [x, self._transposed(f"{name}.weight", out, inner)]
        return self.add("MatMul", [*parts, *([self.tensor(f"{name}.bias", out)] if bias else [])])

    def norm(self, x: str, name: str, width: int, epsilon: float) -> str:
        """Emit a layer normalization over the last axis."""
        self.at(name)
        parts = [self.tensor(f"{name}.{part}", width) for part in ("weight", "bias")]
        return self.add("LayerNormalization", [x, *parts], axis=-1, epsilon=epsilon)

    def activation(self, x: str, key: str, default: str = "gelu") -> str:
        """Emit the function that a key of the configuration names."""
        name = self.config.text(key, default)
        if name not in _ACTIVATIONS:
            raise UnsupportedError(
                f"'{self.config.path}': {key} is {name!r}; qcore has {', '.join(_ACTIVATIONS)}"
            )
        op, attributes = _ACTIVATIONS[name]
        return self.add(op, [x], None, **attributes)

    def number(self, value: float) -> str:
        """Return a float32 constant."""
        return self.constant(np.float32(value))

    def first_token(self, hidden: str) -> str:
        """Emit the hidden state of the first token, (batch, hidden)."""
        return self.add("Gather", [hidden, self.constant(np.int64(0))], axis=1)

    def added_mask(self, mask: str) -> str:
        """Emit what is added to the scores of keys: 0, or the lowest number where masked."""
        floats = self.add("Cast", [mask], to=FLOAT)
        wide = self.add("Unsqueeze", [floats, self.ints([1, 2])])
        off = self.add("Sub", [self.number(1), wide])
        return self.add("Mul", [off, self.number(_LOWEST)])

    def attention(
        self, x: str, stem: str, names: tuple[str, str, str], heads: int, width: int,
        masks: list[str], *, bias: bool = True,
    ) -> str:  # fmt: skip
        """Emit softmax(Q·Kᵀ / √d + masks)·V of all heads, before its output layer."""
        size = width // heads
        split = self.ints([0, 0, heads, size])
        parts = []
        for place, name in enumerate(names):
            made = self.linear(x, f"{stem}.{name}", width, width, bias=bias)
            made = self.add("Reshape", [made, split])
            parts.append(
                self.add("Transpose", [made], perm=[0, 2, 3, 1] if place == 1 else [0, 2, 1, 3])
            )
        self.at(f"{stem}.attention")
        scores = self.add("MatMul", parts[:2])
        scores = self.add("Mul", [scores, self.number(1 / math.sqrt(size))])
        for mask in masks:
            scores = self.add("Add", [scores, mask])
        shares = self.add("Softmax", [scores], axis=-1)
        mixed = self.add("Transpose", [self.add("MatMul", [shares, parts[2]])], perm=[0, 2, 1, 3])
        return self.add("Reshape", [mixed, self.ints([0, 0, width])])

    def post_norm_layer(
        self, x: str, layer: str, names: Names, *, heads: int, width: int, inner: int,
        epsilon: float, masks: list[str], activation: tuple[str, str],
    ) -> str:  # fmt: skip
        """Emit an encoder's layer of the first kind: each normalization behind its sum."""
        inputs = (names.query, names.key, names.value)
        mixed = self.attention(x, layer, inputs, heads, width, masks)
        mixed = self.linear(mixed, f"{layer}.{names.out}", width, width)
        x = self.norm(
            self.add("Add", [mixed, x]), f"{layer}.{names.attention_norm}", width, epsilon
        )
        wide = self.activation(self.linear(x, f"{layer}.{names.up}", width, inner), *activation)
        narrow = self.linear(wide, f"{layer}.{names.down}", inner, width)
        return self.norm(
            self.add("Add", [narrow, x]), f"{layer}.{names.output_norm}", width, epsilon
        )
