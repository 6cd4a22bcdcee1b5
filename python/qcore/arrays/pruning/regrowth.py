"""Which weights grow where others went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.pruning.patterns import Mask, keep_largest

__all__ = ["regrown"]


def regrown(
    kept: Mapping[str, Mask],
    scores: Mapping[str, NDArray[Any]],
    targets: Mapping[str, float],
    *,
    together: bool,
) -> dict[str, Mask]:
    """Return masks with as many weights as the targets say: those kept, and the best others.

    Parameters
    ----------
    kept : mapping of str to ndarray of bool
        What stays in any case.
    scores : mapping of str to ndarray
        By which the others are ranked, not negative.
    targets : mapping of str to float
        The sparsity of each tensor; of all of them, where they are ranked together.
    together : bool
        Whether the tensors are ranked together.
    """
    # Above every other score: what is kept stays.
    most = 1.0 + max((float(np.max(s, initial=0.0)) for s in scores.values()), default=0.0)
    ranked = {name: np.where(kept[name], 2.0 * most, scores[name]) for name in kept}
    if together:
        share = next(iter(targets.values()), 0.0)
        return dict(zip(ranked, keep_largest(list(ranked.values()), share), strict=True))
    return {name: keep_largest([score], targets[name])[0] for name, score in ranked.items()}
