"""Floats in fewer bytes: every bit comes back, and damage is told."""

from __future__ import annotations

import hashlib
import json
import struct

import numpy as np
import pytest
from click.testing import CliRunner

import qcore as qc
from qcore import _core
from qcore.cli import main
from qcore.errors import FormatError, LimitError
from qcore.files.dtypes import decode
from qcore.files.formats import open_tensors
from qcore.files.qcore_format.container import Container

WIDTHS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1, "F8_E5M2": 1}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def _weights(rng, stored, count):
    """Bytes of trained weights, as they are distributed."""
    x = rng.normal(scale=0.04, size=count).astype(np.float32)
    if stored == "BF16":
        return (x.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    if stored.startswith("F8"):
        scheme = stored.lower().replace("f8", "mxfp8")
        return qc.quantize(x[None], scheme=scheme).values.reshape(-1)
    kinds = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    return x.astype(kinds[stored]).view(np.uint8)


def _write(path, entries, texts=None):
    """Write a plain file of stored tensors: (name, type, shape, bytes)."""
    _core.write_tensor_file(path, entries, texts or {"format": "pt"})


def _header(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


@pytest.mark.parametrize("stored", WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 511, 65536, 70001, 300000])
def test_every_bit_of_every_type_comes_back(stored, count, rng, tmp_path):
    noise = rng.integers(0, 256, count * WIDTHS[stored], dtype=np.uint8)
    entries = [
        ("w", stored, (count,), _weights(rng, stored, count)),
        ("noise", stored, (count, 1), noise),
        (
            "one",
            stored,
            (),
            noise[: WIDTHS[stored]] if count else np.zeros(WIDTHS[stored], np.uint8),
        ),
        ("n", "I64", (2,), np.arange(2).view(np.uint8)),
    ]
    plain, small, back = (tmp_path / f"{name}.safetensors" for name in ("plain", "small", "back"))
    _write(plain, entries)
    done = qc.compress(plain, output=small, lossless=True)
    assert done.nbytes == small.stat().st_size
    assert {row["tensor"] for row in done.report_.rows} == {"w", "noise", "one", "n"}
    raw, coded = Container(plain), Container(small)
    for name, kind, shape, data in entries:
        assert coded.stored_parts(name) == raw.stored_parts(name)
        out = np.empty(data.size, np.uint8)
        coded.copy_part(name, "", 0, out)
        np.testing.assert_array_equal(out, data)
        np.testing.assert_array_equal(coded[name], decode(kind, data, list(shape)))
    qc.decompress(small, back, "stored")
    assert back.read_bytes() == plain.read_bytes()
    if count > 1000:
        assert small.stat().st_size < plain.stat().st_size


def test_weights_of_bfloat16_take_two_thirds(rng, tmp_path):
    data = _weights(rng, "BF16", 1 << 20)
    _write(tmp_path / "a.safetensors", [("w", "BF16", (1024, 1024), data)])
    done = qc.compress(tmp_path / "a.safetensors", output=tmp_path / "b.safetensors", lossless=True)
    assert data.size / done.nbytes > 1.45
    described = json.loads(_header(done.path)[0]["__metadata__"]["qcore"])["tensors"]["w"]
    assert described["sha256"] == hashlib.sha256(data).hexdigest()


def test_save_codes_floats_and_nothing_else(rng, tmp_path):
    tensors = {
        "half": rng.normal(size=(100, 70)).astype(np.float16),
        "wide": rng.normal(size=(90, 80)),
        "fortran": np.asfortranarray(rng.normal(size=(60, 50)).astype(np.float32)),
        "codes": qc.quantize(rng.normal(size=(64, 64)).astype(np.float32), axis=0),
        "sparse": np.where(rng.random((100, 100)) < 0.05, 1.5, 0).astype(np.float32),
        "integers": np.arange(4000),
        "bias": rng.normal(size=10).astype(np.float32),
        "nan": np.resize(np.array([0x7FC00001, 0xFF800000, 0x80000000], np.uint32), 3000).view(
            np.float32
        ),
    }
    path = tmp_path / "a.safetensors"
    qc.save(path, tensors, lossless=True)
    qc.save(tmp_path / "b.safetensors", tensors)
    assert path.stat().st_size < (tmp_path / "b.safetensors").stat().st_size
    found = qc.load(path)
    for name, value in tensors.items():
        if isinstance(value, qc.QTensor):
            assert found[name] == value
        else:
            assert found[name].dtype == value.dtype
            assert found[name].tobytes() == value.tobytes()
    net = qc.nn.Sequential.from_arrays([tensors["fortran"]], [np.zeros(60)], layout="out_in")
    qc.save(path, net, lossless=True)
    x = rng.normal(size=(3, 50)).astype(np.float32)
    np.testing.assert_array_equal(qc.load(path).predict_logits(x), net.predict_logits(x))
    with pytest.raises(ValueError, match="gguf has no coded floats"):
        qc.save(tmp_path / "a.gguf", tensors, lossless=True)


def test_rows_and_bytes_are_read_without_the_rest(rng, tmp_path):
    data = _weights(rng, "BF16", 3 * 65536 + 500 * 4)
    rows = data.size // 2 // 4
    _write(tmp_path / "a.safetensors", [("w", "BF16", (rows, 4), data)])
    qc.compress(tmp_path / "a.safetensors", output=tmp_path / "b.safetensors", lossless=True)
    file = Container(tmp_path / "b.safetensors")
    whole = decode("BF16", data, [rows, 4])
    for start, stop in [
        (0, 1),
        (0, rows),
        (16383, 16386),
        (rows - 3, rows),
        (40000, 40001),
        (5, 5),
    ]:
        np.testing.assert_array_equal(file.read_rows("w", start, stop), whole[start:stop])
    done = qc.compress(tmp_path / "b.safetensors", output=tmp_path / "c.safetensors")
    other = qc.compress(tmp_path / "a.safetensors", output=tmp_path / "d.safetensors")
    assert done.path.read_bytes() == other.path.read_bytes()


def test_damage_is_told_wherever_it_is(rng, tmp_path):
    x = rng.normal(size=(40, 40)).astype(np.float32)
    path = tmp_path / "a.safetensors"
    qc.save(path, {"w": x}, lossless=True)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    for at in range(8 + length, len(raw), 37):
        broken = bytearray(raw)
        broken[at] ^= 1 << at % 8
        path.write_bytes(broken)
        with pytest.raises(FormatError, match=r"'w' is damaged|corrupt"):
            qc.load(path)
        with pytest.raises(FormatError):
            open_tensors(path).read_rows("w", 0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lossless": "F128"}, "coded 'F128'"),
        ({"sha256": "00"}, "no SHA-256"),
        ({"sha256": None}, "'sha256' is None"),
        ({"shape": [50, 40]}, "damaged"),
        ({"shape": [10**6, 10**6]}, "is coded in"),
        ({"shape": [-4, -4]}, "gives the shape"),
        ({"lossless": "BF16"}, "damaged"),
    ],
)
def test_descriptions_that_lie_are_refused(changes, message, rng, tmp_path):
    path = tmp_path / "a.safetensors"
    qc.save(path, {"w": rng.normal(size=(40, 40)).astype(np.float32)}, lossless=True)
    header, rest = _header(path)
    about = json.loads(header["__metadata__"]["qcore"])
    about["tensors"]["w"] |= changes
    header["__metadata__"]["qcore"] = json.dumps(about)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    with pytest.raises(FormatError, match=message):
        qc.load(path)


