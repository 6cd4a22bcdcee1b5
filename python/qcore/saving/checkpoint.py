"""Save: networks, dicts of tensors, single tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qcore._arguments.validation import check_flag, check_instance, check_int, check_path
from qcore.chain.chain import Chain
from qcore.errors import ArgumentError
from qcore.files.foreign.compressed_tensors import (
    is_packed,
    schemes_of,
    widened_weights,
    write_config,
    write_weights,
)
from qcore.files.foreign.gguf import write_gguf
from qcore.files.formats import format_of
from qcore.files.qcore_format import container
from qcore.files.sharded.shard_output import SHARD_BYTES, group_by_size, is_index, write_shards
from qcore.frameworks.onnx.write.chain import to_onnx
from qcore.frameworks.onnx.write.graph import write_graph
from qcore.graph.graph import BaseGraph
from qcore.saving.graph import encode_graph
from qcore.saving.network import encode_network

__all__ = ["SINGLE", "save", "stored_nbytes"]

#: The name under which a single tensor is stored.
SINGLE = "tensor"


def save(
    path: str | os.PathLike[str],
    obj: object,
    *,
    file_format: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    recipe: str | None = None,
    lossless: bool = False,
) -> None:
    """Save a network, a dict of tensors or one tensor as a safetensors or GGUF file.

    Tensors with many zeros are stored sparsely where that is smaller; every one comes back from
    `load` bit for bit. The file is written beside its place and renamed, so that a reader sees the
    old file or the new one; an existing file keeps its mode, a symbolic link stays one.

    Parameters
    ----------
    path : str or path-like
        The file. One that ends in ``.gguf`` becomes a GGUF file, which holds floats, integers, and
        affine tensors of 8 or 4 bits with groups of 32 and float16 scales (Q8_0, Q4_0); one that
        ends in ``.onnx`` a graph for a network, as `Sequential.to_onnx` writes it.
    obj : Sequential, mapping of str to tensors, array_like, QTensor or sparse matrix
        What to save; of a fitted estimator of `qcore.sklearn` its network. Arrays are bool,
        integers of 8 to 64 bits, float16, float32, float64 or
        complex64, of any stride and byte order.
    file_format : {"qcore", "compressed-tensors", "gguf"}, optional
        Default: "gguf" where the name ends in ``.gguf``, else "qcore". "compressed-tensors" is
        for tensors by name, in the layouts that vLLM and others load: matrices named
        ``*.weight``, affine, of 1 to 8 bits, with scales for the tensor, rows or groups; it writes
        ``config.json`` beside the file too, or the part of it that is about quantization. Codes
        of other shapes or names become float32 there, as do those of rows that no multiple of 32
        is in GGUF, with a warning.
    shard_bytes : int, default 5,000,000,000
        The most that the tensors of a file weigh, where `path` is that of an index
        (``NAME.safetensors.index.json``): the files are written beside it.
    recipe : str, optional
        A text to keep in the file, as `Recipe.to_toml` gives it; `Recipe.load` finds it there.
    lossless : bool, default False
        Store floats in fewer bytes, every bit kept: their exponents, of which weights have few, are
        entropy-coded, and the SHA-256 of each such tensor is checked when it is loaded. Only qcore
        reads such a file.

    Raises
    ------
    TypeError
        If a file cannot hold it; names the tensor.
    OSError
        If the file cannot be written; the old one stays as it was.

    See Also
    --------
    qcore.load, qcore.load_tensors

    Examples
    --------
    >>> import tempfile, numpy as np, qcore as qc
    >>> w = np.float32([[0.5, -1.0], [0.25, 2.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     qc.save(f"{folder}/w.safetensors", {"w": qc.quantize(w), "bias": w[0]})
    ...     tensors = qc.load(f"{folder}/w.safetensors")
    >>> tensors["bias"]
    array([ 0.5, -1. ], dtype=float32)
    >>> tensors["w"].values
    array([[ 32, -64],
           [ 16, 127]], dtype=int8)
    """
    target = check_path(path)
    if hasattr(obj, "get_params") and not hasattr(obj, "network_"):
        raise TypeError(
            f"obj is {type(obj).__name__}, an estimator; save the network: qcore.from_sklearn(obj)"
        )
    kind, tensors, about = _contents(getattr(obj, "network_", obj))
    check_int(shard_bytes, "shard_bytes", 1)
    if recipe is not None:
        check_instance(recipe, str, "recipe")
        about["recipe"] = recipe
    if target.suffix == ".onnx":
        if isinstance(obj, BaseGraph):
            write_graph(obj, target, recipe=recipe)
            return
        if not isinstance(obj, Chain):
            raise TypeError(f"obj is {type(obj).__name__}; an ONNX file holds a network")
        to_onnx(obj, target, recipe=recipe)
        return
    form = format_of(target, file_format)
    if check_flag(lossless, "lossless") and form != "qcore":
        raise ArgumentError("lossless", f"lossless is True; {form} has no coded floats")
    if form == "gguf":
        if kind in ("network", "graph"):
            raise TypeError("obj is a network; GGUF holds tensors, give its named_weights()")
        write_gguf(target, tensors, recipe=recipe)
        return
    if (form == "compressed-tensors" or is_index(target)) and kind != "checkpoint":
        what = form if form != "qcore" else "an index of files"
        raise TypeError(f"obj is one tensor or a network; {what} holds a dict of tensors")
    if form == "compressed-tensors":
        tensors = widened_weights(tensors)
    packed = is_packed(tensors)

    def write(place: Path, some: Mapping[str, object]) -> None:
        if form == "compressed-tensors":
            write_weights(place, some, packed=packed)
        else:
            container.write(place, kind, some, lossless=lossless, **about)

    if is_index(target):
        sizes = [(name, _nbytes(value)) for name, value in tensors.items()]
        groups = group_by_size(sizes, shard_bytes)
        write_shards(target, groups, lambda at, names: write(at, {n: tensors[n] for n in names}))
    else:
        write(target, tensors)
    if form == "compressed-tensors":
        write_config(target, schemes_of(tensors), packed=packed)


def _nbytes(value: object) -> int:
    return int(value.nbytes if hasattr(value, "nbytes") else np.asarray(value).nbytes)


def stored_nbytes(obj: object) -> int:
    """Return the size of the file that `save` would write, header and all, without writing it.

    Parameters
    ----------
    obj
        As in `save`.

    Returns
    -------
    int

    Examples
    --------
    >>> import numpy as np
    >>> stored_nbytes({"w": np.zeros((100, 100), np.float32)})  # zeros are not stored
    288
    """
    kind, tensors, about = _contents(obj)
    return container.nbytes(kind, tensors, **about)


def _contents(obj: object) -> tuple[str, Mapping[str, object], dict[str, Any]]:
    """Return the kind, the tensors and the rest of the description of what is to be saved."""
    if isinstance(obj, Mapping):
        for name in obj:
            if not isinstance(name, str):
                raise TypeError(f"the names of tensors are str; {name!r} is not")
        return "checkpoint", obj, {}
    if isinstance(obj, Chain):
        tensors, about = encode_network(obj)
        return "network", tensors, about
    if isinstance(obj, BaseGraph):
        tensors, about = encode_graph(obj)
        return "graph", tensors, about
    return "tensor", {SINGLE: obj}, {}
