"""Load: networks, dicts of tensors, single tensors."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from numpy.typing import NDArray

from qcore._arguments.validation import check_one_of, check_path
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import UnsupportedError
from qcore.files.formats import open_tensors
from qcore.files.limits import Limits
from qcore.files.qcore_format import container
from qcore.frameworks.onnx.read.fallback import mixed_graph
from qcore.frameworks.onnx.read.load import from_onnx, load_model
from qcore.frameworks.pretrained.folder import from_pretrained_folder, is_pretrained_folder
from qcore.frameworks.tflite.read import from_tflite
from qcore.graph.building.check import checked
from qcore.graph.graph import EXACT
from qcore.nn.graph import Graph
from qcore.nn.sequential import Sequential
from qcore.saving.checkpoint import SINGLE
from qcore.saving.graph import decode_graph
from qcore.saving.network import decode_network
from qcore.saving.packed import PACKED

__all__ = ["load", "load_tensors"]


def load(
    path: str | os.PathLike[str],
    *,
    fallback: str | None = None,
    exact: str | None = None,
    max_bytes: int | None = None,
    max_tensors: int | None = None,
    max_name_bytes: int | None = None,
) -> Any:
    """Load what `save` saved.

    Parameters
    ----------
    path : str or path-like
        A checkpoint, as in `load_tensors`, or a network in ONNX (`from_onnx`) or
        TFLite (`from_tflite`), or a folder with the config.json of an encoder that
        `from_pretrained_folder` builds; folders of other models are checkpoints.
    max_bytes : int, optional
        The most that the tensors may take decoded. Default: 64 times the file's bytes, and 256 MiB
        whatever these are; sparse matrices that are emptier need more.
    max_tensors : int, optional
        The most tensors; default 200,000.
    max_name_bytes : int, optional
        The most bytes of a tensor's name; default 4,096.
    fallback : {None, "onnxruntime"}
        What runs the parts of an ONNX model whose ops there are not; by default it is refused. What
        comes back then has ``run``, ``fallback_ops``, and ``fallback_share_``: the share of the
        time that they took.
    exact : {None, "onnx", "tflite"}
        Whose integers a quantized graph gives to the bit, as in `Graph`. None: as the file says.

    Returns
    -------
    Sequential, Graph, dict, ndarray, QTensor, CsrMatrix, NmMatrix or BsrMatrix
        What was saved; from files that qcore did not write, as `load_tensors`.

    Raises
    ------
    OSError
        If the file cannot be read.
    FormatError
        If it is corrupt or truncated, or of a newer format than this version reads; LimitError, if
        it asks for more than `max_bytes` or its kin.

    See Also
    --------
    load_tensors : Always a dict.

    Examples
    --------
    >>> import tempfile, numpy as np, qcore as qc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     qc.save(f"{folder}/codes.safetensors", np.arange(3))
    ...     qc.load(f"{folder}/codes.safetensors")
    array([0, 1, 2])
    """
    place = check_path(path)
    check_one_of(fallback, "fallback", (None, "onnxruntime"))
    check_one_of(exact, "exact", EXACT)
    limits = Limits(max_bytes, max_tensors, max_name_bytes)
    if place.suffix == ".onnx":
        try:
            return from_onnx(place, exact=exact)
        except UnsupportedError as error:
            if fallback is None:
                raise
            return mixed_graph(load_model(place), place, error)
    if place.suffix == ".tflite":
        return from_tflite(place, exact=exact)
    if is_pretrained_folder(place):
        return from_pretrained_folder(place, **asdict(limits))
    file = open_tensors(place, limits)
    if not isinstance(file, container.Container):
        return dict(file)
    if file.kind == "network":
        with file.checked():
            return decode_network(file, file.about, Sequential)
    if file.kind == "graph":
        with file.checked():
            graph = decode_graph(file, file.about, Graph)
            return checked(graph if exact is None else graph.changed(exact=exact))
    if file.kind == "tensor" and list(file) == [SINGLE]:
        return file[SINGLE]
    return dict(file)


def load_tensors(
    path: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    max_tensors: int | None = None,
    max_name_bytes: int | None = None,
) -> dict[str, NDArray[Any] | QTensor | SparseMatrix]:
    """Load every tensor of a file by its name.

    Parameters
    ----------
    path : str or path-like
        A safetensors file of any maker, weights that compressed-tensors packed among them;
        several as one checkpoint: their index
        (``model.safetensors.index.json``), their folder, or a glob (``model-*.safetensors``); a
        GGUF file (of any type); NumPy's ``.npz`` or ``.npy``,
        or a folder of ``.npy`` files, each named as its tensor (pickled objects are refused).
    max_bytes : int, optional
        The most that the tensors may take decoded. Default: 64 times the file's bytes, and 256 MiB
        whatever these are; sparse matrices that are emptier need more.
    max_tensors : int, optional
        The most tensors; default 200,000.
    max_name_bytes : int, optional
        The most bytes of a tensor's name; default 4,096.

    Returns
    -------
    dict of str to ndarray, QTensor, CsrMatrix, NmMatrix or BsrMatrix
        In the file's types and the machine's byte order; bfloat16 and the floats of 8 bits and
        fewer become float32, exactly.

    Raises
    ------
    OSError
        If the file cannot be read.
    FormatError
        If it is corrupt or truncated, or of a newer format than this version reads; LimitError, if
        it asks for more than `max_bytes` or its kin.

    Examples
    --------
    >>> import tempfile, numpy as np, qcore as qc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/w.npz", w=np.ones(2))
    ...     qc.load_tensors(f"{folder}/w.npz")
    {'w': array([1., 1.])}
    """
    tensors = open_tensors(check_path(path), Limits(max_bytes, max_tensors, max_name_bytes))
    if isinstance(tensors, container.Container) and tensors.kind == "network" and PACKED in tensors:
        with tensors.checked():
            return decode_network(tensors, tensors.about, Sequential).named_weights()
    return dict(tensors)
