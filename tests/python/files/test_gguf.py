"""GGUF files, against the gguf package, in both directions."""

from __future__ import annotations

import struct

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore.files.foreign.gguf import Gguf, write_gguf
from qcore.files.foreign.gguf_blocks import quantize_blocks
from qcore.streaming.compress import compress_file

KINDS = ["Q8_0", "Q4_0", "Q4_1"]


def blocks_of(kind, rows=5, cols=96, seed=0, scale=1.0):
    w = np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32) * scale
    w[0, :32] = 0
    return w, gguf.quants.quantize(w, Kind[kind])


def write_with_gguf(path, tensors):
    """Write arrays, and (type, blocks) pairs, with the other package."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("answer", 42)
    writer.add_array("words", ["one", "two"])
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_bool("yes", True)
    for name, value in tensors.items():
        if isinstance(value, tuple):
            writer.add_tensor(name, value[1], raw_dtype=Kind[value[0]])
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_wrote_decodes_alike(tmp_path, kind):
    _, blocks = blocks_of(kind)
    plain = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "single": np.arange(6, dtype=np.float32),
        "double": np.arange(2.0),
        "ints": np.arange(6, dtype=np.int32).reshape(3, 2),
    }
    path = write_with_gguf(tmp_path / "a.gguf", {"w": (kind, blocks)} | plain)
    found = qc.load(path)
    assert list(found) == ["w", *plain]
    expected = gguf.quants.dequantize(blocks, Kind[kind])
    assert np.array_equal(np.asarray(found["w"]), expected)
    assert isinstance(found["w"], qc.QTensor) == (kind != "Q4_1")
    for name, array in plain.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@given(data=st.binary(min_size=34 * 3, max_size=34 * 3), kind=st.sampled_from(KINDS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_block_decodes_alike(tmp_path, data, kind):
    size = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[kind]
    blocks = np.frombuffer(data, np.uint8)[: 3 * size].reshape(1, -1).copy()
    halves = blocks.reshape(3, size)[:, : 4 if kind == "Q4_1" else 2].view("<f2")
    if not np.isfinite(halves).all():
        return
    path = write_with_gguf(tmp_path / "a.gguf", {"w": (kind, blocks)})
    found = qc.load(path)["w"]
    expected = gguf.quants.dequantize(blocks, Kind[kind])
    assert np.array_equal(np.asarray(found), expected)
    if isinstance(found, qc.QTensor):  # and it goes back to a file
        qc.save(tmp_path / "b.gguf", {"w": found})
        assert np.array_equal(np.asarray(qc.load(tmp_path / "b.gguf")["w"]), expected)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_what_is_written_is_read_by_others(tmp_path, kind):
    w, blocks = blocks_of(kind, seed=1)
    source = write_with_gguf(tmp_path / "a.gguf", {"w": (kind, blocks), "bias": w[0]})
    tensors = qc.load(source)
    write_gguf(tmp_path / "b.gguf", tensors, Gguf(source))
    reader = gguf.GGUFReader(tmp_path / "b.gguf")
    assert reader.get_field("answer").contents() == 42
    assert reader.get_field("words").contents() == ["one", "two"]
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert found["w"].tensor_type == Kind[kind]
    decoded = gguf.quants.dequantize(found["w"].data, Kind[kind])
    assert np.array_equal(decoded, np.asarray(tensors["w"]))
    assert np.array_equal(found["bias"].data, w[0])


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_of_our_own(tmp_path, bits):
    w, _ = blocks_of("Q8_0", seed=2)
    q = with_half_scales(qc.quantize(w, bits=bits, group_size=32))
    qc.save(tmp_path / "a.gguf", {"w": q})
    found = qc.load(tmp_path / "a.gguf")["w"]
    assert np.array_equal(np.asarray(found), np.asarray(q))
    (tensor,) = gguf.GGUFReader(tmp_path / "a.gguf").tensors
    assert list(tensor.shape[::-1]) == [5, 96]
    decoded = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    assert np.array_equal(decoded, np.asarray(q))


def with_half_scales(q):
    scale = q.scale.astype(np.float16).astype(np.float32)
    return qc.QTensor.from_parts(q.values, scale, group_size=q.group_size, bits=q.bits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 100.0])
def test_blocks_are_those_of_llama_cpp(kind, scale):
    w, blocks = blocks_of(kind, 40, 320, seed=3, scale=scale)
    assert np.array_equal(quantize_blocks(w, kind).reshape(blocks.shape), blocks)


def test_compress_from_gguf(tmp_path):
    w = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float16)
    kept = blocks_of("Q8_0")[1]
    path = write_with_gguf(tmp_path / "a.gguf", {"w": w, "kept": ("Q8_0", kept)})
    qc.compress(path, output=tmp_path / "b.safetensors", bits=5)
    found = qc.load(tmp_path / "b.safetensors")
    assert found["w"] == qc.quantize(w, bits=5, axis=0, observer="mse")
    assert found["kept"] == qc.load(path)["kept"]


def test_what_gguf_cannot_hold(tmp_path):
    w = np.ones((2, 64), np.float32)
    path = tmp_path / "a.gguf"
    for q, reason in (
        (qc.quantize(w, axis=0), "group_size=32"),
        (qc.quantize(w, bits=5, group_size=32), "4 or 8 bits"),
        (qc.quantize(w * 0.3, group_size=32, scale_dtype=np.float32), "scale_dtype='float16'"),
        (with_half_scales(qc.quantize(w, group_size=64)), "group_size=32"),
    ):
        with pytest.raises(ValueError, match=f"tensor 'w': .*{reason}"):
            qc.save(path, {"w": q})
    with pytest.raises(TypeError, match="tensor 'w' is bool; GGUF"):
        qc.save(path, {"w": np.array([True])})
    net = qc.nn.Sequential.from_arrays([np.ones((2, 2))], [None], layout="in_out")
    with pytest.raises(TypeError, match="obj is a network"):
        qc.save(path, net)
    assert not path.exists()


@given(cut=st.integers(0, 2000), flip=st.none() | st.integers(0, 300), value=st.integers(0, 255))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)
def test_broken_files_are_refused(tmp_path, cut, flip, value):
    path = tmp_path / "a.gguf"
    if not path.exists():
        write_with_gguf(path, {"w": ("Q8_0", blocks_of("Q8_0")[1])})
    content = bytearray(path.read_bytes()[:cut])
    if flip is not None and flip < len(content):
        content[flip] = value
    (tmp_path / "b.gguf").write_bytes(content)
    try:
        qc.load(tmp_path / "b.gguf")
    except qc.FormatError as error:
        assert "b.gguf" in str(error)  # noqa: PT017


def test_a_version_to_come_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 4, 0, 0))
    with pytest.raises(qc.FormatError, match="version 4; versions 2 and 3 are read"):
        qc.load(tmp_path / "a.gguf")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tile_bytes", [1, 5000])
def test_a_stream_writes_the_bytes_of_memory(tmp_path, bits, tile_bytes):
    rng = np.random.default_rng(1)
    tensors = {
        "w": rng.standard_normal((17, 64)).astype(np.float32),
        "stack": rng.standard_normal((3, 4, 32)).astype(np.float16),
        "bias": rng.standard_normal(5).astype(np.float32),
        "ids": np.arange(6, dtype=np.int32).reshape(2, 3),
    }
    qc.save(tmp_path / "source", tensors)
    quantizer = qc.Quantizer(bits, group_size=32)
    compress_file(tmp_path / "source", tmp_path / "a.gguf", quantizer, tile_bytes=tile_bytes)
    exact = qc.Quantizer(bits, group_size=32, scale_dtype="float16")
    qc.save(tmp_path / "b.gguf", exact.fit_transform(qc.load_tensors(tmp_path / "source")))
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    kind = {4: "Q4_0", 8: "Q8_0"}[bits]
    assert types == {"w": kind, "stack": kind, "bias": "F32", "ids": "I32"}


def test_compress_to_gguf_with_no_other_option(tmp_path):
    qc.save(tmp_path / "a", {"w": np.ones((4, 64), np.float32)})
    done = qc.compress(tmp_path / "a", output=tmp_path / "b.gguf")
    assert qc.load(done.path)["w"].group_size == 32
    with pytest.raises(ValueError, match=r"tensor 'w': .*affine, of 4 or 8 bits"):
        qc.compress(tmp_path / "a", output=tmp_path / "b.gguf", bits=5)
    assert qc.load(done.path)["w"].bits == 8  # the old file
    qc.save(tmp_path / "a", {"w": np.array([True])})
    with pytest.raises(TypeError, match="tensor 'w' is BOOL"):
        qc.compress(tmp_path / "a", output=tmp_path / "b.gguf")


def test_quantized_tensors_pass_from_format_to_format(tmp_path):
    w = np.random.default_rng(2).standard_normal((6, 64)).astype(np.float32)
    q = qc.quantize(w, bits=4, group_size=32, scale_dtype="float16")
    qc.save(tmp_path / "a.safetensors", {"fc.weight": q})
    qc.compress(tmp_path / "a.safetensors", output=tmp_path / "b.gguf")
    packed = tmp_path / "c" / "model.safetensors"
    packed.parent.mkdir()
    qc.compress(tmp_path / "b.gguf", output=packed, file_format="compressed-tensors")
    qc.compress(packed, output=tmp_path / "d.safetensors")
    assert np.array_equal(np.asarray(qc.load(tmp_path / "d.safetensors")["fc.weight"]), q)


@pytest.mark.parametrize("tile_bytes", [1, 1 << 20])
def test_asymmetric_codes_are_q4_1(tmp_path, tile_bytes):
    rng = np.random.default_rng(3)
    w = (rng.random((9, 64)) + np.arange(9)[:, None] / 8 - 0.5).astype(np.float32)
    qc.save(tmp_path / "source", {"w": w})
    quantizer = qc.Quantizer(4, group_size=32, symmetric=False)
    compress_file(tmp_path / "source", tmp_path / "a.gguf", quantizer, tile_bytes=tile_bytes)
    exact = qc.Quantizer(4, group_size=32, symmetric=False, scale_dtype="float16")
    q = exact.fit_transform({"w": w})["w"]
    qc.save(tmp_path / "b.gguf", {"w": q})
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    (tensor,) = gguf.GGUFReader(tmp_path / "a.gguf").tensors
    assert tensor.tensor_type.name == "Q4_1"
    theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    assert np.array_equal(theirs, qc.load(tmp_path / "a.gguf")["w"])
    bound = np.abs(q.scale * q.zero_point).max() * 2.0**-11
    assert np.abs(theirs - np.asarray(q)).max() <= bound


def test_rows_that_blocks_do_not_divide_stay_wide_and_say_so(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "odd": rng.standard_normal((4, 33)).astype(np.float32),
        "even": rng.standard_normal((4, 64)).astype(np.float32),
    }
    qc.save(tmp_path / "in.safetensors", tensors)
    quantizer = qc.Quantizer(8, group_size=32)
    done = qc.compress(
        tmp_path / "in.safetensors", bits=8, group_size=32, output=tmp_path / "out.gguf"
    )
    kept = {row["tensor"]: row.get("kept") for row in done.report_.rows}
    assert kept == {"odd": "its rows have 33 values; blocks of GGUF have 32", "even": None}
    found = qc.load(tmp_path / "out.gguf")
    assert np.array_equal(found["odd"], tensors["odd"])
    assert isinstance(found["even"], qc.QTensor)
    codes = quantizer.fit_transform(tensors)
    with pytest.warns(UserWarning, match="'odd' is stored as float32: its rows have 33 values"):
        qc.save(tmp_path / "codes.gguf", codes)
    assert np.array_equal(qc.load(tmp_path / "codes.gguf")["odd"], np.asarray(codes["odd"]))
