"""Any PyTorch module that torch.export can follow, as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.arrays import as_array
from qcore.errors import UnsupportedError
from qcore.frameworks.torch_ops import OPS
from qcore.graph.building.check import checked
from qcore.graph.building.emitter import Emitter
from qcore.graph.passes import prepared
from qcore.graph.value import RUNNING, SOURCE_DTYPES, Value
from qcore.nn.graph import Graph

__all__ = ["exported_graph"]

# How far outputs may be from the module's, of the largest; sums are in another order here.
_NEAR = 1e-4


def exported_graph(module: Any, examples: Sequence[Any]) -> Graph:
    """Return a module as a graph, compared with it once on the examples.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation.
    examples : sequence of torch.Tensor
        Its inputs. Where the first dim of each is above 1, it becomes the named dim "batch", if the
        module works for any.

    Raises
    ------
    ValueError
        If torch.export cannot follow the module, or if the outputs differ.
    UnsupportedError
        If it has ops that there are not: lists each.
    """
    import torch

    def export(dynamic: Any) -> Any:
        return torch.export.export(module, tuple(examples), dynamic_shapes=dynamic)

    batch = torch.export.Dim("batch")
    whole = all(example.ndim and len(example) > 1 for example in examples)
    with torch.no_grad():
        wanted = module(*examples)
        try:
            program = export(tuple({0: batch} for _ in examples) if whole else None)
        except Exception:
            try:
                program = export(None)  # the module holds the batch fast
            except Exception as error:
                first = str(error).strip().partition("\n")[0]
                raise ValueError(f"torch.export cannot follow the module: {first}") from error
        program = program.run_decompositions()
    graph = checked(prepared(_Reader(program).graph()))
    _compare(graph, examples, wanted)
    return graph


def _compare(graph: Graph, examples: Sequence[Any], wanted: Any) -> None:
    from torch.utils._pytree import tree_leaves

    inputs = {v.name: _array(x) for v, x in zip(graph.inputs, examples, strict=True)}
    found = graph.run(inputs)
    outputs = tree_leaves(wanted)  # of tuples and dicts, in the order of the export
    for value, output in zip(graph.outputs, outputs, strict=True):
        one = np.asarray(found[value.name], np.float64)
        two = np.asarray(_array(output), np.float64)
        gap = float(np.abs(one - two).max(initial=0.0))
        most = float(np.abs(two).max(initial=0.0))
        near = _NEAR if value.dtype in ("float32", "float64") else 2e-2
        if one.shape != two.shape or not gap <= near * max(most, 1e-6):
            raise ValueError(
                f"the graph gives other outputs than the module: {gap:.3g} apart, of {most:.3g}"
            )


def _array(tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array; bfloat16, which NumPy has not, as float32."""
    return as_array(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)


class _Reader(Emitter):
    """Takes the nodes of an exported program, one by one."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program
        self.missing: dict[str, tuple[int, str]] = {}
        self.parts: dict[tuple[str, int], str] = {}  # outputs beside the first, by node and place

    def graph(self) -> Graph:
        """Return the graph."""
        signature = self.program.graph_signature
        stored = {**self.program.state_dict, **self.program.constants}
        kept = {s.arg.name: s.target for s in signature.input_specs if s.target is not None}
        inputs, outputs = [], []
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in kept:
                array = _array(stored[kept[node.name]])
                dtype = SOURCE_DTYPES.get(array.dtype.name)
                if dtype is None:
                    self.miss(f"constant of type {array.dtype}", node.name)
                    continue
                self.add_constant(node.name, np.array(array, dtype))
            elif node.op == "placeholder":
                inputs.append(self._value(node, node.name))
            elif node.op == "call_function":
                self._take(node)
            elif node.op == "output":
                users = [s.arg.name for s in signature.output_specs]
                outputs = [
                    self._value(made, self.name_of(made))
                    for made, name in zip(node.args[0], users, strict=True)
                    if made is not None and name
                ]
        if self.missing:
            raise UnsupportedError.of((op, n, first) for op, (n, first) in self.missing.items())
        return Graph(self.nodes, inputs=inputs, outputs=outputs, constants=self.constants)

    def _value(self, node: Any, name: str) -> Value:
        found = node.meta["val"]
        dtype = str(found.dtype).removeprefix("torch.")
        if dtype not in SOURCE_DTYPES:
            self.miss(f"value of type {dtype}", node.name)
            dtype = "float32"
        shape = tuple(
            dim if isinstance(dim, int) else "batch" if axis == 0 else None
            for axis, dim in enumerate(found.shape)
        )
        return Value(name, dtype, shape)

    def _take(self, node: Any) -> None:
        target = getattr(node.target, "__name__", str(node.target))
        name = target.partition(".")[0] if "." in target else target
        self.place = node
        if name == "getitem":
            return
        read = OPS.get(name)
        if read is None:
            self.miss(f"aten.{target}", node.name)
            return
        read(self, node, *node.args, **node.kwargs)

    def miss(self, op: str, where: str) -> None:
        """Note that there is no such op."""
        count, first = self.missing.get(op, (0, where))
        self.missing[op] = (count + 1, first)

    # arguments ---------------------------------------------------------------------------------
    def name_of(self, node: Any) -> str:
        """Return the value of a node."""
        if getattr(node.target, "__name__", "") == "getitem":
            source, place = node.args
            found = self.parts.get((source.name, place))
            return str(found or (source.name if place == 0 else node.name))
        return str(node.name)

    def operand(self, argument: Any, like: Any = None) -> str:
        """Return an argument as a value: numbers become constants of the type of another."""
        if hasattr(argument, "meta"):
            return self.name_of(argument)
        dtype = self.dtype_of(like) if like is not None else "float32"
        return self.constant(np.asarray(argument, dtype))

    def dtype_of(self, node: Any) -> str:
        """Return the type in which a node's value runs."""
        name = str(getattr(node.meta["val"], "dtype", "torch.int64")).removeprefix("torch.")
        found = SOURCE_DTYPES.get(name, "float32")
        return found if found in RUNNING else "float32"

    def shape(self, dims: Sequence[Any], unknown: bool = False) -> str:
        """Return a list of sizes as a value; one that is not known can be left to Reshape."""
        symbols = [dim for dim in dims if not isinstance(dim, int)]
        if not symbols:
            return self.ints(dims)
        if unknown and len(symbols) == 1 and -1 not in dims:
            return self.ints([dim if isinstance(dim, int) else -1 for dim in dims])
        parts = [self.ints([dim]) if isinstance(dim, int) else self.name_of(dim) for dim in dims]
        return self.add("Concat", parts, axis=0)
