"""Whether a network that was made small still answers as the one that it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qcore._arguments.arrays import as_array
from qcore.chain.chain import Chain

__all__ = ["disagreement"]

#: What goes without a word: a loss of the score, a share of the samples with another answer, a
#: squared error of the outputs as a share of their variance.
TOLERATED = 0.01
#: The most samples on which both are asked.
_ROWS = 4096


def disagreement(
    before: Chain, after: Chain, X: ArrayLike, y: ArrayLike | None = None
) -> str | None:
    """Return one line on how the answers of two networks to samples differ; None if they agree."""
    rows = as_array(X, "X")
    step = -(-len(rows) // _ROWS)
    rows, labels = rows[::step], None if y is None else as_array(y)[::step]
    if labels is not None:
        one, other = before.score(rows, labels), after.score(rows, labels)
        if one - other <= TOLERATED:
            return None
        if before.is_classifier or before.reads_labels(labels):
            return f"the accuracy on its samples falls from {100 * one:.1f} to {100 * other:.1f} %"
        return f"R² on its samples falls from {one:.3f} to {other:.3f}"
    if before.is_classifier:
        found, wanted = before.predict(rows), after.predict(rows)
        share = float(np.mean((found != wanted).reshape(len(found), -1).any(axis=1)))
        if share <= TOLERATED:
            return None
        return f"it answers otherwise than before for {100 * share:.1f} % of its samples"
    exact = before.predict_logits(rows).astype(np.float64)
    off = after.predict_logits(rows) - exact
    spread: Any = exact.var(axis=0).sum()
    error = float(np.square(off).mean(axis=0).sum() / spread) if spread else float(off.any())
    if error <= TOLERATED:
        return None
    return f"its outputs are off by {100 * np.sqrt(error):.0f} % of their spread on its samples"
