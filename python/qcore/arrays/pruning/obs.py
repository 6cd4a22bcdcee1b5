"""Optimal brain surgeon, one layer at a time: what goes is made up for by what stays.

A layer's output error for inputs X is ``tr(D XᵀX Dᵀ)``, D the change of its weights. When a weight
goes, the best change of those behind it in the row follows from the inverse of XᵀX; rows share the
order of the columns, so one Cholesky factor serves all.

Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NIPS 1992.
Frantar and Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
ICML 2023. Unlike there, how many weights a block of columns loses follows from the whole matrix, so
that inputs which are always 0 cost nothing and go first; and a `Surgeon` fits what stays once more,
all of it together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._runtime.interrupt import product, stoppable
from qcore.arrays.layerwise.layerwise import layer_objective
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.patterns import Mask, NofM, Pattern, Unstructured, keep_largest

__all__ = ["Surgeon", "inverse_factor", "prune_and_update", "refitted"]

Doubles = NDArray[np.float64]

#: Columns between two products that bring the columns behind up to date.
BLOCK = 128
#: What is added to the diagonal of XᵀX, as a share of its mean.
DAMP = 0.01
#: Steps by which the weights that stay are fitted together.
REFITS = 24


def prune_and_update(
    w: NDArray[Any],
    gram: Doubles,
    pattern: Pattern,
    sparsity: float,
    *,
    damp: float = DAMP,
    factor: Doubles | None = None,
) -> tuple[Doubles, Mask]:
    """Prune a matrix and move what stays.

    Parameters
    ----------
    w : ndarray, (outputs, inputs)
        The weights; not changed.
    gram : ndarray of float64, (inputs, inputs)
        XᵀX of the layer's inputs, of any positive scale.
    pattern : Pattern
        Unstructured or N:M.
    sparsity : float
        Exactly ``round(sparsity * w.size)`` weights go.
    damp : float
        Added to the diagonal, as a share of its mean.
    factor : ndarray of float64, optional
        What `inverse_factor` makes of `gram`, where it is there already.

    Returns
    -------
    weights : ndarray of float64
        New, 0 where the mask is false.
    mask : ndarray of bool

    Raises
    ------
    ValueError
        If shapes or pattern do not fit.
    """
    if not isinstance(pattern, (NofM, Unstructured)):
        raise ValueError("criterion 'sparsegpt' goes with the patterns 'unstructured' and 'N:M'")
    if w.ndim != 2 or gram.shape != (w.shape[1], w.shape[1]):
        raise ValueError(f"w has shape {w.shape}; stats are of {len(gram)} inputs")
    weights = w.astype(np.float64)
    weights[:, np.diagonal(gram) == 0] = 0.0
    factor = inverse_factor(gram, damp) if factor is None else factor
    diagonal = np.diagonal(factor)
    whole = None if isinstance(pattern, NofM) else _saliency_mask(weights, diagonal, sparsity)
    mask = np.ones(w.shape, np.bool_)
    # Groups of N:M never lie in two blocks.
    width = BLOCK if whole is not None else -(-BLOCK // _group(pattern)) * _group(pattern)
    for start in range(0, w.shape[1], width):
        block = slice(start, min(start + width, w.shape[1]))
        if whole is not None:
            share = 1.0 - float(np.mean(whole[:, block])) if whole.size else 0.0
            mask[:, block] = keep_largest([weights[:, block] / diagonal[block]], share)[0]
        errors = _sweep(weights, mask, factor, block, pattern)
        weights[:, block.stop :] -= errors @ factor[block, block.stop :]
    return weights, mask


class Surgeon:
    """Prunes one layer of a network, to as many sparsities as are asked for.

    With statistics that have the exact inputs beside those of the network as it is pruned so far,
    the layer makes up for what those before it lost, as in `qcore.arrays.layerwise.layerwise`.

    Parameters
    ----------
    w : ndarray, (outputs, inputs)
    stats : InputStats
        Of the layer's inputs.
    centred : bool
        Leave the error of the mean to the bias.
    """

    def __init__(self, w: NDArray[Any], stats: InputStats, *, centred: bool) -> None:
        if w.ndim != 2 or stats.gram.shape != (w.shape[1], w.shape[1]):
            raise ValueError(f"w has shape {w.shape}; stats are of {len(stats.gram)} inputs")
        wide = w.astype(np.float64)
        self._hessian, self._target = layer_objective(wide, stats, centred=centred)
        self._factor = inverse_factor(self._hessian, 0.0)

    def prune(
        self, pattern: Pattern, sparsity: float, *, refit: bool = True
    ) -> tuple[Doubles, Mask]:
        """Return the weights and the mask; see `prune_and_update` and `refitted`."""
        pruned, mask = prune_and_update(
            self._target, self._hessian, pattern, sparsity, factor=self._factor
        )
        if refit:
            pruned = refitted(self._target, self._hessian, pruned, mask)
        return pruned, mask

    def curve(self, shares: Iterable[float]) -> Doubles:
        """Return what about the layer loses when these shares of its weights go, in proportion.

        The loss of each weight that goes, once those behind it have made up for it, added up: one
        sort in place of a surgery for each share.
        """
        each = np.square(self._target / np.diagonal(self._factor)).reshape(-1)
        lost = np.append(0.0, np.cumsum(np.sort(each)))
        found: Doubles = lost[[round(share * each.size) for share in shares]]
        return found


def refitted(target: Doubles, hessian: Doubles, weights: Doubles, mask: Mask) -> Doubles:
    """Return the weights that stay where they are best together, by conjugate gradients.

    A column's error was made up for by those behind it alone; here all that stay take their part.
    Each step lowers every row's ``(w - t) H (w - t)``.

    Parameters
    ----------
    target : ndarray of float64, (outputs, inputs)
        The rows t that are to be met.
    hessian : ndarray of float64, (inputs, inputs)
    weights : ndarray of float64, (outputs, inputs)
        Where to begin; 0 where `mask` is false.
    mask : ndarray of bool
    """
    scaling = np.where(mask, 1.0 / np.maximum(np.diagonal(hessian), np.finfo(np.float64).tiny), 0.0)
    found: Doubles = weights.copy()
    left = (product(target - found, hessian)) * mask
    ahead = left * scaling
    step, size = ahead, np.einsum("ij,ij->i", left, ahead)
    for _ in range(REFITS):
        moved = product(step, hessian)
        curve = np.einsum("ij,ij->i", step, moved)
        rate = np.divide(size, curve, out=np.zeros_like(size), where=curve > 0)
        found += rate[:, None] * step
        left -= rate[:, None] * moved * mask
        ahead = left * scaling
        before, size = size, np.einsum("ij,ij->i", left, ahead)
        again = np.divide(size, before, out=np.zeros_like(size), where=before > 0)
        step = ahead + again[:, None] * step
    return found


def inverse_factor(gram: Doubles, damp: float = DAMP) -> Doubles:
    """Return the upper triangle U with ``UᵀU`` the inverse of the damped XᵀX.

    An input that is always 0 counts as one that is independent of the others.
    """
    damped = np.array(gram, np.float64)
    at = np.arange(len(damped))
    damped[at, at] += damp * np.mean(damped[at, at]) if len(damped) else 0.0
    damped[at, at] += np.where(damped[at, at] == 0, 1.0, 0.0)
    factor: Doubles = stoppable(np.linalg.cholesky, stoppable(np.linalg.inv, damped)).T
    return factor


def _group(pattern: Pattern) -> int:
    return pattern.m if isinstance(pattern, NofM) else 1


def _saliency_mask(weights: Doubles, diagonal: Doubles, sparsity: float) -> Mask:
    """Return which weights would stay if none moved: it decides how many each block loses."""
    return keep_largest([weights / diagonal], sparsity)[0]


def _sweep(
    weights: Doubles,
    mask: Mask,
    factor: Doubles,
    block: slice,
    pattern: Pattern,
) -> Doubles:
    """Go through the columns of a block; returns the error that each hands on."""
    errors = np.zeros((len(weights), block.stop - block.start))
    for column in range(block.start, block.stop):
        if isinstance(pattern, NofM) and column % pattern.m == 0:
            group = slice(column, min(column + pattern.m, block.stop))
            scores = weights[:, group] / np.diagonal(factor)[group]
            mask[:, group] = pattern.keep([scores], 0.0, 1)[0]
        kept = np.where(mask[:, column], weights[:, column], 0.0)
        error = (weights[:, column] - kept) / factor[column, column]
        behind = slice(column + 1, block.stop)
        weights[:, behind] -= np.outer(error, factor[column, behind])
        weights[:, column] = kept
        errors[:, column - block.start] = error
    return errors
