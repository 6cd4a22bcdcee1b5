"""MiniLM in fewer bytes: what each way of making it small keeps of 200 sentences' embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benches.peers.sequences.encoders import minilm_of_package

import qcore as qc

__all__ = ["fewer_bytes"]

Make = Callable[[qc.Graph, Sequence[Any]], qc.Graph]


def _quantized(bits: Any, **options: Any) -> Make:
    options = {"activations": "dynamic", **options}
    return lambda net, X: qc.Quantizer(bits, progress=False, **options).fit_transform(net, X)


def _pruned(**options: Any) -> Make:
    """Prune what statistics know of: a table of embeddings is multiplied with nothing."""

    def make(net: qc.Graph, X: Sequence[Any]) -> qc.Graph:
        ignore = ("*bias", "embeddings.*")
        pruner = qc.Pruner(criterion="sparsegpt", ignore=ignore, progress=False, **options)
        coder = qc.Quantizer(8, activations="dynamic", progress=False)
        return coder.fit_transform(net, X, prune=pruner)

    return make


#: None is trained; activations are int8, row by row, where it does not say "static".
WAYS: Mapping[str, Make] = {
    "int8, nearest codes": _quantized(8, algorithm=()),
    "int4, groups of 32, nearest codes": _quantized(4, group_size=32, algorithm=()),
    "int4, groups of 32, all methods": _quantized(4, group_size=32),
    "the same, embeddings int8": _quantized(
        {"embeddings.*": 8, "*": 4}, group_size={"embeddings.*": None, "*": 32}
    ),
    "int8, 50 % pruned (SparseGPT)": _pruned(sparsity=0.5, scope="sensitivity"),
    "int8, `compress(net, X)`": lambda net, X: qc.compress(net, X),
    'int8, `activations="static"`': lambda net, X: qc.compress(net, X, activations="static"),
    "int8, 2:4 (SparseGPT)": _pruned(pattern="2:4"),
}


def fewer_bytes(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each way."""
    found = minilm_of_package()
    if found is None:
        return
    net = found.net
    path = folder / "minilm.safetensors"
    net.save(path)
    whole = path.stat().st_size
    yield "| MiniLM | bytes as stored | smaller | cosine, mean | worst |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    yield f"| float32 | {whole:,} | | | |"
    for name, make in WAYS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small = make(net, found.calibrate)
        small.save(path)
        again = qc.load(path)  # what is stored is what is judged
        close = found.cosines(lambda batch, again=again: again.run(batch)["sentence_embedding"])
        nbytes = path.stat().st_size
        kept = f"{close.mean():.4f} | {close.min():.4f}"
        yield f"| {name} | {nbytes:,} | {whole / nbytes:.2f}× | {kept} |"
