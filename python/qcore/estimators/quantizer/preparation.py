"""What is done to a whole network before its layers are quantized; it still computes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.models import named_weights
from qcore.arrays.layerwise.algorithms import EQUALIZERS
from qcore.chain.normalization import Normalization
from qcore.estimators.equalization.equalization import equalizing_scales, scaled
from qcore.estimators.equalization.hadamard import rotated
from qcore.estimators.equalization.inputs import input_normalization, normalized

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["Preparation"]

Floats = NDArray[np.float32]


class Preparation:
    """The steps that were chosen for one network, to be taken with it and with others like it."""

    def __init__(self) -> None:
        self._scales: dict[str, Floats] = {}
        self._turned: list[str] = []
        self._input: Normalization | None = None

    def fit(
        self,
        net: Chain,
        samples: Floats | None,
        names: Sequence[str],
        asked: Mapping[str, tuple[str, ...]],
        options_of: Callable[[str], Mapping[str, Any]],
        *,
        scales_input: bool = False,
    ) -> Chain:
        """Choose the steps and return the network after them.

        Parameters
        ----------
        net, samples
        names : sequence of str
            The weights that will be quantized.
        asked : mapping of str to tuple of str
            What was asked for, by weight. Scales that move between layers concern all of them; a
            rotation is of one.
        options_of
            How a weight will be quantized.
        scales_input : bool
            Whether the first layer's input becomes integers, and may be normalized for that.
        """
        if scales_input:
            self._input = input_normalization(net, samples)
            if self._input is not None:
                net = normalized(net, self._input)
        methods = dict.fromkeys(name for steps in asked.values() for name in steps)
        for method in methods:
            if method in EQUALIZERS:
                if not all(method in asked[name] for name in names):
                    raise ValueError(f"algorithm has {method!r} for some layers; it is for all")
                scales = equalizing_scales(net, method, samples, options_of)
                net = scaled(net, scales)
                for name, scale in scales.items():
                    self._scales[name] = self._scales.get(name, np.float32(1)) * scale
        turned = [name for name in names if "hadamard" in asked[name]]
        self._turned = [name.removesuffix(".weight") for name in turned]
        return rotated(net, self._turned) if turned else net

    def apply(self, model: Any) -> Any:
        """Return a model after the steps."""
        if self._input is not None:
            model = normalized(model, self._input)
        if self._scales:
            model = scaled(model, self._scales)
        return rotated(model, self._turned) if self._turned else model

    def added(self, model: Any, prepared: Any) -> set[str]:
        """Return the tensors that only the prepared model has."""
        return set(named_weights(prepared)) - set(named_weights(model))
