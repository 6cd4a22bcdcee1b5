"""The graph: an immutable network of any shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import check_one_of
from qcore._display.table import Report
from qcore.graph import classifier
from qcore.graph.lowering.attention import has_attention
from qcore.graph.lowering.lower import compiled
from qcore.graph.node import Node
from qcore.graph.parts import as_kept, each, named
from qcore.graph.running.inputs import as_source, check_inputs
from qcore.graph.running.session import Session
from qcore.graph.running.stream import Stream
from qcore.graph.seams import Seam, seams_of
from qcore.graph.slots import WeightSlot, slots_of
from qcore.graph.structure import in_order
from qcore.graph.value import Value

if TYPE_CHECKING:
    from typing_extensions import Self

    from qcore import _core

K = TypeVar("K")

__all__ = ["EXACT", "BaseGraph", "G"]

#: Whose integers a quantized graph can be asked to give.
EXACT = (None, "onnx", "tflite")


class BaseGraph:
    """A network of nodes between named values; immutable. `qcore.Graph` can also be saved.

    Everything in it runs in one call of the extension, in float32 (and integers where the
    graph has them); inputs and outputs have the source's layout and types.

    Parameters
    ----------
    nodes : iterable of Node
        In any order.
    inputs, outputs : iterables of Value
        With the source's types.
    constants : mapping of str to array, QTensor or sparse matrix
        Weights and other arrays, by the name of the value.
    codes : mapping of str to QParams, optional
        Values that are quantized, and what their integers stand for.
    exact : {None, "onnx", "tflite"}
        Whose integers quantized values have, to the bit: qcore's own, which are rounded once for a
        product, what is added to it and a clamp; those of ONNX's definition, where every value is
        rounded; or TensorFlow Lite's fixed-point arithmetic.

    Attributes
    ----------
    nodes : tuple of Node
        Each after those that make what it reads.
    inputs, outputs : tuple of Value
    constants : mapping of str to array, QTensor or sparse matrix
    classes_ : ndarray or None
        Labels in the order of the outputs, for classifiers.
    report_ : Report
        What `qcore.compress` or `qcore.compact` did, where it made this graph.

    Raises
    ------
    ValueError
        If a value is made twice or never, or needs itself.
    UnsupportedError
        When it is run, if it has an op that there is not.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> from qcore.graph.node import Node
    >>> from qcore.graph.value import Value
    >>> net = qc.Graph(
    ...     [Node("add", "Add", ("x", "one"), ("y",))],
    ...     inputs=[Value("x", "float32", ("n", 2))],
    ...     outputs=[Value("y", "float32")],
    ...     constants={"one": np.float32(1)},
    ... )
    >>> net(np.zeros((1, 2), np.float32))
    array([[1., 1.]], dtype=float32)
    """

    report_: Report

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        inputs: Iterable[Value],
        outputs: Iterable[Value],
        constants: Mapping[str, Any],
        codes: Mapping[str, Any] | None = None,
        classes: ArrayLike | None = None,
        exact: str | None = None,
    ) -> None:
        check_one_of(exact, "exact", EXACT)
        self.inputs = each(inputs, "inputs", Value)
        self.outputs = each(outputs, "outputs", Value)
        nodes = each(nodes, "nodes", Node)
        for name, given in (("constants", constants), ("codes", {} if codes is None else codes)):
            if not isinstance(given, Mapping):
                raise TypeError(f"{name} is {type(given).__name__}; it must be a mapping")
        kept = {name: as_kept(name, constant) for name, constant in constants.items()}
        names = [value.name for value in self.outputs]
        if not names:
            raise ValueError("outputs is empty; a graph gives at least one value")
        if len(set(names)) < len(names):
            raise ValueError(f"outputs has a name twice: {names}")
        found = in_order(nodes, [value.name for value in self.inputs], kept, names)
        self.nodes = named(found)
        self.constants: Mapping[str, Any] = MappingProxyType(kept)
        self.codes: Mapping[str, Any] = MappingProxyType(dict(codes or {}))
        self.classes_: NDArray[Any] | None = None if classes is None else np.asarray(classes)
        self.exact = exact

    # structure ---------------------------------------------------------------------------------
    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each value; inputs and constants have none."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, each once."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.read:
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value by name, with the shape that follows from the inputs' named dims."""
        found = {value.name: value for value in self.inputs}
        for name, constant in self.constants.items():
            dtype = "float32" if not isinstance(constant, np.ndarray) else constant.dtype.name
            found[name] = Value(name, dtype, tuple(constant.shape))
        known = json.loads(self._plain().infer())
        for name in self.producers:
            fact = known.get(name) or {}
            shape = fact.get("shape")
            dtype = fact.get("dtype") or "float32"
            found[name] = Value(name, dtype, None if shape is None else tuple(shape))
        for value in self.outputs:
            inferred = found[value.name].shape
            shape = value.shape if inferred is None else inferred
            found[value.name] = Value(value.name, value.dtype, shape)
        return {
            name: Value(name, value.dtype, value.shape, self.codes.get(name))
            for name, value in found.items()
        }

    @cached_property
    def slots(self) -> tuple[WeightSlot, ...]:
        """The weights of all nodes, each as a matrix (out, in)."""
        return slots_of(self)

    @cached_property
    def seams(self) -> tuple[Seam, ...]:
        """The axes between weights: the slots that produce one, and those that read it."""
        return seams_of(self)

    @property
    def nbytes(self) -> int:
        """Bytes of all constants as they are in memory or, where quantized, as stored."""
        own = sum(int(constant.nbytes) for constant in self.constants.values())
        return own + sum(node.inner_bytes for node in self.nodes)

    def named_weights(self) -> dict[str, Any]:
        """Return the constants by name; not copied."""
        return dict(self.constants)

    def with_weights(self, weights: Mapping[str, Any]) -> Self:
        """Return the graph with the constants of these names replaced."""
        for name, weight in weights.items():
            if name not in self.constants:
                raise ValueError(f"the graph has no constant {name!r}")
            shape, wanted = tuple(weight.shape), tuple(self.constants[name].shape)
            if shape != wanted:
                raise ValueError(f"{name} has shape {shape}; it must be {wanted}")
        return self.changed(constants={**self.constants, **weights})

    def changed(self, **changes: Any) -> Self:
        """Return a graph of which some constructor arguments are others."""
        parts: dict[str, Any] = {
            "nodes": self.nodes, "inputs": self.inputs, "outputs": self.outputs,
            "constants": self.constants, "codes": self.codes, "classes": self.classes_,
            "exact": self.exact,
        }  # fmt: skip
        parts |= changes
        return type(self)(parts.pop("nodes"), **parts)

    # running -----------------------------------------------------------------------------------
    def run(
        self, inputs: Mapping[str, ArrayLike], values: Iterable[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Compute outputs.

        Parameters
        ----------
        inputs : mapping of str to array_like
            Every input by name: its rank, its fixed dims, and a dtype that casts to its own safely
            (or integers that fit).
        values : iterable of str, optional
            Values to return instead of the outputs.

        Returns
        -------
        dict of str to ndarray
            In the source's types.

        Raises
        ------
        TypeError
            If a dtype does not fit; names the input.
        ValueError
            If a name, a rank or a size does not fit; names the input.
        UnsupportedError
            If the graph has an op that there is not.
        """
        arrays = check_inputs(self.inputs, inputs)
        if values is None:
            found = self._executable().run(arrays)
            return {value.name: as_source(found[value.name], value) for value in self.outputs}
        wanted = list(each(values, "values", str))
        made = self._plain().run(arrays, [name for name in wanted if self._is_made(name)])
        every = {**self.constants, **arrays, **made}
        return {name: every[name] for name in wanted}

    def _is_made(self, name: str) -> bool:
        if name in self.producers:
            return True
        if name in self.constants or any(value.name == name for value in self.inputs):
            return False
        raise ValueError(f"the graph has no value {name!r}")

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Compute the output of a graph with one input and one output."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise ValueError(
                f"the graph has {len(self.inputs)} inputs and {len(self.outputs)} outputs; "
                "use run, which takes and gives them by name"
            )
        return self.run({self.inputs[0].name: x})[self.outputs[0].name]

    def session(
        self, shapes: Mapping[str, int] | None = None, threads: int | None = None
    ) -> Session:
        """Return the graph made ready for one set of shapes: its runs allocate nothing.

        Parameters
        ----------
        shapes : mapping of str to int
            The size of each named dim of the inputs.
        threads : int, optional
            The most threads that a run takes, of those that operations may use. The result is the
            same to the bit.
        """
        return Session(self.inputs, self.outputs, shapes, threads, self._executable().session)

    def stream(
        self, state: Mapping[str, str], shapes: Mapping[str, int] | None = None,
        threads: int | None = None,
    ) -> Stream:  # fmt: skip
        """Return the graph made ready to run chunk by chunk: a `Stream`, as `session` otherwise.

        `state` goes from each output that is a state to the input that takes it at the next run.
        """
        return Stream(self.session(shapes, threads), self.outputs, state)

    def fixed(
        self,
        inputs: Mapping[str, ArrayLike] | None = None,
        shapes: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the graph with what is the same at every run as constants, and what follows so.

        Of branches that this chooses between one is left, whose weights can be quantized.

        Parameters
        ----------
        inputs : mapping of str to array_like, optional
            By name.
        shapes : mapping of str to int or tuple, optional
            The sizes of named dims, or shapes by the names of inputs.
        """
        from qcore.graph.passes.fixed import with_fixed  # which builds on graphs

        return with_fixed(self, inputs or {}, shapes)

    def _executable(self) -> _core.Graph:
        if "_compiled" not in self.__dict__:
            if has_attention(self):
                self._compiled = compiled(self)
                self.__dict__.pop("_compiled_plain", None)  # made to find it, seldom needed again
            else:
                self._compiled = self._plain()
        return self._compiled

    def _plain(self) -> _core.Graph:
        """Return what computes any value, with no pattern that leaves some out."""
        if "_compiled_plain" not in self.__dict__:
            self._compiled_plain = compiled(self, plain=True)
        return self._compiled_plain

    def kernels(self, inputs: Mapping[str, ArrayLike]) -> list[tuple[str, str]]:
        """Return the name of each node that runs for such inputs, and of its kernel."""
        return self._executable().kernels(check_inputs(self.inputs, inputs))

    # prediction --------------------------------------------------------------------------------
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of a graph that ends in a softmax or a sigmoid."""
        return classifier.predict_proba(self, X)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the labels (n,) of a classifier, else the output.

        A classifier is a graph that ends in a softmax or sigmoid over (n, classes), or to which
        `classes_` was given.
        """
        return classifier.predict(self, X)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy of a classifier, or R² of a regression."""
        return classifier.score(self, X, y)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getstate__(self) -> dict[str, Any]:
        parts = ("inputs", "outputs", "nodes", "classes_", "exact")
        state = {name: self.__dict__[name] for name in parts}
        return state | {"constants": dict(self.constants), "codes": dict(self.codes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        classes = state.pop("classes_")
        nodes = state.pop("nodes")
        self.__init__(nodes, **state, classes=classes)  # type: ignore[misc]

    def __repr__(self) -> str:
        made = ", ".join(map(repr, self.inputs)), ", ".join(map(repr, self.outputs))
        return f"Graph({len(self.nodes)} nodes: {made[0]} -> {made[1]})"


#: A graph of any class, which passes keep.
G = TypeVar("G", bound=BaseGraph)
