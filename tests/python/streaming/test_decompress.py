"""Checkpoints decoded into floats."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner

import qcore as qc
from qcore.cli import main
from qcore.streaming.compress import compress_source
from qcore.streaming.decompress import _Decoded

RNG = np.random.default_rng(5)
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def model(path):
    w = RNG.standard_normal((40, 64)).astype(np.float32)
    sparse = np.where(RNG.random((30, 50)) < 0.1, RNG.standard_normal((30, 50)), 0)
    tensors = {
        "rows": qc.quantize(w, bits=5, axis=0),
        "groups": qc.quantize(w, bits=4, group_size=32, symmetric=False),
        "levels": qc.quantize(w, scheme="nf4", axis=0),
        "one": qc.quantize(np.float32(3.0)),
        "csr": qc.CsrMatrix.from_dense(sparse.astype(np.float32)),
        "half": w.astype(np.float16),
        "bias": w[0],
        "ids": np.arange(5),
        "empty": np.empty((0, 3), np.float32),
    }
    qc.save(path, tensors)
    return tensors


def dense(value):
    return value.to_dense() if isinstance(value, qc.CsrMatrix) else np.asarray(value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_quantized_becomes_floats_and_the_rest_stays(tmp_path, dtype):
    tensors = model(tmp_path / "small.safetensors")
    done = qc.decompress(tmp_path / "small.safetensors", tmp_path / "b.safetensors", dtype)
    assert done.nbytes == done.path.stat().st_size
    from safetensors import safe_open

    found = qc.load_tensors(done.path)
    with safe_open(done.path, "numpy") as file:
        stored = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    for name, value in tensors.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype
            assert np.array_equal(found[name], value)
        else:
            assert stored[name] == {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
            wanted = dense(value).astype(DTYPES[dtype]).astype(np.float32)
            assert np.array_equal(np.asarray(found[name], np.float32), wanted)


@pytest.mark.parametrize("tile_bytes", [8, 1000, 1 << 20])
def test_tiles_do_not_matter(tmp_path, tile_bytes):
    tensors = model(tmp_path / "small.safetensors")
    source = _Decoded(qc.files.formats.open_tensors(tmp_path / "small.safetensors"), "float32")
    compress_source(
        source, tmp_path / "small.safetensors", tmp_path / "b.safetensors",
        qc.Quantizer(8, ignore=("*",)), tile_bytes=tile_bytes,
    )  # fmt: skip
    found = qc.load_tensors(tmp_path / "b.safetensors")
    assert all(np.array_equal(dense(found[name]), dense(tensors[name])) for name in tensors)


def test_what_does_not_fit_is_refused(tmp_path):
    q = qc.quantize(np.array([[1e6, 1.0]], np.float32))
    qc.save(tmp_path / "a.safetensors", {"w": q})
    with pytest.raises(OverflowError, match="tensor 'w' has values beyond float16"):
        qc.decompress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "float16")
    assert not (tmp_path / "b.safetensors").exists()
    with pytest.raises(ValueError, match="dtype is 'float8'"):
        qc.decompress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "float8")
    with pytest.raises(ValueError, match=r"output is .*the file to compress"):
        qc.decompress(tmp_path / "a.safetensors", tmp_path / "a.safetensors")


def test_the_command(tmp_path):
    model(tmp_path / "small.safetensors")
    small, out = str(tmp_path / "small.safetensors"), str(tmp_path / "b.gguf")
    run = CliRunner().invoke(main, ["compress", small, "-o", out, "--dequantize", "float16"])
    assert run.exit_code == 0, run.output
    assert "9 tensors as float16 or as they were" in run.output
    found = qc.load_tensors(out)
    assert found["rows"].dtype == np.float16
    arguments = ["compress", small, "-o", out, "--dequantize", "float16"]
    run = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(run.output)["output_bytes"] == (tmp_path / "b.gguf").stat().st_size
    run = CliRunner().invoke(main, [*arguments, "--bits", "4"])
    assert run.exit_code == 2
    assert "--bits and --dequantize exclude each other" in run.output
