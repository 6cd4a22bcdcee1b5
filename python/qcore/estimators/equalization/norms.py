"""Seams behind a norm: its gain and shift are divided, the products that read it multiplied.

A transformer that normalizes before its products has its largest values there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.graph.graph import BaseGraph
from qcore.graph.node import Node
from qcore.graph.slots import WeightSlot

__all__ = ["NormSeam", "norm_seams"]

_NORMS = ("LayerNormalization", "RMSNormalization")


class NormSeam(NamedTuple):
    """A norm whose result only products read.

    Attributes
    ----------
    constants : tuple of str
        Its gain and, where there is one, its shift: a number for each channel.
    readers : tuple of WeightSlot
    """

    constants: tuple[str, ...]
    readers: tuple[WeightSlot, ...]

    def divided(
        self, constants: Mapping[str, object], scale: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Return gain and shift by their names, divided."""
        return {name: np.asarray(constants[name], np.float32) / scale for name in self.constants}


def norm_seams(graph: BaseGraph) -> list[NormSeam]:
    """Return the norms of a graph behind which channels can be scaled."""
    slots = {(slot.node.name, slot.index): slot for slot in graph.slots}
    names = [slot.name for slot in graph.slots]
    outputs = {value.name for value in graph.outputs}
    found = []
    for node in graph.nodes:
        made = node.outputs[0]
        if node.op not in _NORMS or made in outputs:
            continue
        readers = graph.readers.get(made, ())
        read = [slots.get((one.name, 1)) for one in readers if _multiplies(one, made)]
        products = [slot for slot in read if slot is not None and names.count(slot.name) == 1]
        constants = tuple(name for name in node.inputs[1:3] if name)
        gains = [graph.constants.get(name) for name in constants]
        if not products or len(products) < len(readers):
            continue
        width = products[0].shape[1]
        own = all(len(graph.readers.get(name, ())) == 1 for name in constants)
        plain = all(isinstance(gain, np.ndarray) and gain.shape == (width,) for gain in gains)
        floats = all(
            isinstance(slot.weight, np.ndarray) and slot.shape[1] == width for slot in products
        )
        if own and plain and floats and constants:
            found.append(NormSeam(constants, tuple(products)))
    return found


def _multiplies(node: Node, name: str) -> bool:
    """Whether a node multiplies the rows of a value with a matrix, and reads it nowhere else."""
    is_product = node.op == "MatMul" or (node.op == "Gemm" and not node.get("transA", 0))
    return is_product and node.inputs[0] == name and node.inputs.count(name) == 1
