"""How to prune without training where the caller does not say: in one place."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["untrained_options"]


class Options(TypedDict):
    """Of a `Pruner`."""

    criterion: str
    scope: str


def untrained_options(
    pattern: str, *, samples: bool, labels: bool = False, by_name: bool = False
) -> Options:
    """Return the criterion and the scope that do least harm without training.

    ``python -m qcore.experiments.ablation`` prints the comparison.

    Parameters
    ----------
    pattern : str
        As in `Pruner`.
    samples : bool
        Whether there is a network, with samples.
    labels : bool
        Whether there are labels with them.
    by_name : bool
        Whether each tensor's sparsity is given.
    """
    grouped = ":" in pattern
    free = not grouped and not by_name
    if samples and (grouped or pattern == "unstructured"):
        return Options(criterion="sparsegpt", scope="sensitivity" if free else "layer")
    if samples and pattern == "neurons":
        criterion = "taylor" if labels else "magnitude"
        return Options(criterion=criterion, scope="sensitivity" if free else "layer")
    return Options(criterion="magnitude", scope="global" if free else "layer")
