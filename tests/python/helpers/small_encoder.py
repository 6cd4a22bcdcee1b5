"""A small random transformer encoder, as exporters write it, and samples for it."""

from __future__ import annotations

from typing import Any

import numpy as np

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value

WORDS, HEADS, SIZE, INNER = 50, 4, 8, 96
WIDTH = HEADS * SIZE


class _Builder:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes: list[Node] = []
        self.constants: dict[str, Any] = {}

    def add(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(Node(name, op, inputs, (f"{name}:0",), attributes))
        return f"{name}:0"

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = np.asarray(value, dtype)
        return name

    def weight(self, name: str, *shape: int, about: float = 0.0) -> str:
        scale = 0.1 if len(shape) == 1 else 1 / np.sqrt(shape[0])
        return self.constant(name, about + scale * self.rng.standard_normal(shape))

    def dense(self, name: str, x: str, inputs: int, outputs: int) -> str:
        w = self.weight(f"{name}.weight", inputs, outputs)
        b = self.weight(f"{name}.bias", outputs)
        return self.add(f"{name}.add", "Add", self.add(name, "MatMul", x, w), b)

    def norm(self, name: str, x: str) -> str:
        gain, shift = self.weight(f"{name}.gain", WIDTH, about=1), self.weight(f"{name}.b", WIDTH)
        return self.add(name, "LayerNormalization", x, gain, shift, axis=-1, epsilon=1e-12)

    def heads(self, name: str, x: str, perm: tuple[int, ...]) -> str:
        split = self.constant(f"{name}.split", [0, 0, HEADS, SIZE], np.int64)
        shaped = self.add(name, "Reshape", x, split)
        return self.add(f"{name}.turned", "Transpose", shaped, perm=perm)

    def layer(self, n: int, x: str, mask: str) -> str:
        q, k, v = (self.dense(f"{n}.{part}", x, WIDTH, WIDTH) for part in "qkv")
        q = self.heads(f"{n}.q.heads", q, (0, 2, 1, 3))
        k = self.heads(f"{n}.k.heads", k, (0, 2, 3, 1))
        v = self.heads(f"{n}.v.heads", v, (0, 2, 1, 3))
        root = self.constant(f"{n}.root", np.sqrt(SIZE))
        scores = self.add(f"{n}.scaled", "Div", self.add(f"{n}.scores", "MatMul", q, k), root)
        masked = self.add(f"{n}.masked", "Add", scores, mask)
        weights = self.add(f"{n}.softmax", "Softmax", masked, axis=-1)
        mixed = self.add(f"{n}.mixed", "MatMul", weights, v)
        turned = self.add(f"{n}.turned", "Transpose", mixed, perm=(0, 2, 1, 3))
        joined = self.constant(f"{n}.joined", [0, 0, WIDTH], np.int64)
        rows = self.add(f"{n}.rows", "Reshape", turned, joined)
        out = self.dense(f"{n}.o", rows, WIDTH, WIDTH)
        x = self.norm(f"{n}.norm", self.add(f"{n}.more", "Add", out, x))
        inner = self.add(f"{n}.gelu", "Gelu", self.dense(f"{n}.f", x, WIDTH, INNER))
        out = self.dense(f"{n}.g", inner, INNER, WIDTH)
        return self.norm(f"{n}.norm2", self.add(f"{n}.more2", "Add", out, x))


def small_encoder(layers: int = 2) -> qc.Graph:
    """Embeddings, layers of attention and GELU, the mean over tokens that a mask lets through."""
    b = _Builder()
    words = b.constant("words", b.rng.standard_normal((WORDS, WIDTH)))
    x = b.norm("first", b.add("embed", "Gather", words, "ids"))
    floats = b.add("floats", "Cast", "mask", to=1)
    # As torch writes mask[:, None, None, :], which ONNX Runtime's optimizer knows.
    wide = b.add("wide", "Unsqueeze", "mask", b.constant("1", [1], np.int64))
    wide = b.add("wider", "Unsqueeze", wide, b.constant("2", [2], np.int64))
    wide = b.add("as floats", "Cast", wide, to=1)
    hidden = b.add("hidden", "Sub", b.constant("one", 1.0), wide)
    mask = b.add("added", "Mul", hidden, b.constant("low", -1e4))
    for n in range(layers):
        x = b.layer(n, x, mask)
    kept = b.add("kept", "Unsqueeze", floats, "2")
    total = b.add("total", "ReduceSum", b.add("seen", "Mul", x, kept), "1", keepdims=0)
    count = b.add("count", "ReduceSum", kept, "1", keepdims=0)
    mean = b.add("mean", "Div", total, count)
    return qc.Graph(
        b.nodes,
        inputs=[Value(name, "int64", ("batch", "tokens")) for name in ("ids", "mask")],
        outputs=[Value(x, "float32"), Value(mean, "float32")],
        constants=b.constants,
    )  # fmt: skip


def sentences(batch: int = 3, tokens: int = 21, *, seed: int = 1) -> dict[str, Any]:
    """Ids and a mask, under which each sentence but the first has padding."""
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, tokens), np.int64)
    for row in range(1, batch):
        mask[row, tokens - min(5 * row, tokens - 1) :] = 0
    return {"ids": rng.integers(0, WORDS, (batch, tokens)), "mask": mask}


def cosine(a: Any, b: Any) -> Any:
    """Return the cosine of each pair of rows."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
