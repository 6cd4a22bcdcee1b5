"""The package's front: every public name is there, and costs nothing before it is used."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

import qcore as qc


@pytest.mark.parametrize("name", qc.__all__)
def test_public_names(name: str) -> None:
    assert getattr(qc, name) is getattr(qc, name)
    assert name in dir(qc)


def test_public_names_are_sorted_and_complete() -> None:
    assert sorted(qc.__all__) == sorted(qc._HOMES)
    assert len(set(qc.__all__)) == len(qc.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'qcore' has no attribute 'quantise'"):
        qc.quantise  # type: ignore[attr-defined]  # noqa: B018


def test_import_is_light() -> None:
    heavy = "('numpy', 'rich', 'sklearn')"
    code = f"import sys, qcore.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_library_needs_numpy_and_little_else() -> None:
    # What the command, reports, readers and estimators ask for cannot be imported here.
    code = """
import sys
absent = "click dask keras onnx onnxruntime pandas rich safetensors scipy sklearn tensorflow torch"
sys.modules.update(dict.fromkeys(absent.split()))
import numpy as np, qcore as qc
names = [getattr(qc, name) for name in qc.__all__ if name != "sklearn"]
w = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
net = qc.nn.Sequential.from_arrays([w], [None], layout="out_in", output="linear")
small = qc.compress(net, w, bits=4)
qc.save(sys.argv[1], small)
print(qc.load(sys.argv[1]).run({small.inputs[0].name: w})[small.outputs[0].name].shape)
"""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, f"{folder}/a.safetensors"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(8, 8)\n", "")


def test_the_package_is_small() -> None:
    # Deflated, as in a wheel; a build for development is not stripped of all that a release is.
    home = Path(qc.__file__).parent
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in home.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(home.parent))
    assert len(target.getvalue()) < 8_000_000
    python = sum(path.stat().st_size for path in home.rglob("*.py"))
    assert python < 3_000_000
