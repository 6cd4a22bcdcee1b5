"""What the streaming compressor knows of a graph: which tensors are weights, and how they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qcore.estimators.graphs.matrices import can_hold_codes, slots_by_name
from qcore.estimators.quantizer.graphs import marked_dynamic
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.qcore_format.container import Container
from qcore.files.source import TensorSource
from qcore.graph.graph import BaseGraph
from qcore.graph.slots import WeightSlot
from qcore.saving.graph import decode_graph, encode_graph

__all__ = ["graph_about", "graph_of", "weight_slots"]

#: What describes a graph in its file, besides its tensors.
_PARTS = ("graph", "classes")


def _about(source: TensorSource | None) -> dict[str, Any] | None:
    if not isinstance(source, Container) or source.kind != "graph":
        return None
    return {part: source.about[part] for part in _PARTS if part in source.about}


def graph_about(source: TensorSource | None, quantizer: Quantizer) -> dict[str, Any] | None:
    """Return what is to be said of a file's graph once it is quantized; None where it holds none.

    Products whose inputs become int8 while they run are marked, as `Quantizer.transform` does.
    """
    about, graph = _about(source), graph_of(source)
    if about is None or graph is None:
        return None
    marked = encode_graph(graph.changed(nodes=marked_dynamic(quantizer, graph)))[1]
    return about | {"graph": about["graph"] | {"nodes": marked["graph"]["nodes"]}}


def graph_of(source: TensorSource | None) -> BaseGraph | None:
    """Return a file's graph, its floats as zeros that take no memory; None where it holds none."""
    about = _about(source)
    if about is None or not isinstance(source, Container):
        return None
    with source.checked():
        return decode_graph(_Shapes(source), about, BaseGraph)


def weight_slots(graph: BaseGraph) -> dict[str, WeightSlot]:
    """Return the float weights of a graph, of which no value is read."""
    return {
        name: slot
        for name, slot in slots_by_name(graph).items()
        if isinstance(slot.weight, np.ndarray) and can_hold_codes(slot)
    }


class _Shapes(Mapping[str, Any]):
    """The tensors of a file, floats as zeros that take no memory."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Any:
        info = self._source.info(name)
        if info.bits is None and info.dtype.kind == "f":
            return np.broadcast_to(np.zeros((), np.float32), info.shape)
        return self._source[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)
