"""A chain made ready for one number of samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._runtime.blas import blas_threads
from qcore.chain.inference import BlasExecutable, KernelExecutable

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["ChainRunner"]


class ChainRunner:
    """Computes a chain's output into an array of its own; see `graph.running.session.Runner`."""

    def __init__(self, net: Chain, rows: int, threads: int | None) -> None:
        self._net = net
        self._threads = threads
        self._shape = (rows, net.layers[0].in_features)
        self._out = np.empty((rows, net.layers[-1].out_features), np.float32)
        executable = net.executable()
        # One call for all layers, where samples are taken and outputs given as they are.
        plain = net.normalization is None and not net.one_versus_rest
        self._program = (
            executable.program if plain and isinstance(executable, KernelExecutable) else None
        )

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the output; what it returns is overwritten by the next call."""
        call = partial(self._net.predict_proba, inputs["input"])
        if self._threads is None:
            found = call()
        elif isinstance(self._net.executable(), BlasExecutable):
            with blas_threads(self._threads):
                found = call()
        else:
            found = _core.at_most(self._threads, call)
        np.copyto(self._out, found)
        return {"output": self._out}

    def run_as_given(self, inputs: Any) -> dict[str, NDArray[Any]] | None:
        """Compute the output of float32 rows in one call; None for all that has to be looked at."""
        if self._program is None or type(inputs) is not dict or len(inputs) != 1:
            return None
        x = inputs.get("input")
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != np.float32:
            return None
        flags = x.flags
        if not (flags.c_contiguous and flags.aligned and x.dtype.isnative):
            return None
        if self._threads is None:
            self._program.run(x, False, self._out)
        else:
            _core.at_most(self._threads, partial(self._program.run, x, False, self._out))
        return {"output": self._out}

    def times(self, inputs: dict[str, NDArray[Any]], runs: int) -> list[tuple[str, str, int, int]]:
        """Return one step for all layers, which run in one call."""
        least = min(_nanoseconds(lambda: self._either(inputs)) for _ in range(runs))
        work = sum(layer.in_features * layer.out_features for layer in self._net.layers)
        kernels = ", ".join(dict.fromkeys(self._net.kernels))
        return [("network", kernels, work * len(self._out), least)]

    def _either(self, inputs: dict[str, NDArray[Any]]) -> None:
        if self.run_as_given(inputs) is None:
            self.run(inputs)


def _nanoseconds(call: Callable[[], object]) -> int:
    start = perf_counter_ns()
    call()
    return perf_counter_ns() - start
