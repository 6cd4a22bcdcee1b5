"""What holds in every graph: names that are made once and before they are read."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qcore.graph.node import Node

__all__ = ["in_order"]


def in_order(
    nodes: Iterable[Node], inputs: Iterable[str], constants: Mapping[str, Any],
    outputs: Sequence[str],
) -> tuple[Node, ...]:  # fmt: skip
    """Return nodes in an order in which each comes after what it reads; else as they were.

    Raises
    ------
    ValueError
        If a value is made twice, or read and never made, or needs itself; or if an output is not
        made. Names it.
    """
    found = list(nodes)
    maker: dict[str, int | None] = {}
    for name in [*inputs, *constants]:
        if name in maker:
            raise ValueError(f"value {name!r} is there twice")
        maker[name] = None
    for place, node in enumerate(found):
        for name in node.outputs:
            if name and name in maker:
                raise ValueError(f"node {node.name!r} makes {name!r}, which is there already")
            maker[name] = place
    maker.pop("", None)
    readers: list[list[int]] = [[] for _ in found]
    waits = [0] * len(found)
    for place, node in enumerate(found):
        for name in node.read:
            if name not in maker:
                raise ValueError(f"node {node.name!r} reads {name!r}, which nothing makes")
            source = maker[name]
            if source is not None:
                readers[source].append(place)
                waits[place] += 1
    for name in outputs:
        if name not in maker:
            raise ValueError(f"the output {name!r} is made by no node")
    ready = [place for place, count in enumerate(waits) if not count]
    ordered = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(found[place])
        for reader in readers[place]:
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(ordered) < len(found):
        stuck = next(node for node, count in zip(found, waits, strict=True) if count)
        raise ValueError(f"node {stuck.name!r} waits for itself: the graph has a cycle")
    return tuple(ordered)
