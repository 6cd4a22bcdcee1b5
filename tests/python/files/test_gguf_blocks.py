"""Every type of blocks that GGUF files have, against the decoder of the gguf package."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore import _core
from qcore.files.foreign.gguf import Gguf
from qcore.files.foreign.gguf_blocks import AS_CODES, TYPES

# The package knows its layout, and does not decode it.
UNDECODED = {"Q1_0"}
DECODED = sorted(set(TYPES) - UNDECODED)


def decoded(kind, blocks):
    out = np.empty(blocks.size // TYPES[kind].nbytes * TYPES[kind].elements, np.float32)
    _core.ggml_decode(kind, blocks, out)
    return out


def expected(kind, blocks):
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(blocks.reshape(1, -1), Kind[kind]).reshape(-1)


def assert_same_bits(found, wanted):
    nans = np.isnan(wanted)
    assert np.array_equal(np.isnan(found), nans)
    assert np.array_equal(found.view(np.uint32)[~nans], wanted.view(np.uint32)[~nans])


def write(path, tensors):
    writer = gguf.GGUFWriter(path, "llama")
    for name, (kind, data) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=Kind[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def sensible(kind, rows, blocks, seed=0):
    """Return random blocks whose scales are small floats, none of them infinite or NaN."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (rows, blocks * TYPES[kind].nbytes), np.uint8)
    while not np.isfinite(expected(kind, data)).all():
        bad = ~np.isfinite(expected(kind, data)).reshape(rows * blocks, -1).all(1)
        flat = data.reshape(rows * blocks, -1)
        flat[bad] = rng.integers(0, 256, (int(bad.sum()), flat.shape[1]), np.uint8)
    return data


def test_every_type_of_the_package_is_read():
    quantized = {
        kind.name for kind in gguf.quants._type_traits if kind.name not in ("F32", "F16", "BF16")
    }
    assert quantized <= set(TYPES)
    assert len(quantized) >= 23
    for name, kind in TYPES.items():
        assert kind.number == Kind[name].value
        assert (kind.elements, kind.nbytes) == gguf.GGML_QUANT_SIZES[Kind[name]]


@pytest.mark.numerics
@pytest.mark.parametrize("kind", DECODED)
def test_random_bytes_decode_to_the_same_bits(kind):
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, 400 * TYPES[kind].nbytes, np.uint8)
    assert_same_bits(decoded(kind, blocks), expected(kind, blocks))


@pytest.mark.numerics
@pytest.mark.parametrize("kind", DECODED)
@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF, 0x01, 0xFC])
def test_blocks_of_one_byte_decode_to_the_same_bits(kind, byte):
    blocks = np.full(2 * TYPES[kind].nbytes, byte, np.uint8)
    assert_same_bits(decoded(kind, blocks), expected(kind, blocks))


@pytest.mark.numerics
@given(kind=st.sampled_from(DECODED), data=st.binary(min_size=210, max_size=210))
@settings(deadline=None, max_examples=300)
def test_any_bytes_decode_to_the_same_bits(kind, data):
    count = len(data) // TYPES[kind].nbytes
    blocks = np.frombuffer(data, np.uint8)[: count * TYPES[kind].nbytes].copy()
    assert_same_bits(decoded(kind, blocks), expected(kind, blocks))


def test_signs_of_one_bit():
    # ggml: a bit that is set is d, any other -d.
    half = np.frombuffer(np.float16(0.25).tobytes(), np.uint8)
    bits = np.random.default_rng(0).integers(0, 2, 128)
    blocks = np.concatenate([half, np.packbits(bits.astype(np.uint8), bitorder="little")])
    assert np.array_equal(decoded("Q1_0", blocks), np.where(bits == 1, 0.25, -0.25))


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_file_loads_whole_and_in_rows(tmp_path, kind):
    if kind in UNDECODED:
        data = np.tile(np.arange(36, dtype=np.uint8), (5, 1))
        wanted = decoded(kind, data.reshape(-1)).reshape(5, -1)
    else:
        data = sensible(kind, 5, 2)
        wanted = expected(kind, data).reshape(5, -1)
    path = write(tmp_path / "a.gguf", {"w": (kind, data)})
    found = qc.load(path)["w"]
    # Random blocks of Q8_0 may have a code of 128 after a negative step is turned.
    assert not isinstance(found, qc.QTensor) or kind in AS_CODES
    assert np.array_equal(np.asarray(found), wanted)
    source = Gguf(path)
    info = source.info("w")
    assert info.shape == wanted.shape
    if info.in_rows:
        assert info.dtype == np.float32
        assert np.array_equal(source.read_rows("w", 1, 4), wanted[1:4])


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "IQ4_XS", "MXFP4", "TQ1_0"])
def test_what_is_read_is_compressed(tmp_path, kind):
    data = sensible(kind, 6, 2)
    path = write(tmp_path / "a.gguf", {"w": (kind, data)})
    qc.compress(path, output=tmp_path / "b.safetensors", bits=8)
    wanted = qc.compress({"w": expected(kind, data).reshape(6, -1)}, bits=8)
    assert qc.load(tmp_path / "b.safetensors")["w"] == wanted["w"]


def test_what_is_left_alone_keeps_its_blocks(tmp_path):
    tensors = {kind: (kind, sensible(kind, 3, 1)) for kind in ("Q4_K", "Q6_K", "IQ2_S")}
    tensors["w"] = ("Q5_K", sensible("Q5_K", 4, 1))
    path = write(tmp_path / "a.gguf", tensors)
    qc.compress(path, output=tmp_path / "b.gguf", ignore=("Q4_K", "Q6_K", "IQ2_S"))
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "b.gguf").tensors}
    for kind, (_, data) in tensors.items():
        if kind == "w":
            assert found[kind].tensor_type == Kind.Q8_0
        else:
            assert found[kind].tensor_type == Kind[kind]
            assert np.array_equal(found[kind].data.reshape(data.shape), data)
    qc.compress(path, output=tmp_path / "c.safetensors", ignore=("Q4_K", "Q6_K", "IQ2_S"))
    loaded = qc.load(tmp_path / "c.safetensors")
    for kind in ("Q4_K", "Q6_K", "IQ2_S"):
        assert np.array_equal(loaded[kind].reshape(-1), expected(kind, tensors[kind][1]))


def test_lengths_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match="143 bytes of Q4_K are not 256 elements"):
        _core.ggml_decode("Q4_K", np.zeros(143, np.uint8), np.empty(256, np.float32))
    with pytest.raises(ValueError, match='kind is "Q9"'):
        _core.ggml_decode("Q9", np.zeros(1, np.uint8), np.empty(1, np.float32))
