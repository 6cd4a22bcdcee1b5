"""Tiny folders as hubs have them, and BERT in NumPy, in float64."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 50, "hidden_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-6,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "transformers_version": "4.8.2",
}  # fmt: skip
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "x.models.Normalize"},
]


def bert_tensors(config: Mapping[str, Any] = CONFIG, seed: int = 0) -> dict[str, Array]:
    """Return random weights, by the names that transformers has."""
    rng = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "pooler.dense.weight": (width, width),
        "pooler.dense.bias": (width,),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        linear = {
            "attention.self.query": (width, width), "attention.self.key": (width, width),
            "attention.self.value": (width, width), "attention.output.dense": (width, width),
            "intermediate.dense": (inner, width), "output.dense": (width, inner),
        }  # fmt: skip
        for name, shape in linear.items():
            shapes[f"{at}.{name}.weight"], shapes[f"{at}.{name}.bias"] = shape, shape[:1]
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (width,)
    return {
        name: (rng.standard_normal(shape) * 0.3 + name.endswith("Norm.weight")).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write a file as every library does."""
    header, data = {}, b""
    for name, array in tensors.items():
        kind = {"float32": "F32", "float16": "F16", "int64": "I64"}[array.dtype.name]
        start, data = len(data), data + array.tobytes()
        header[name] = {
            "dtype": kind, "shape": list(array.shape), "data_offsets": [start, len(data)],
        }  # fmt: skip
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_folder(
    folder: Path, config: Mapping[str, Any] = CONFIG, tensors: Mapping[str, Array] | None = None
) -> Path:
    """Write a model; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    write_safetensors(folder / "model.safetensors", bert_tensors() if tensors is None else tensors)
    return folder


def write_modules(folder: Path, pooling: Mapping[str, Any], modules: Any = MODULES) -> None:
    """Write what sentence-transformers has beside a model."""
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")


def tokens(batch: int = 3, length: int = 9, seed: int = 1) -> dict[str, Array]:
    """Return ids, a mask that ends the second text early, and types."""
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, length), np.int64)
    mask[1:2, length // 2 :] = 0
    return {
        "input_ids": rng.integers(2, CONFIG["vocab_size"], (batch, length)),
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, (batch, length)),
    }


def _norm(x: Array, gain: Array, bias: Array, epsilon: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gain + bias


def _gelu(x: Array) -> Array:
    found: Array = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return found


def bert(
    inputs: Mapping[str, Array], tensors: Mapping[str, Array], config: Mapping[str, Any] = CONFIG
) -> tuple[Array, Array]:
    """Return the last hidden states and what the pooler makes of them."""
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]

    def linear(x: Array, name: str) -> Array:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        return _norm(x, w[f"{name}.weight"], w[f"{name}.bias"], epsilon)

    ids = inputs["input_ids"]
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = x + w["embeddings.token_type_embeddings.weight"][inputs["token_type_ids"]]
    x = norm(x, "embeddings.LayerNorm")
    batch, length, width = x.shape
    masked = (inputs["attention_mask"] == 0)[:, None, None, :]
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(x, f"{at}.attention.self.{part}")
            .reshape(batch, length, heads, -1)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
        scores = np.where(masked, -np.inf, scores)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ v).transpose(0, 2, 1, 3).reshape(batch, length, width)
        x = norm(
            linear(mixed, f"{at}.attention.output.dense") + x, f"{at}.attention.output.LayerNorm"
        )
        wide = _gelu(linear(x, f"{at}.intermediate.dense"))
        x = norm(linear(wide, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
    return x, np.tanh(linear(x[:, 0], "pooler.dense"))
