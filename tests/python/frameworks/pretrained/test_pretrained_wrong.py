"""Folders that are corrupt, hostile or of models that there are not: each refused by name."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from pretrained_parts import CONFIG, MODULES, bert_tensors, write_folder, write_modules


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model_type": "llama"}, qc.UnsupportedError, "'llama'; qcore builds albert, bert"),
        ({"model_type": None}, qc.FormatError, "no 'model_type'"),
        ({"use_alibi": True}, qc.UnsupportedError, "use_alibi = true"),
        ({"is_decoder": True}, qc.UnsupportedError, "is_decoder is True"),
        ({"position_embedding_type": "relative_key"}, qc.UnsupportedError, "relative_key"),
        ({"hidden_act": "mish"}, qc.UnsupportedError, "hidden_act is 'mish'"),
        ({"num_attention_heads": 5}, qc.UnsupportedError, "does not divide the width 24"),
        ({"num_hidden_layers": 10**9}, qc.UnsupportedError, "more than tensors are there"),
        ({"num_hidden_layers": 3}, qc.FormatError, "has no tensor 'encoder.layer.2"),
        ({"num_hidden_layers": 1}, qc.FormatError, "has 'encoder.layer.1"),
        ({"vocab_size": 49}, qc.FormatError, "word_embeddings.weight' has shape (50, 24)"),
        ({"vocab_size": "50"}, qc.FormatError, "vocab_size is '50'; it must be an integer"),
        ({"hidden_size": 0}, qc.FormatError, "hidden_size is 0"),
        ({"hidden_size": True}, qc.FormatError, "hidden_size is True"),
        ({"layer_norm_eps": -1}, qc.FormatError, "layer_norm_eps is -1"),
        ({"architectures": ["BertForMultipleChoice"]}, qc.UnsupportedError, "MultipleChoice"),
        ({"architectures": 7}, qc.FormatError, "architectures is 7"),
    ],
)
def test_configurations(tmp_path: Path, changes: Any, error: Any, words: str) -> None:
    folder = write_folder(tmp_path / "m", {**CONFIG, **changes})
    with pytest.raises(error) as caught:
        qc.from_pretrained_folder(folder)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)


def test_tensors(tmp_path: Path) -> None:
    tensors = bert_tensors()
    surplus = {**tensors, "adapter.down": np.zeros(3, np.float32)}
    with pytest.raises(qc.FormatError, match=r"has 'adapter\.down', of which"):
        qc.from_pretrained_folder(write_folder(tmp_path / "a", CONFIG, surplus))
    missing = {name: t for name, t in tensors.items() if "output.dense.bias" not in name}
    with pytest.raises(qc.FormatError, match=r"no tensor 'encoder\.layer\.0.*layer\.1"):
        qc.from_pretrained_folder(write_folder(tmp_path / "b", CONFIG, missing))
    whole = {**tensors, "pooler.dense.bias": np.zeros(24, np.int64)}
    with pytest.raises(qc.FormatError, match=r"'pooler\.dense\.bias' is int64"):
        qc.from_pretrained_folder(write_folder(tmp_path / "c", CONFIG, whole))


def test_pickles_are_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(qc.FormatError, match=r"pytorch_model\.bin, a pickle.*save_pretrained"):
        qc.from_pretrained_folder(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(qc.FormatError, match=r"no \.safetensors file"):
        qc.from_pretrained_folder(folder)


def test_no_folder(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "m") / "config.json"
    with pytest.raises(NotADirectoryError):
        qc.from_pretrained_folder(path)
    path.write_text("{nonsense")
    with pytest.raises(qc.FormatError, match="is no JSON"):
        qc.from_pretrained_folder(path.parent)
    path.write_text("[1]")
    with pytest.raises(qc.FormatError, match="must be a JSON object"):
        qc.from_pretrained_folder(path.parent)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        qc.from_pretrained_folder(path.parent)


def test_arguments(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    with pytest.raises(ValueError, match="outputs has 'logits'"):
        qc.from_pretrained_folder(folder, outputs="logits")
    with pytest.raises(ValueError, match="pooling"):
        qc.from_pretrained_folder(folder, pooling="median")
    with pytest.raises(ValueError, match="normalize is True and pooling 'auto'"):
        qc.from_pretrained_folder(folder, normalize=True)
    with pytest.raises(qc.LimitError, match="max_tensors"):
        qc.from_pretrained_folder(folder, max_tensors=3)


@pytest.mark.parametrize(
    ("pooling", "modules", "error", "words"),
    [
        ({"pooling_mode_lasttoken": True}, MODULES, qc.UnsupportedError, "lasttoken"),
        ({"pooling_mode_mean_tokens": False}, MODULES, qc.UnsupportedError, "no pooling"),
        ({"pooling_mode": "mean", "shrink": 2}, MODULES, qc.UnsupportedError, "shrink"),
        ({}, [{**MODULES[0], "path": "../m"}], qc.FormatError, "not inside"),
        ({}, [MODULES[0], {"path": "", "type": "x.CNN"}], qc.UnsupportedError, "module CNN"),
        ({}, [MODULES[1]], qc.UnsupportedError, "begins with Pooling"),
        ({}, [MODULES[0], MODULES[2]], qc.UnsupportedError, "Normalize before any Pooling"),
        ({}, {"a": 1}, qc.FormatError, "no list of modules"),
    ],
)
def test_modules(tmp_path: Path, pooling: Any, modules: Any, error: Any, words: str) -> None:
    folder = write_folder(tmp_path / "m")
    write_modules(folder, pooling, modules)
    with pytest.raises(error) as caught:
        qc.from_pretrained_folder(folder)
    assert words in str(caught.value)
    if "not inside" not in words:
        qc.from_pretrained_folder(folder, pooling=None)


def test_config_of_any_bytes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    rng = np.random.default_rng(0)
    text = json.dumps(CONFIG).encode()
    for _ in range(200):
        broken = bytearray(text)
        for at in rng.integers(0, len(text), 3):
            broken[at] = rng.integers(32, 127)
        (folder / "config.json").write_bytes(bytes(broken))
        with contextlib.suppress(ValueError, NotImplementedError):
            qc.from_pretrained_folder(folder)
