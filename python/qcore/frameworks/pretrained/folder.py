"""A folder with config.json and safetensors as a graph."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from qcore._arguments.validation import check_one_of, check_path
from qcore.errors import FormatError, UnsupportedError
from qcore.files.foreign.config import known_config
from qcore.files.formats import open_tensors
from qcore.files.limits import Limits
from qcore.files.sharded.shards import shard_paths
from qcore.frameworks.pretrained.builder import Architecture, Builder, Encoded
from qcore.frameworks.pretrained.config import Config
from qcore.frameworks.pretrained.sentences import (
    POOLINGS,
    emit_modules,
    modules_of,
    pooled,
    unit_length,
)
from qcore.frameworks.pretrained.table import ARCHITECTURES
from qcore.frameworks.pretrained.weights import Weights
from qcore.graph.building.check import checked
from qcore.graph.passes import prepared
from qcore.graph.value import Value
from qcore.nn.graph import Graph

__all__ = ["from_pretrained_folder", "is_pretrained_folder"]

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_MAKES_TENSORS = (
    "model = AutoModel.from_pretrained(folder); model.save_pretrained(folder) in transformers "
    "writes model.safetensors"
)


def is_pretrained_folder(path: Path) -> bool:
    """Whether a path is a folder of a model whose architecture there is."""
    if not path.is_dir():
        return False
    try:
        home = modules_of(path)[0]
    except (FormatError, UnsupportedError, OSError):
        home = path
    kind = known_config(home).get("model_type")
    return isinstance(kind, str) and kind in ARCHITECTURES


def from_pretrained_folder(
    path: str | os.PathLike[str],
    *,
    outputs: str | Iterable[str] = "auto",
    pooling: str | None = "auto",
    normalize: bool | None = None,
    max_bytes: int | None = None,
    max_tensors: int | None = None,
    max_name_bytes: int | None = None,
) -> Graph:
    """Build an encoder from a folder as hubs have them: ``config.json`` and safetensors.

    BERT (MiniLM, BGE, E5, GTE among it), DistilBERT, RoBERTa, XLM-RoBERTa, CamemBERT, MPNet,
    ELECTRA, ALBERT and ViT, with the heads that classify texts, tokens, spans or images. There is
    no tokenizer: ``input_ids``, ``attention_mask`` and, where the model has them,
    ``token_type_ids`` are int64 of (batch, sequence). Other models come through ONNX.

    Parameters
    ----------
    path : str or path-like
        The folder; weights may lie in several files. Where it has a ``modules.json``
        (sentence-transformers), the graph goes on with the pooling and normalization that this
        lists.
    outputs : str or iterable of str, default "auto"
        Of "sentence_embedding", "logits", "last_hidden_state" and "pooler_output" those that are
        wanted. "auto": what the folder is made for, the first of these that it has; of a bare
        encoder the last two.
    pooling : {"auto", "mean", "cls", "max", "mean_sqrt_len", None}
        How the hidden states of a text's tokens become its embedding, over those that
        ``attention_mask`` counts. "auto": as ``modules.json`` says. None: not at all.
    normalize : bool, optional
        With a `pooling` that is named: whether embeddings get a length of 1; default True.
    max_bytes, max_tensors, max_name_bytes : int, optional
        What the file may ask for, as in `load`.

    Returns
    -------
    Graph
        Its weights have the names that they have in the file; those of linear layers lie as
        (in, out).

    Raises
    ------
    OSError
        If files cannot be read.
    FormatError
        If they are corrupt or pickles (which are never loaded), or tensors are missing, of another
        shape than the configuration says, or not among those that it speaks of: names them.
    UnsupportedError
        If the architecture, a key of the configuration, its value or a module is not known.
    ValueError
        If an output is asked for that the model has not.

    Examples
    --------
    >>> import json, pathlib, tempfile, numpy as np, qcore as qc
    >>> config = {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "image_size": 4,
    ...           "patch_size": 2, "num_hidden_layers": 0, "intermediate_size": 16}
    >>> patches = "embeddings.patch_embeddings.projection"
    >>> shapes = {"embeddings.cls_token": (1, 1, 8), "embeddings.position_embeddings": (1, 5, 8),
    ...           f"{patches}.weight": (8, 3, 2, 2), f"{patches}.bias": 8,
    ...           "layernorm.weight": 8, "layernorm.bias": 8}
    >>> tensors = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "config.json").write_text(json.dumps(config))
    ...     qc.save(f"{folder}/model.safetensors", tensors)
    ...     net = qc.from_pretrained_folder(folder)
    >>> net.inputs, net.outputs[0].name
    ((Value('pixel_values', float32, (batch, 3, 4, 4)),), 'last_hidden_state')
    """
    folder = check_path(path)
    check_one_of(pooling, "pooling", ("auto", None, *POOLINGS))
    if normalize is not None and pooling in ("auto", None):
        raise ValueError(f"normalize is {normalize!r} and pooling {pooling!r}; it goes with a name")
    limits = Limits(max_bytes, max_tensors, max_name_bytes)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Is no folder with config.json and safetensors", str(folder))
    home, modules = (folder, []) if pooling is None else modules_of(folder)
    if pooling is None and not (home / "config.json").exists():
        home = modules_of(folder)[0]
    config = Config(home / "config.json")
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise UnsupportedError(
            f"'{config.path}' has the model_type {config.model_type!r}; qcore builds "
            f"{', '.join(sorted(ARCHITECTURES))}; others come through ONNX (from_onnx)"
        )
    _check_tensors(home)
    weights = Weights(open_tensors(home, limits), f"'{home}'", architecture.prefix)
    builder = Builder(config, weights)
    encoded = architecture.encode(builder)
    found: dict[str, str] = {}
    if pooling not in ("auto", None):
        vector = pooled(builder, encoded, str(pooling))
        found["sentence_embedding"] = unit_length(builder, vector) if normalize in (
            None, True) else vector  # fmt: skip
    elif modules:
        found["sentence_embedding"] = emit_modules(builder, encoded, modules, limits)
    if _has_head(architecture, config):
        builder.in_head = True
        found["logits"] = architecture.heads[config.head](builder, encoded)
    found["last_hidden_state"] = encoded.hidden
    if encoded.pooled:
        found["pooler_output"] = encoded.pooled
    config.check_all_taken()
    weights.check(architecture.left_out)
    wanted = _wanted(found, outputs, str(config.path))
    classes = _classes(config) if wanted == ["logits"] else None
    return _graph(builder, encoded, found, wanted, classes)


def _has_head(architecture: Architecture, config: Config) -> bool:
    """Whether there is a head to build; those that trained an encoder are left out."""
    head = config.head
    if not head or head in architecture.training_heads:
        return False
    if head not in architecture.heads:
        raise UnsupportedError(
            f"'{config.path}': architectures has a model for {head}; for {config.model_type} qcore "
            f"builds {', '.join(architecture.heads)} and the encoder alone"
        )
    return True


def _classes(config: Config) -> list[str] | None:
    return (
        config.labels if config.head in ("SequenceClassification", "ImageClassification") else None
    )


def _wanted(found: dict[str, str], outputs: str | Iterable[str], where: str) -> list[str]:
    """Return the names of the outputs that were asked for."""
    if isinstance(outputs, str) and outputs == "auto":
        first = next(iter(found))
        return list(found) if first == "last_hidden_state" else [first]
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    for name in names:
        if name not in found:
            raise ValueError(f"outputs has {name!r}; {where} makes {', '.join(map(repr, found))}")
    return names


def _graph(
    builder: Builder, encoded: Encoded, found: dict[str, str], wanted: list[str],
    classes: list[str] | None,
) -> Graph:  # fmt: skip
    for name in wanted:
        builder.add("Identity", [found[name]], [name])
    graph = Graph(
        builder.nodes, inputs=encoded.inputs, constants=builder.constants,
        outputs=[Value(name, "float32") for name in wanted],
        classes=None if classes is None else np.array(classes),
    )  # fmt: skip
    graph = checked(prepared(graph))
    return graph.changed(outputs=[graph.values[name] for name in wanted])


def _check_tensors(folder: Path) -> None:
    """Refuse a folder of pickles, with what to do."""
    if shard_paths(folder):
        return
    pickles = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickles:
        raise FormatError(
            f"'{folder}' has its weights in {pickles[0]}, a pickle, which is never loaded; "
            f"{_MAKES_TENSORS}"
        )
    raise FormatError(f"'{folder}' has config.json and no .safetensors file")
