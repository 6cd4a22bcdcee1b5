"""Every architecture, with every head, beside the library that saves such folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40, "pad_token_id": 1,
}  # fmt: skip
ONE_TYPE = {**SIZES, "type_vocab_size": 1}
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
# Class names before what follows, the configuration's sizes, and heads that are left out.
MODELS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "Bert": (SIZES, ("ForMaskedLM", "ForPreTraining")),
    "Albert": ({**SIZES, "embedding_size": 16}, ("ForMaskedLM", "ForPreTraining")),
    "Camembert": (ONE_TYPE, ("ForMaskedLM",)),
    "DistilBert": (
        {
            "vocab_size": 61, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
            "max_position_embeddings": 40, "pad_token_id": 1,
        },
        ("ForMaskedLM",),
    ),
    "Electra": ({**SIZES, "embedding_size": 16}, ("ForPreTraining", "ForMaskedLM")),
    "MPNet": (SIZES, ("ForMaskedLM",)),
    "Roberta": (ONE_TYPE, ("ForMaskedLM",)),
    "XLMRoberta": (ONE_TYPE, ("ForMaskedLM",)),
}  # fmt: skip
CASES = [(stem, head) for stem, (_, more) in MODELS.items() for head in ("Model", *HEADS, *more)]


def saved(stem: str, head: str, config: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    model = getattr(transformers, stem + head)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def check_near(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(("stem", "head"), CASES, ids=lambda name: name)
def test_texts(tmp_path: Path, stem: str, head: str) -> None:
    sizes, left_out = MODELS[stem]
    config = getattr(transformers, f"{stem}Config")(**sizes)
    model = saved(stem, head, config, tmp_path)
    net = qc.from_pretrained_folder(tmp_path)
    rng = np.random.default_rng(1)
    ids, mask = rng.integers(5, 61, (3, 17)), np.ones((3, 17), np.int64)
    mask[1, 9:], ids[1, 9:] = 0, 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}
    inputs = {value.name: inputs[value.name] for value in net.inputs}
    with torch.no_grad():
        encoder = model.base_model if head in left_out else model
        wanted = encoder(**{name: torch.tensor(array) for name, array in inputs.items()})
    for name, found in net.run(inputs).items():
        if head == "ForQuestionAnswering":
            expected = torch.stack([wanted.start_logits, wanted.end_logits], -1).numpy()
        else:
            expected = wanted[name].numpy()
        counted = (mask > 0) if found.ndim == 3 else slice(None)
        check_near(found[counted], expected[counted])


@pytest.mark.parametrize("head", ["Model", "ForImageClassification"])
def test_images(tmp_path: Path, head: str) -> None:
    sizes = {name: size for name, size in SIZES.items() if name.startswith(("hid", "num", "int"))}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=4)
    model = saved("ViT", head, config, tmp_path)
    net = qc.from_pretrained_folder(tmp_path)
    x = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.tensor(x))
    for name, found in net.run({"pixel_values": x}).items():
        check_near(found, wanted[name].numpy())
