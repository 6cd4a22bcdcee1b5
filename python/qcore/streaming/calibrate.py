"""Calibration on samples larger than memory, on this machine or on a cluster: a tree of merges.

Samples go through the float network in blocks of rows; each layer's observer takes in what the
layer is given. What observers of two blocks have seen is merged, in any order, with the same
result to the bit, so that a cluster does blocks as tasks and merges them by twos.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import single_samples
from qcore._display.progress import EpochProgress, Progress
from qcore._runtime.extras import require
from qcore.arrays.params.observer import Observer
from qcore.errors import ArgumentError
from qcore.estimators.calibration.calibration import BLOCK, layer_inputs
from qcore.estimators.graphs.batches import SIZE, batches_of
from qcore.estimators.graphs.statistics import observe
from qcore.files.formats import open_tensors
from qcore.files.source import TensorSource
from qcore.graph.graph import BaseGraph
from qcore.loading import load
from qcore.nn.sequential import Sequential
from qcore.streaming.cluster import connected

__all__ = ["SHARD_ROWS", "observe_layers", "samples_in"]

#: Samples of a task: blocks of them, so that each is what it is on one machine.
SHARD_ROWS = 4 * BLOCK

Observers = dict[str, Observer]


def observe_layers(
    network: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    observer: str = "minmax",
    percentile: float = 99.99,
    dask: Any = None,
    progress: Progress = "auto",
    shard_rows: int = SHARD_ROWS,
) -> Observers:
    """Show samples from a file to a network from a file, and observe the input of each layer.

    Memory holds some rows of the samples, whatever the file's length, where it is one that is read
    in rows (``.npy``, safetensors).

    Parameters
    ----------
    network : path
        A network that `qcore.save` wrote, or one in ONNX; a graph has one input.
    data : path
        A file with one array, or with one named ``X``: (n, inputs) floats, for a graph (n, ...).
    observer : {"minmax", "percentile", "mse", "entropy"}, default "minmax"
        As in `Observer`.
    percentile : float, default 99.99
        Of the observer of that name.
    dask : str or dask.distributed.Client, optional
        Do the work on a cluster, as `compress_file` does; workers must see both files. Observers
        are merged where they are, by twos; what comes back is one for each layer.
    progress : bool, "auto" or callable
        A bar over the samples on standard error.
    shard_rows : int
        Samples of a task; a multiple of 4,096.

    Returns
    -------
    dict of str to Observer
        By the name of the layer; of a graph, by the name of each value that a weight reads.

    Raises
    ------
    ImportError
        If `dask` is given and not installed: ``pip install 'qcore-cpu[dask]'``.
    ValueError
        If the samples do not fit the network, or are not finite.
    """
    if shard_rows < 1 or shard_rows % BLOCK:
        raise ArgumentError(
            "shard_rows", f"shard_rows is {shard_rows}; it must be a multiple of {BLOCK}"
        )
    paths = (str(Path(network).absolute()), str(Path(data).absolute()))
    settings = {"method": observer, "percentile": percentile}
    _network(paths[0], _version(paths[0]))  # an error in it is told before any work
    rows = samples_in(data)
    starts = range(0, rows, shard_rows)
    text = Path(data).name
    with EpochProgress(progress, rows, text, unit="samples") as shown:
        if dask is None:
            found: Observers = {}
            for start in starts:
                found = _merged(found, _observed(paths, settings, start, shard_rows))
                shown.update(min(start + shard_rows, rows), text)
            return found
        distributed = require("dask.distributed", "calibrate with dask")
        with connected(distributed, dask) as client:
            tasks = [
                client.submit(_alone, paths, settings, start, shard_rows, pure=False)
                for start in starts
            ]
            while len(tasks) > 1:
                pairs = [tasks[index : index + 2] for index in range(0, len(tasks), 2)]
                tasks = [
                    client.submit(_merged, *pair, pure=False) if len(pair) == 2 else pair[0]
                    for pair in pairs
                ]
            result: Observers = tasks[0].result()
            shown.update(rows, text)
            return result


def samples_in(data: str | os.PathLike[str]) -> int:
    """Return how many samples a file has.

    Raises
    ------
    ValueError
        If it has none, or not one array of samples.
    """
    source, name = _samples(str(data))
    shape = source.info(name).shape
    if not shape or not shape[0]:
        raise ValueError(f"data has shape {shape}; it must be (n, inputs) with n above 0")
    return shape[0]


def _observed(
    paths: tuple[str, str], settings: dict[str, Any], start: int, count: int
) -> Observers:
    """Return what the layers are given for some rows."""
    net = _network(paths[0], _version(paths[0]))
    source, name = _samples(paths[1])
    info = source.info(name)
    stop = min(start + count, info.shape[0])
    if isinstance(net, BaseGraph):
        return _observed_values(net, source, name, (start, stop), settings)
    found = {layer.name: Observer(**settings) for layer in net.layers}
    for first in range(start, stop, BLOCK):
        rows = _rows(source, name, first, min(first + BLOCK, stop))
        for layer, value in layer_inputs(net, single_samples(rows, net.layers[0].in_features)):
            found[layer.name].update(value)
    return found


def _observed_values(
    graph: BaseGraph,
    source: TensorSource,
    name: str,
    rows: tuple[int, int],
    settings: dict[str, Any],
) -> Observers:
    """Return what the weights of a graph are given for some rows."""
    read = dict.fromkeys(slot.node.inputs[0] for slot in graph.slots)
    found = {value: Observer(**settings) for value in read if value not in graph.constants}
    for first in range(rows[0], rows[1], SIZE):
        batch = batches_of(graph, _rows(source, name, first, min(first + SIZE, rows[1])))
        observe(graph, batch, found)
    return found


def _alone(paths: tuple[str, str], settings: dict[str, Any], start: int, count: int) -> Observers:
    """Do `_observed` on a worker, which has one CPU."""
    _core.work_alone()
    return _observed(paths, settings, start, count)


def _merged(first: Observers, second: Observers) -> Observers:
    if not first:
        return second
    return {layer: seen.merge(second[layer]) for layer, seen in first.items()}


def _rows(source: TensorSource, name: str, start: int, stop: int) -> NDArray[Any]:
    if source.info(name).in_rows:
        return source.read_rows(name, start, stop)
    return np.asarray(source[name])[start:stop]


def _samples(path: str) -> tuple[TensorSource, str]:
    """Open the samples; returns the name of their array, too."""
    source = open_tensors(Path(path))
    names = list(source)
    if len(names) != 1 and "X" not in names:
        raise ValueError(f"'{path}' has no array X; it has {', '.join(names) or 'none'}")
    return source, names[0] if len(names) == 1 else "X"


def _version(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _network(path: str, version: tuple[int, int]) -> Sequential | BaseGraph:
    net = load(path)
    if not isinstance(net, (Sequential, BaseGraph)):
        raise ValueError(f"'{path}' is no network; only networks have activations")
    return net