def test_a_bomb_is_stopped_before_its_memory_is_taken(tmp_path):
    zeros = np.zeros((1 << 20, 96), np.float32)  # 384 MB of one byte
    path = tmp_path / "a.npz"
    np.savez_compressed(path, w=zeros)
    small = tmp_path / "b.safetensors"
    qc.compress(path, output=small, lossless=True, max_bytes=1 << 30)
    assert small.stat().st_size < 100_000
    with pytest.raises(LimitError, match="max_bytes"):
        qc.load(small)
    assert qc.load(small, max_bytes=1 << 30)["w"].shape == zeros.shape


def test_layouts_of_others_are_read_behind_the_code(rng, tmp_path):
    data = rng.integers(0, 120, 256 * 256, dtype=np.uint8)
    scale = rng.random((2, 2)).astype(np.float32)
    entries = [
        ("fc.weight", "F8_E4M3", (256, 256), data),
        ("fc.weight_scale_inv", "F32", (2, 2), scale.view(np.uint8).reshape(-1)),
    ]
    _write(tmp_path / "a.safetensors", entries)
    qc.compress(tmp_path / "a.safetensors", output=tmp_path / "b.safetensors", lossless=True)
    want, found = (qc.load(tmp_path / f"{name}.safetensors") for name in "ab")
    assert list(found) == ["fc.weight"]
    np.testing.assert_array_equal(found["fc.weight"], want["fc.weight"])
    assert _header(tmp_path / "b.safetensors")[0]["__metadata__"]["format"] == "pt"


def test_the_command_line_does_it_both_ways(rng, tmp_path):
    x = rng.normal(size=(64, 64)).astype(np.float32)
    qc.save(tmp_path / "a.safetensors", {"w": x})
    names = [str(tmp_path / f"{name}.safetensors") for name in "abc"]
    run = CliRunner().invoke
    found = run(main, ["compress", names[0], "-o", names[1], "--lossless"])
    assert found.exit_code == 0, found.output
    assert "coded floats" in found.output
    assert (
        run(main, ["compress", names[1], "-o", names[2], "--dequantize", "float32"]).exit_code == 0
    )
    assert qc.load(names[2])["w"].tobytes() == x.tobytes()
    bad = run(main, ["compress", names[0], "-o", names[1], "--lossless", "--bits", "4"])
    assert bad.exit_code == 2
    assert "exclude each other" in bad.output
    with pytest.raises(ValueError, match="needs a model that is a path"):
        qc.compress({"w": x}, lossless=True)
    with pytest.raises(ValueError, match="lie in one safetensors file"):
        qc.compress(names[0], output=tmp_path / "a.gguf", lossless=True)
