"""What criteria need to know of a model besides its weights, gathered from samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import float_array, single_samples
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.criteria import Criterion, Evidence

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["gather_evidence", "layer_stats"]

_BLOCK = 4096


def gather_evidence(
    model: Any,
    names: Iterable[str],
    criterion: Criterion,
    X: ArrayLike | None,
    y: ArrayLike | None,
    stats: Mapping[str, InputStats] | None,
    gradients: Mapping[str, ArrayLike] | None,
    rng: np.random.Generator,
) -> dict[str, Evidence]:
    """Return the evidence of each tensor: what was given, else what samples show.

    Raises
    ------
    ValueError
        If the criterion needs samples, or labels, and there are none.
    """
    names = list(names)
    found: dict[str, Any] = dict((stats if criterion.needs == "stats" else gradients) or {})
    if criterion.needs == "stats" and not found and not isinstance(model, Mapping):
        found = {name: layer_stats(model, name, X) for name in names}
    if criterion.needs == "gradient" and not found and not isinstance(model, Mapping):
        found = _gradients(model, X, y)
    evidence = {}
    for name in names:
        given = {criterion.needs: found.get(name)} if criterion.needs else {}
        if "gradient" in given and given["gradient"] is not None:
            given["gradient"] = float_array(given["gradient"], f"gradients[{name!r}]")
        evidence[name] = Evidence(**given, rng=rng)
    return evidence


def layer_stats(model: Any, name: str, X: ArrayLike | None) -> InputStats:
    """Return the statistics of the inputs of the layer that `name`, a tensor, belongs to."""
    if isinstance(model, Mapping):
        raise ValueError(f"stats has nothing for {name!r}; a dict of arrays needs it")
    samples = _samples(model, X)
    layers = []
    for layer in model.layers:
        if f"{layer.name}.weight" == name:
            break
        layers.append(layer)
    found = InputStats()
    for start in range(0, len(samples), _BLOCK):
        value = model.normalized(samples[start : start + _BLOCK])
        for layer in layers:
            value = layer.forward(value)
        found.update(value)
    return found


def _samples(net: Chain, X: ArrayLike | None) -> NDArray[np.float32]:
    if X is None:
        raise ValueError("X is None; this criterion needs samples")
    return single_samples(X, net.layers[0].in_features)


def _gradients(net: Chain, X: ArrayLike | None, y: ArrayLike | None) -> dict[str, Any]:
    from qcore.training.training import gradient_norms

    if y is None:
        raise ValueError("y is None; criterion 'taylor' needs samples and labels")
    return gradient_norms(net, _samples(net, X), y)
