"""How the products of a graph with attention take their inputs where nobody says: as measured.

Ranges that samples showed have to hold the few large elements of every token; codes that are made
row by row have a range for each. Where nothing but norms and sums lies between products, as around
attention, rows cost about as much time either way (docs/sequences.md: 0.6 to 1.2 times), so that
what each loses decides. Convolutions stay "static": there codes go on from one to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.estimators.graphs.corrections import output_error
from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.attention import attentions
from qcore.graph.lowering.operands import is_product

if TYPE_CHECKING:
    from qcore.estimators.quantizer.quantizer import Quantizer

__all__ = ["activation_errors", "chosen_mode"]

Batch = Mapping[str, NDArray[Any]]

#: Batches that are looked at; every fourth one judges.
BATCHES = 32
#: How much more than codes by rows ranges may lose to be taken all the same.
WORSE = 1.25


def chosen_mode(errors: Mapping[str, float]) -> str:
    """Return "static" or "dynamic" by what each loses; "static" where nothing was measured."""
    if not errors or errors["static"] <= WORSE * errors["dynamic"]:
        return "static"
    return "dynamic"


def activation_errors(
    quantizer: Quantizer, graph: BaseGraph, batches: Iterable[Batch] | None
) -> dict[str, float]:
    """Return what the outputs lose by each mode, as a share of their variance, on held-out batches.

    Of graphs without attention, and where the mode is given, nothing is measured.
    """
    if batches is None or isinstance(quantizer.bits, tuple) or not attentions(graph):
        return {}
    # What is gathered is multiplied with nothing, so that no mode fits or misfits it.
    names = [name for name in quantizer.bits_ if name not in quantizer._tables]
    taken = {name: quantizer._mode(name, True) for name in names}
    open_ = {
        slot.name
        for slot in graph.slots
        if taken.get(slot.name) == "static"
        and quantizer._option("activations", slot.name) == "auto"
        and is_product(graph, slot.node)
    }
    if not open_:
        return {}
    some = list(islice(iter(batches), BATCHES))
    judges = some[3::4] or some[-1:]
    exact = [graph.run(batch) for batch in judges]
    seen: Any = [one for place, one in enumerate(some) if place % 4 != 3]
    found = {}
    for mode in ("static", "dynamic"):
        given = {
            f"re:^{re.escape(name)}$": mode if name in open_ else other
            for name, other in taken.items()
        }
        options = quantizer.get_params() | {
            "activations": given | {"*": None}, "algorithm": (), "progress": False,
        }  # fmt: skip
        small = type(quantizer)(**options).fit_transform(graph, seen)
        found[mode] = output_error(small, judges, exact)
    return {mode: float(np.float32(error)) for mode, error in found.items()}
