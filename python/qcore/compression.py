"""One call: a trained model in, a small one out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from qcore._arguments.validation import check_flag
from qcore.deep_compression.search import compress_deeply
from qcore.errors import ArgumentError
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.foreign.gguf_blocks import BLOCK as GGUF_BLOCK
from qcore.files.formats import format_of
from qcore.files.limits import USUAL, Limits
from qcore.frameworks.keras import from_keras, is_keras
from qcore.frameworks.pretrained.folder import is_pretrained_folder
from qcore.frameworks.sklearn import from_sklearn, is_estimator
from qcore.frameworks.torch import from_torch, is_module
from qcore.graph.graph import BaseGraph
from qcore.loading import load
from qcore.nn.sequential import Sequential
from qcore.saving.checkpoint import save
from qcore.shrinking import Wishes, shrunk
from qcore.streaming.compress import CompressedFile, compress_file
from qcore.streaming.lossless import compress_lossless

__all__ = ["compress"]


class _Absent:
    def __repr__(self) -> str:
        return "none"


#: No samples. None is refused: it is more often a variable that was to hold some.
_ABSENT: Any = _Absent()


def compress(
    model: Any,
    X: Any = _ABSENT,
    y: ArrayLike | None = None,
    *,
    output: str | PathLike[str] | None = None,
    file_format: str | None = None,
    dask: Any = None,
    bits: int | Mapping[str, int] | None = 8,
    group_size: int | None = None,
    sparsity: float | Mapping[str, float] | None = None,
    pattern: str = "unstructured",
    activations: str | None = "auto",
    scheme: str = "affine",
    levels: int | None = None,
    ignore: Iterable[str] = ("*bias",),
    lossless: bool = False,
    target_bytes: int | None = None,
    target_ratio: float | None = None,
    min_score: float | None = None,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    folder: str | PathLike[str] | None = None,
    max_bytes: int | None = None,
    max_tensors: int | None = None,
    max_name_bytes: int | None = None,
    **training: Any,
) -> Any:
    """Make a trained model small: at once, or with training to a size or a score.

    Without a target, weights are pruned and quantized without training. With one, which is for
    networks, samples and labels, the model goes through Deep Compression: it is pruned gradually
    while it trains with itself as the teacher, its weights come to share few values, which are
    trained, and its file is entropy-coded. Sparsity and the number of values follow from the
    target; ``report_`` has every network that was measured on the way, and why one was chosen.

    Parameters
    ----------
    model : Sequential, estimator, PyTorch or Keras model, dict of str to array, or path
        The model; it is not changed. An estimator is one that `from_sklearn` takes, fitted;
        PyTorch's modules and Keras' models become networks by `from_torch` and `from_keras`. A path
        is that of a checkpoint of any kind that `load_tensors` reads, which may be larger than
        memory; with samples, that of a network that `load` reads: ONNX, TFLite, a folder with
        config.json and safetensors (this one also with ``activations="dynamic"``). A `Graph` is
        compressed weight by weight; it has no targets.
    X : array_like, optional
        Samples, (n, inputs), from which a network's activations are calibrated. For a `Graph` an
        array, a dict of arrays by input, or an iterable of either.
    y : array_like, optional
        Labels, (n,): for a target, to choose neurons by, and for scores in the report.
    output : path, optional
        The file to write where `model` is a path; an old one is replaced when it is complete.
    file_format : {"qcore", "compressed-tensors", "gguf"}, optional
        Of `output`, as in `save`.
    dask : str or dask.distributed.Client, optional
        Where `model` is a path: do the work on a cluster, at this address, or "local"; as in
        `qcore.streaming.compress.compress_file`.
    bits : int, dict or None, default 8
        Width of a weight's code, as in `Quantizer`; None: the weights stay floats.
    group_size : int, optional
        One scale for each so many inputs of an output. Default: one for each output; in GGUF
        files 32, as their types are.
    sparsity : float or dict, optional
        The share of all weights, in [0, 1), or of those that a pattern names, that becomes zero. Of
        a network with samples, each layer loses what it can spare, and what stays makes up for what
        goes and for rounding, in one pass (SparseGPT and GPTQ, see `Quantizer.fit`); else those
        least in magnitude go, over the whole model. No labels, no training: 0.5 costs little, 0.9
        some with samples, much without.
    pattern : str, default "unstructured"
        The shape of what goes, as in `Pruner`; "2:4" implies its sparsity.
    activations, scheme, levels, ignore
        As in `Quantizer`.
    lossless : bool, default False
        Where `model` is a path: quantize nothing; store floats in fewer bytes, every bit kept, as
        in `qcore.streaming.lossless.compress_lossless`.
    target_bytes : int, optional
        The most that the saved file may weigh, header and all.
    target_ratio : float, optional
        How many times smaller it is to be than 4 bytes a weight.
    min_score : float, optional
        The least score, 0 to 1, on the validation data: the smallest file that keeps it.
    validation_data : tuple of (X, y), optional
        On which choices are made. Default: a tenth of the samples, which is not trained on. For a
        graph without a target ``(X, None)``: samples that nothing is fitted to, by which it is
        found what is to stay wide, so that 99.5 % of the answers to them stay the same, 99 % of
        texts that are read of labels, counted with a margin: a quarter of what changes when
        outputs are off four times as far. Default: X, and 99 % as it is. The report says which:
        ``report_.totals["judged on"]``.
    folder : path-like, optional
        Keeps the state of the trainings: a call that was stopped goes on where it was.
    max_bytes, max_tensors, max_name_bytes : int, optional
        Where `model` is a path: what the file may ask for, as in `load`.
    **training
        Options of `Sequential.fit`, such as ``epochs`` (30: those of the pruning; what comes after
        takes a fraction), ``learning_rate``, ``teacher`` (the model itself), ``augment``,
        ``random_state``, ``progress``.

    Returns
    -------
    Sequential, CompressedClassifier or CompressedRegressor, dict, or CompressedFile
        Of the model's kind, with ``report_``, what was done to each tensor. For a path: where the
        file is and what it weighs; the bytes are those of compressing the loaded tensors and saving
        them.

    Warns
    -----
    AccuracyWarning
        If samples are given and the answers to them are not what they were: the score falls by
        more than a point or, without labels, more than one answer in a hundred is another one, or
        the outputs are off by more than a tenth of their spread.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> small = qc.compress({"w": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)})
    >>> small["w"].bits, small["w"].nbytes
    (8, 96)
    """
    if X is None:
        raise TypeError("X is None; it is an array of samples, and left out where there are none")
    X = None if X is _ABSENT else X
    limits = Limits(max_bytes, max_tensors, max_name_bytes)
    if limits != USUAL and not isinstance(model, (str, PathLike)):
        raise ValueError("max_bytes and its kin are for a model that is a path")
    if check_flag(lossless, "lossless"):
        return _lossless(model, output, file_format, limits)
    wishes = Wishes(bits, group_size, sparsity, pattern, activations, scheme, levels, ignore)
    if is_module(model):
        model = from_torch(model)
    elif is_keras(model):
        model = from_keras(model)
    if (target_bytes, target_ratio, min_score) != (None, None, None):
        if not isinstance(model, Sequential) or X is None or y is None:
            raise ValueError("a target needs a network, samples X and labels y")
        return compress_deeply(
            model,
            X,
            y,
            target_bytes=target_bytes,
            target_ratio=target_ratio,
            min_score=min_score,
            validation_data=validation_data,
            folder=None if folder is None else Path(folder),
            **training,
        )
    if training:
        name = next(iter(training))
        raise TypeError(
            f"compress() got an unexpected keyword argument {name!r}; without a "
            "target there is no training"
        )
    judges = None if validation_data is None or X is None else validation_data[0]
    if isinstance(model, (str, PathLike)):
        # With samples a file is not tensors to stream, but a network to run.
        runs = _is_foreign_graph(model, output) or _is_dynamic_folder(model, activations)
        if X is None and not runs:
            return _streamed(
                model, output, wishes, file_format=file_format, dask=dask, limits=limits
            )
        if dask is not None:
            raise ValueError("dask is given; it is for tensors that are quantized one by one")
        small = shrunk(_loaded_network(model, limits), X, y, wishes, judges=judges)
        if output is not None:
            save(output, small, file_format=file_format)
        return small
    if output is not None or file_format is not None or dask is not None:
        name = "output" if output is not None else "dask" if file_format is None else "file_format"
        raise ValueError(f"{name} is given; it is for a model that is a path, use save")
    if is_estimator(model):
        from qcore.sklearn import compressed_estimator  # scikit-learn may not be there

        small = shrunk(from_sklearn(model), X, y, wishes)
        return compressed_estimator(model, small, wishes.options())
    return shrunk(model, X, y, wishes, judges=judges)


def _lossless(
    model: Any, output: str | PathLike[str] | None, file_format: str | None, limits: Limits
) -> CompressedFile:
    """Code the floats of a file."""
    if not isinstance(model, (str, PathLike)) or output is None:
        raise ArgumentError(
            "lossless", "lossless needs a model that is a path, and output; or save"
        )
    if file_format not in (None, "qcore"):
        raise ArgumentError("lossless", f"lossless is True; {file_format} has no coded floats")
    return compress_lossless(model, output, limits=limits)


def _streamed(
    path: str | PathLike[str],
    output: str | PathLike[str] | None,
    wishes: Wishes,
    *,
    file_format: str | None,
    dask: Any,
    limits: Limits,
) -> Any:
    """Compress a file tensor by tensor, without loading it."""
    if wishes.prunes or wishes.bits is None:
        asked = "sparsity" if wishes.sparsity is not None else "pattern"
        name = asked if wishes.prunes else "bits=None"
        raise ValueError(f"{name} is given; a file is quantized, tensor by tensor")
    if output is None:
        raise ValueError("output is missing; it names the file to write")
    group_size = wishes.group_size
    if group_size is None and format_of(Path(output), file_format) == "gguf":
        group_size = GGUF_BLOCK
    coder = Quantizer(
        wishes.bits,
        scheme=wishes.scheme,
        levels=wishes.levels,
        group_size=group_size,
        ignore=wishes.ignore,
    )
    return compress_file(path, output, coder, file_format=file_format, dask=dask, limits=limits)


def _is_foreign_graph(path: str | PathLike[str], output: str | PathLike[str] | None) -> bool:
    """Whether a file holds a graph that becomes one of ours, and no tensors to stream."""
    target = "" if output is None else Path(output).suffix
    return Path(path).suffix in (".onnx", ".tflite") and target not in ("", ".onnx")


def _is_dynamic_folder(path: str | PathLike[str], activations: str | None) -> bool:
    """Whether a folder's encoder is to run on integers that need no samples."""
    return activations == "dynamic" and is_pretrained_folder(Path(path))


def _loaded_network(path: str | PathLike[str], limits: Limits) -> Any:
    """Return the network of a file."""
    model = load(path, **asdict(limits))
    if not isinstance(model, (Sequential, BaseGraph)):
        raise ValueError(
            f"X is given and {path!r} holds tensors, no network; leave X out, or load them and "
            "give Quantizer.fit their statistics"
        )
    return model
