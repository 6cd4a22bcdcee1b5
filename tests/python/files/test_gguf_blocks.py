"""Every type of blocks that GGUF files have, against the decoder of the gguf package."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore import _core
from qcore.cli import main
from qcore.files.foreign.gguf import Gguf
from qcore.files.foreign.gguf_blocks import AS_CODES, TYPES, encode_rows
from qcore.files.formats import open_tensors
from qcore.streaming.compress import compress_source
from qcore.streaming.gguf_types import _Encoded, encode_gguf_file

gguf = pytest.importorskip("gguf")
if not hasattr(gguf.quants, "dequantize"):  # what pip finds where sentencepiece has no wheel
    pytest.skip("gguf is older than 0.10", allow_module_level=True)
Kind = gguf.GGMLQuantizationType

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
def test_random_bytes_decode_to_the_same_bits(kind, record_property):
    record_property("reads", f"GGUF/{kind}")
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


WRITTEN = [name for name, kind in TYPES.items() if kind.written]


def sqnr(x, found):
    return 10 * np.log10((x**2).sum() / ((x - found) ** 2).sum())


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_written_is_decoded_by_the_package(tmp_path, kind, record_property):
    record_property("writes", f"GGUF/{kind}")
    w = np.random.default_rng(2).standard_t(5, (6, 512)).astype(np.float32)
    qc.save(tmp_path / "a.safetensors", {"w": w, "norm": w[0], "bias": w[:, :1]})
    done = encode_gguf_file(tmp_path / "a.safetensors", tmp_path / "b.gguf", kind)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(done.path).tensors}
    assert found["w"].tensor_type == Kind[kind]
    assert found["norm"].tensor_type == Kind.F32
    decoded = gguf.quants.dequantize(found["w"].data, Kind[kind])
    assert np.array_equal(decoded, np.asarray(qc.load(done.path)["w"]))
    bits = 8 * TYPES[kind].nbytes / TYPES[kind].elements
    assert sqnr(w, decoded) > 5.5 * bits - 7
    # Where the package has an encoder, it loses no less.
    try:
        theirs = gguf.quants.quantize(w, Kind[kind])
    except NotImplementedError:
        return
    assert sqnr(w, decoded) >= sqnr(w, gguf.quants.dequantize(theirs, Kind[kind]))


@pytest.mark.numerics
@pytest.mark.parametrize("kind", WRITTEN)
def test_tiles_do_not_matter(tmp_path, kind):
    w = np.random.default_rng(3).standard_normal((7, 3, 256)).astype(np.float16)
    path = tmp_path / "a.safetensors"
    qc.save(path, {"w": w})
    whole = encode_rows(w, kind)
    for tile_bytes in (8, 1000):
        source = _Encoded(open_tensors(path), {"*": kind}, {}, ())
        nothing = qc.Quantizer(8, ignore=("*",))
        target = tmp_path / "b.gguf"
        compress_source(source, path, target, nothing, tile_bytes=tile_bytes)
        (tensor,) = gguf.GGUFReader(target).tensors
        assert np.array_equal(tensor.data.reshape(-1), whole)


def test_importance_moves_the_error(tmp_path):
    rng = np.random.default_rng(4)
    w = rng.standard_normal((32, 256)).astype(np.float32)
    X = rng.standard_normal((500, 256)) * np.where(np.arange(256) % 8 == 0, 5, 0.5)
    path = tmp_path / "a.safetensors"
    qc.save(path, {"w": w})
    stats = qc.InputStats().update(X)
    lost = []
    for importance in (None, {"w": stats}, {"w": (X**2).mean(0)}):
        done = encode_gguf_file(path, tmp_path / "b.gguf", "Q3_K", importance=importance)
        lost.append(np.square(X @ (np.asarray(qc.load(done.path)["w"]) - w).T).sum())
    assert lost[1] < 0.8 * lost[0]
    assert lost[2] == pytest.approx(lost[1], rel=1e-3)


def test_rows_that_do_not_fit_get_another_type(tmp_path):
    rng = np.random.default_rng(5)
    tensors = {
        f"w{columns}": rng.standard_normal((4, columns)).astype(np.float32)
        for columns in (256, 96, 40)
    }
    qc.save(tmp_path / "a.safetensors", tensors)
    done = encode_gguf_file(
        tmp_path / "a.safetensors", tmp_path / "b.gguf", {"w4*": "Q8_0", "*": "Q4_K"}
    )
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(done.path).tensors}
    assert kinds == {"w256": "Q4_K", "w96": "Q5_0", "w40": "F32"}
    assert {row["tensor"]: row["kept"] for row in done.report_.rows if "kept" in row} == {
        "w96": "its rows have 96 values; blocks of Q4_K have 256: it is Q5_0",
        "w40": "its rows have 40 values; blocks of Q8_0 have 32: it is a float",
    }
    arguments = [str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "c.gguf")]
    run = CliRunner().invoke(main, ["compress", *arguments, "--gguf-type", "Q4_K"])
    assert run.exit_code == 0
    assert "w96: its rows have 96 values; blocks of Q4_K have 256: it is Q5_0" in run.output


@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
def test_alignment_and_metadata_are_kept(tmp_path, alignment):
    rng = np.random.default_rng(8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(alignment)
    writer.add_name("a name")
    writer.add_array("some.list", [1, 2, 3])
    tensors = {f"w{n}": rng.standard_normal((3, 32 * n)).astype(np.float32) for n in (1, 3, 8)}
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file,
                 writer.write_tensors_to_file, writer.close):  # fmt: skip
        step()
    found = qc.load(tmp_path / "a.gguf")
    for name, value in tensors.items():
        assert np.array_equal(found[name], value)
    for target, options in (("b.gguf", {}), ("c.gguf", {"bits": 4})):
        qc.compress(tmp_path / "a.gguf", output=tmp_path / target, **options)
        again = gguf.GGUFReader(tmp_path / target)
        assert again.alignment == alignment
        assert again.fields["general.name"].contents() == "a name"
        assert again.fields["some.list"].contents() == [1, 2, 3]
        assert all(tensor.data_offset % alignment == 0 for tensor in again.tensors)
        assert len(qc.load(tmp_path / target)) == len(tensors)


def test_files_of_the_other_byte_order_are_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tensor("w", np.ones((2, 32), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file,
                 writer.write_tensors_to_file, writer.close):  # fmt: skip
        step()
    with pytest.raises(qc.FormatError, match="big-endian"):
        qc.load(tmp_path / "a.gguf")


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_files_cut_anywhere_are_refused(tmp_path, kind):
    """A block short, a byte short, and lengths that lie: an error, never a crash."""
    blocks = np.random.default_rng(9).integers(0, 256, 3 * TYPES[kind].nbytes, np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("w", blocks.reshape(1, -1), raw_dtype=Kind[kind])
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file,
                 writer.write_tensors_to_file, writer.close):  # fmt: skip
        step()
    raw = (tmp_path / "a.gguf").read_bytes()
    assert np.shape(qc.load(tmp_path / "a.gguf")["w"]) == (1, 3 * TYPES[kind].elements)
    end = raw.rindex(blocks.tobytes())
    for length in (end + blocks.size - 1, end + 1, end, end // 2, 30, 4):
        (tmp_path / "b.gguf").write_bytes(raw[:length])
        with pytest.raises(qc.FormatError):
            qc.load(tmp_path / "b.gguf")


def test_what_cannot_be_written_is_refused(tmp_path):
    path, target = tmp_path / "a.safetensors", tmp_path / "b.gguf"
    w = np.ones((2, 256), np.float32)
    qc.save(path, {"w": w})
    with pytest.raises(ValueError, match=r"gguf_type is 'IQ2_S'; it must be one of"):
        encode_gguf_file(path, target, "IQ2_S")
    with pytest.raises(ValueError, match=r"output is .*need one in \.gguf"):
        encode_gguf_file(path, path.with_name("c.safetensors"), "Q4_K")
    for importance, words in (
        ({"v": np.ones(256)}, "importance names 'v'"),
        ({"w": np.ones(255)}, r"importance of 'w' has shape \(255,\)"),
        ({"w": -np.ones(256)}, "not finite and positive"),
    ):
        with pytest.raises(ValueError, match=words):
            encode_gguf_file(path, target, "Q4_K", importance=importance)
    for value, error in ((np.nan, ValueError), (np.inf, ValueError), (1e38, OverflowError)):
        qc.save(path, {"w": w * np.float32(value)})
        with pytest.raises(error, match="tensor 'w'"):
            encode_gguf_file(path, target, "Q4_K")
    assert not target.exists()


def test_the_command_writes_types_by_pattern(tmp_path):
    w = np.random.default_rng(6).standard_normal((4, 256)).astype(np.float32)
    qc.save(tmp_path / "a.safetensors", {"out.weight": w, "fc.weight": w, "fc.bias": w[0]})
    target = tmp_path / "b.gguf"
    run = CliRunner().invoke(
        main,
        ["compress", str(tmp_path / "a.safetensors"), "-o", str(target), "--gguf-type", "Q4_K",
         "--gguf-type", "out*=Q6_K"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "3 tensors as Q6_K, Q4_K or as they were" in run.output
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(target).tensors}
    assert kinds == {"out.weight": "Q6_K", "fc.weight": "Q4_K", "fc.bias": "F32"}
    run = CliRunner().invoke(
        main, ["compress", str(target), "-o", str(tmp_path / "c.gguf"), "--gguf-type", "Q9"]
    )
    assert run.exit_code == 2
    assert "--gguf-type Q9 is none of" in run.output


def test_lengths_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match="143 bytes of Q4_K are not 256 elements"):
        _core.ggml_decode("Q4_K", np.zeros(143, np.uint8), np.empty(256, np.float32))
    with pytest.raises(ValueError, match='kind is "Q9"'):
        _core.ggml_decode("Q9", np.zeros(1, np.uint8), np.empty(1, np.float32))
