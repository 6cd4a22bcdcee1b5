"""Encoders out of folders: equal to BERT in NumPy; what cannot be built is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from pretrained_parts import (
    CONFIG,
    MODULES,
    bert,
    bert_tensors,
    tokens,
    write_folder,
    write_modules,
    write_safetensors,
)

MEAN = {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True}


def check_near(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_encoder_is_bert(tmp_path: Path) -> None:
    net = qc.from_pretrained_folder(write_folder(tmp_path / "m"))
    assert [value.name for value in net.inputs] == [
        "input_ids", "attention_mask", "token_type_ids",
    ]  # fmt: skip
    assert all(value.shape == ("batch", "sequence") for value in net.inputs)
    assert [value.shape for value in net.outputs] == [("batch", "sequence", 24), ("batch", 24)]
    for inputs in (tokens(), tokens(1, 1), tokens(5, 16)):
        found = net.run(inputs)
        hidden, pooled = bert(inputs, bert_tensors())
        check_near(found["last_hidden_state"], hidden)
        check_near(found["pooler_output"], pooled)


def test_names_are_those_of_the_file(tmp_path: Path) -> None:
    net = qc.from_pretrained_folder(write_folder(tmp_path / "m"))
    slots = {slot.name: slot for slot in net.slots}
    name = "encoder.layer.1.intermediate.dense.weight"
    assert np.array_equal(slots[name].matrix(), bert_tensors()[name])
    assert slots[name].bias == "encoder.layer.1.intermediate.dense.bias"
    assert slots[name].node.name == "encoder.layer.1.intermediate.dense"
    assert "embeddings.word_embeddings.weight" in slots


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "mean_sqrt_len"])
def test_pooling_over_the_tokens_of_the_mask(tmp_path: Path, mode: str) -> None:
    folder = write_folder(tmp_path / "m")
    inputs = tokens()
    hidden, _ = bert(inputs, bert_tensors())
    mask = inputs["attention_mask"][..., None]
    wanted = {
        "mean": (hidden * mask).sum(1) / mask.sum(1),
        "mean_sqrt_len": (hidden * mask).sum(1) / np.sqrt(mask.sum(1)),
        "cls": hidden[:, 0],
        "max": np.where(mask > 0, hidden, -np.inf).max(1),
    }[mode]
    net = qc.from_pretrained_folder(folder, pooling=mode, normalize=False)
    assert [value.name for value in net.outputs] == ["sentence_embedding"]
    check_near(net.run(inputs)["sentence_embedding"], wanted)
    net = qc.from_pretrained_folder(folder, pooling=mode)
    unit = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    check_near(net.run(inputs)["sentence_embedding"], unit)


def test_modules_are_followed_and_can_be_left(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    write_modules(folder, {**MEAN, "pooling_mode_cls_token": True})
    inputs = tokens()
    hidden, _ = bert(inputs, bert_tensors())
    mask = inputs["attention_mask"][..., None]
    both = np.concatenate([hidden[:, 0], (hidden * mask).sum(1) / mask.sum(1)], axis=1)
    found = qc.from_pretrained_folder(folder).run(inputs)
    assert list(found) == ["sentence_embedding"]
    check_near(found["sentence_embedding"], both / np.linalg.norm(both, axis=1, keepdims=True))
    alone = qc.from_pretrained_folder(folder, pooling=None)
    assert [value.name for value in alone.outputs] == ["last_hidden_state", "pooler_output"]
    two = qc.from_pretrained_folder(folder, outputs=["pooler_output", "sentence_embedding"])
    assert list(two.run(inputs)) == ["pooler_output", "sentence_embedding"]


def test_dense_module(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write_modules(folder, MEAN, [*MODULES[:2], dense])
    weight = np.random.default_rng(5).standard_normal((7, 24)).astype(np.float32)
    about = {"in_features": 24, "out_features": 7, "bias": False,
             "activation_function": "torch.nn.modules.activation.Tanh"}  # fmt: skip
    write_folder(folder / "2_Dense", about, {"linear.weight": weight})
    inputs = tokens()
    hidden, _ = bert(inputs, bert_tensors())
    mask = inputs["attention_mask"][..., None]
    wanted = np.tanh((hidden * mask).sum(1) / mask.sum(1) @ weight.T)
    check_near(qc.from_pretrained_folder(folder).run(inputs)["sentence_embedding"], wanted)


def test_load_shards_halves_and_old_names(tmp_path: Path) -> None:
    tensors = {
        f"bert.{name}".replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t
        for name, t in bert_tensors().items()
    }
    tensors["bert.embeddings.position_ids"] = np.arange(16)[None]
    tensors["cls.predictions.bias"] = np.zeros(50, np.float32)
    folder = write_folder(tmp_path / "m", {**CONFIG, "architectures": ["BertForMaskedLM"]}, {})
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, part in halves.items():
        write_safetensors(folder / shard, {name: tensors[name] for name in part})
    index = {name: shard for shard, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    net = qc.load(folder)
    inputs = tokens()
    check_near(net.run(inputs)["last_hidden_state"], bert(inputs, bert_tensors())[0])
    half = {name: t.astype(np.float16) for name, t in bert_tensors().items()}
    net = qc.load(write_folder(tmp_path / "half", CONFIG, half))
    check_near(net.run(inputs)["last_hidden_state"], bert(inputs, half)[0])


def test_folders_of_other_models_are_tensors(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", {**CONFIG, "model_type": "llama"})
    assert set(qc.load(folder)) == set(bert_tensors())
    assert set(qc.load_tensors(write_folder(tmp_path / "b"))) == set(bert_tensors())


def test_classifier_has_its_labels(tmp_path: Path) -> None:
    config = {
        **CONFIG, "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "calm", "1": "cross", "2": "glad"},
    }  # fmt: skip
    rng = np.random.default_rng(3)
    head = {"classifier.weight": rng.standard_normal((3, 24)).astype(np.float32),
            "classifier.bias": rng.standard_normal(3).astype(np.float32)}  # fmt: skip
    encoder = {f"bert.{name}": tensor for name, tensor in bert_tensors().items()}
    net = qc.from_pretrained_folder(write_folder(tmp_path / "m", config, encoder | head))
    inputs = tokens()
    pooled = bert(inputs, bert_tensors())[1]
    wanted = pooled @ head["classifier.weight"].T + head["classifier.bias"]
    check_near(net.run(inputs)["logits"], wanted)
    assert net.classes_ is not None
    assert net.classes_.tolist() == ["calm", "cross", "glad"]


def test_codes_of_a_quantized_folder_stay_codes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    qc.compress(folder / "model.safetensors", output=tmp_path / "small.safetensors")
    (folder / "model.safetensors").unlink()
    (tmp_path / "small.safetensors").rename(folder / "model.safetensors")
    net = qc.from_pretrained_folder(folder)
    assert net.nbytes < sum(t.nbytes for t in bert_tensors().values()) / 2
    inputs = tokens()
    decoded = {name: np.asarray(t) for name, t in qc.load_tensors(folder).items()}
    check_near(net.run(inputs)["last_hidden_state"], bert(inputs, decoded)[0])


def test_compressed_by_the_same_call(tmp_path: Path) -> None:
    net = qc.from_pretrained_folder(write_folder(tmp_path / "m"), outputs="last_hidden_state")
    inputs = tokens(6, 12)
    small = qc.compress(net, inputs, bits=8)
    small.save(tmp_path / "small.safetensors")
    found = qc.load(tmp_path / "small.safetensors").run(inputs)["last_hidden_state"]
    wanted = bert(inputs, bert_tensors())[0]
    assert np.array_equal(found, small.run(inputs)["last_hidden_state"])
    cosine = np.sum(found * wanted) / np.linalg.norm(found) / np.linalg.norm(wanted)
    assert cosine > 0.99
    assert small.nbytes < net.nbytes / 2.5


def test_onnx_of_an_encoder_is_valid_and_equal(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    net = qc.from_pretrained_folder(write_folder(tmp_path / "m"), pooling="mean")
    net.to_onnx(tmp_path / "m.onnx")
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"))
    found = session.run(None, tokens())[0]
    check_near(found, net.run(tokens())["sentence_embedding"])
    again = qc.load(tmp_path / "m.onnx").run(tokens())["sentence_embedding"]
    check_near(again, found)
