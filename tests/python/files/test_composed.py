"""Weights of other makers that lie in several tensors, packed here as their makers pack them."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

import qcore as qc
from qcore.files.foreign.composed.table import LAYOUTS

RNG = np.random.default_rng(11)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
STORED = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "int64": "I64",
    "int8": "I8", "uint8": "U8", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


def write(path, tensors, config=None):
    """Write a safetensors file by hand, and the configuration beside it."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": STORED[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    if config is not None:
        (path.parent / "config.json").write_text(json.dumps({"quantization_config": config}))
    return path


def words(codes, bits):
    """Pack rows of codes into words, as little-endian bit streams."""
    stream = (codes[..., None] >> np.arange(bits)) & 1
    stream = stream.reshape(len(codes), -1).astype(np.uint8)
    return np.packbits(stream, axis=1, bitorder="little").view("<i4")


def gptq(bits, inputs=64, outputs=32, group=16, order=None, more=1):
    groups = inputs // group
    codes = RNG.integers(0, 1 << bits, (inputs, outputs))
    zero = RNG.integers(1, 1 << bits, (groups, outputs))
    scale = (RNG.random((groups, outputs)) + 0.1).astype(np.float16)
    index = np.arange(inputs) // group if order is None else order
    weight = (codes - zero[index]).astype(np.float32) * scale[index].astype(np.float32)
    tensors = {
        "l.qweight": np.ascontiguousarray(words(codes.T, bits).T),
        "l.qzeros": words(zero - more, bits),
        "l.scales": scale,
        "l.g_idx": index.astype(np.int32),
        "l.bias": np.ones(outputs, np.float32),
    }
    return tensors, np.ascontiguousarray(weight.T)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2", None])
def test_gptq(tmp_path, bits, version, record_property):
    record_property("reads", f"GPTQ/{bits} bits, {version or 'gptq'}")
    tensors, wanted = gptq(bits, more=0 if version == "gptq_v2" else 1)
    config = {"quant_method": "gptq", "bits": bits} | (
        {} if version is None else {"checkpoint_format": version}
    )
    path = write(tmp_path / "m.safetensors", tensors, config)
    found = qc.load(path)
    assert list(found) == ["l.weight", "l.bias"]
    assert isinstance(found["l.weight"], qc.QTensor)
    assert (found["l.weight"].bits, found["l.weight"].group_size) == (bits, 16)
    assert np.array_equal(np.asarray(found["l.weight"]), wanted)


def test_gptq_in_another_order_of_inputs(tmp_path, record_property):
    record_property("reads", "GPTQ/act-order")
    order = RNG.permutation(64) // 16
    tensors, wanted = gptq(4, order=order)
    path = write(tmp_path / "m.safetensors", tensors)
    found = qc.load(path)["l.weight"]
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted)
    qc.compress(path, output=tmp_path / "small.safetensors")
    small = qc.load(tmp_path / "small.safetensors")["l.weight"]
    assert small == qc.compress({"l.weight": wanted})["l.weight"]


def test_gptq_of_a_zero_point_that_is_no_code(tmp_path):
    tensors, _ = gptq(4)
    tensors["l.qzeros"] = np.full_like(tensors["l.qzeros"], -1)  # every zero point is 16
    found = qc.load(write(tmp_path / "m.safetensors", tensors))["l.weight"]
    assert found.dtype == np.float32
    assert (found < 0).all()


def test_awq(tmp_path, record_property):
    record_property("reads", "AWQ/4 bits")
    inputs, outputs, group = 48, 32, 16
    codes = RNG.integers(0, 16, (inputs, outputs))
    zero = RNG.integers(0, 16, (inputs // group, outputs))
    scale = (RNG.random((inputs // group, outputs)) + 0.1).astype(np.float16)

    def pack(values):
        packed = np.zeros((len(values), outputs // 8), np.uint32)
        for place, column in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
            packed |= values[:, column::8].astype(np.uint32) << np.uint32(4 * place)
        return packed.view(np.int32)

    tensors = {"l.qweight": pack(codes), "l.qzeros": pack(zero), "l.scales": scale}
    found = qc.load(write(tmp_path / "m.safetensors", tensors))["l.weight"]
    index = np.arange(inputs) // group
    wanted = (codes - zero[index]).astype(np.float32) * scale[index].astype(np.float32)
    assert isinstance(found, qc.QTensor)
    assert np.array_equal(np.asarray(found), wanted.T)


@pytest.mark.parametrize("zero_type", [None, np.int8, np.int32])
def test_packed_integers_in_another_order(tmp_path, zero_type):
    rows, columns, groups = 32, 64, 4
    codes = RNG.integers(-8, 8, (rows, columns))
    scale = (RNG.random((rows, groups)) + 0.1).astype(np.float32)
    order = RNG.permutation(columns).astype(np.int32) % groups
    zero = RNG.integers(-8, 8, (rows, groups))
    tensors = {
        "l.weight_packed": words(codes + 8, 4),
        "l.weight_scale": scale,
        "l.weight_shape": np.array([rows, columns]),
        "l.weight_g_idx": order,
    }
    if zero_type is np.int8:
        tensors["l.weight_zero_point"] = zero.astype(np.int8)
    elif zero_type is np.int32:
        tensors["l.weight_zero_point"] = np.ascontiguousarray(words((zero + 8).T, 4).T)
    else:
        zero[:] = 0
    found = qc.load(write(tmp_path / "m.safetensors", tensors))
    assert list(found) == ["l.weight"]
    wanted = (codes - zero[:, order]).astype(np.float32) * scale[:, order]
    assert np.array_equal(found["l.weight"], wanted)


def fp4(rows, columns):
    codes = RNG.integers(0, 16, (rows, columns), np.uint8)
    return codes[:, ::2] | codes[:, 1::2] << 4, E2M1[codes]


def test_two_makers_of_nvfp4_whose_second_scales_are_reciprocal(tmp_path, record_property):
    record_property("reads", "others/NVFP4 of ModelOpt")
    packed, values = fp4(6, 64)
    scale = (RNG.random((6, 4)) * 100).astype(ml_dtypes.float8_e4m3fn)
    first, wide = scale.astype(np.float32), np.float32(448.0)
    tensors = {
        "a.weight_packed": packed,
        "a.weight_scale": scale,
        "a.weight_global_scale": np.array([wide]),
        "b.weight": packed,
        "b.weight_scale": scale,
        "b.weight_scale_2": np.float32(1 / 512).reshape(()),
    }
    found = qc.load(write(tmp_path / "m.safetensors", tensors))
    assert list(found) == ["a.weight", "b.weight"]
    spread = values.reshape(6, 4, 16)
    a = (spread * (first / wide)[..., None]).reshape(6, 64)
    b = (spread * (first * np.float32(1 / 512))[..., None]).reshape(6, 64)
    assert np.array_equal(found["a.weight"], a)
    assert np.array_equal(found["b.weight"], b)


def test_mxfp4_and_mxfp8_have_powers_of_two(tmp_path, record_property):
    record_property("reads", "others/MXFP4 of gpt-oss")
    packed, values = fp4(6, 64)
    scale = RNG.integers(110, 140, (6, 2), np.uint8)
    blocks, inner = fp4(2 * 3 * 2, 32)
    scales = RNG.integers(110, 140, (2, 3, 2), np.uint8)
    eight = RNG.standard_normal((6, 64)).astype(ml_dtypes.float8_e4m3fn)
    tensors = {
        "a.weight_packed": packed,
        "a.weight_scale": scale,
        "b.experts.w_blocks": blocks.reshape(2, 3, 2, 16),
        "b.experts.w_scales": scales,
        "c.weight": eight,
        "c.weight_scale": scale,
    }
    found = qc.load(write(tmp_path / "m.safetensors", tensors))
    assert list(found) == ["a.weight", "b.experts.w", "c.weight"]

    def power(codes):
        return np.ldexp(np.float32(1), codes.astype(int) - 127)

    assert np.array_equal(found["a.weight"], values * np.repeat(power(scale), 32, 1))
    wanted = inner.reshape(2, 3, 2, 32) * power(scales)[..., None]
    assert np.array_equal(found["b.experts.w"], wanted.reshape(2, 3, 64))
    wanted = eight.astype(np.float32) * np.repeat(power(scale), 32, 1)
    assert np.array_equal(found["c.weight"], wanted)


def test_rows_of_a_composed_weight_are_streamed(tmp_path):
    packed, values = fp4(60, 64)
    scale = RNG.integers(120, 130, (60, 2), np.uint8)
    path = write(tmp_path / "m.safetensors", {"a.weight_packed": packed, "a.weight_scale": scale})
    qc.compress(path, output=tmp_path / "small.safetensors", bits=4, group_size=32)
    wide = values * np.repeat(np.ldexp(np.float32(1), scale.astype(int) - 127), 32, 1)
    wanted = qc.compress({"a.weight": wide}, bits=4, group_size=32)["a.weight"]
    assert qc.load(tmp_path / "small.safetensors")["a.weight"] == wanted


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_4_bits(tmp_path, nested, record_property):
    record_property("reads", f"bitsandbytes/4 bits{', nested' if nested else ''}")
    shape, block = (6, 40), 64
    levels = np.sort(RNG.standard_normal(16)).astype(np.float32)
    codes = RNG.integers(0, 16, 240, np.uint8)
    absmax = (RNG.random(4) + 0.1).astype(np.float32)
    state = {"quant_type": "nf4", "blocksize": block, "dtype": "float16", "shape": list(shape)}
    tensors = {
        "l.weight": (codes[::2] << 4 | codes[1::2]).reshape(-1, 1),
        "l.weight.absmax": absmax,
        "l.weight.quant_map": levels,
    }
    if nested:
        state |= {"nested_blocksize": 256, "nested_offset": 0.25, "nested_dtype": "float32"}
        steps = np.linspace(-1, 1, 256).astype(np.float32)
        coded = RNG.integers(0, 256, 4, np.uint8)
        top = np.array([0.5], np.float32)
        tensors |= {
            "l.weight.absmax": coded,
            "l.weight.nested_absmax": top,
            "l.weight.nested_quant_map": steps,
        }
        absmax = steps[coded] * top + np.float32(0.25)
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    tensors["l.weight.quant_state.bitsandbytes__nf4"] = text
    found = qc.load(write(tmp_path / "m.safetensors", tensors))
    assert list(found) == ["l.weight"]
    wanted = (levels[codes] * np.repeat(absmax, block)[:240]).reshape(shape)
    assert np.array_equal(found["l.weight"], wanted)


def test_bitsandbytes_8_bits(tmp_path, record_property):
    record_property("reads", "bitsandbytes/8 bits")
    codes = RNG.integers(-127, 128, (5, 12)).astype(np.int8)
    scale = (RNG.random(5) + 0.1).astype(np.float32)
    scale[2] = 0
    codes[2] = 0
    found = qc.load(write(tmp_path / "m.safetensors", {"l.weight": codes, "l.SCB": scale}))
    assert list(found) == ["l.weight"]
    assert isinstance(found["l.weight"], qc.QTensor)
    wanted = codes * scale[:, None] / np.float32(127)
    np.testing.assert_allclose(np.asarray(found["l.weight"]), wanted, rtol=3e-7)


@pytest.mark.parametrize("pattern", ["any", "2:4"])
def test_bitmasks(tmp_path, pattern, record_property):
    name = "sparse-24-bitmask" if pattern == "2:4" else "sparse-bitmask"
    record_property("reads", f"compressed-tensors/{name}")
    w = RNG.standard_normal((6, 44)).astype(ml_dtypes.bfloat16)
    mask = RNG.random((6, 44)) < 0.4
    if pattern == "2:4":
        mask = (np.argsort(RNG.random((6, 11, 4)), axis=2) < 2).reshape(6, 44)
    w[~mask] = 0
    values = w[mask]
    tensors = {
        "l.weight.bitmask": np.packbits(mask, axis=1, bitorder="little"),
        "l.weight.compressed": values.reshape(6, 22) if pattern == "2:4" else values,
        "l.weight.shape": np.array([6, 44]),
    }
    if pattern == "any":
        tensors["l.weight.row_offsets"] = np.concatenate([[0], mask.sum(1).cumsum()[:-1]])
    found = qc.load(write(tmp_path / "m.safetensors", tensors))
    assert list(found) == ["l.weight"]
    assert np.array_equal(found["l.weight"], w.astype(np.float32))


def test_scales_of_groups_of_floats(tmp_path):
    eight = RNG.standard_normal((6, 96)).astype(ml_dtypes.float8_e4m3fn)
    scale = (RNG.random((6, 3)) + 0.1).astype(np.float32)
    path = write(tmp_path / "m.safetensors", {"l.weight": eight, "l.weight_scale": scale})
    wanted = eight.astype(np.float32) * np.repeat(scale, 32, 1)
    assert np.array_equal(qc.load(path)["l.weight"], wanted)


BROKEN = {
    "codes that are too few": {"l.weight_packed": np.zeros((4, 9), np.int32)},
    "groups out of range": {"l.weight_g_idx": np.full(64, 9, np.int32)},
    "negative groups": {"l.weight_g_idx": np.full(64, -1, np.int32)},
    "a shape of three": {"l.weight_shape": np.array([4, 8, 8])},
    "a shape that is negative": {"l.weight_shape": np.array([-4, 64])},
    "an immense shape": {"l.weight_shape": np.array([4, 1 << 60])},
}


@pytest.mark.parametrize("what", BROKEN)
def test_parts_that_do_not_belong_together_are_refused(tmp_path, what):
    tensors = {
        "l.weight_packed": np.zeros((4, 8), np.int32),
        "l.weight_scale": np.ones((4, 4), np.float32),
        "l.weight_shape": np.array([4, 64]),
        "l.weight_g_idx": np.zeros(64, np.int32),
    }
    path = write(tmp_path / "m.safetensors", tensors | BROKEN[what])
    with pytest.raises(qc.FormatError, match=r"m\.safetensors"):
        qc.load(path)


def test_a_state_that_is_no_json_is_refused(tmp_path):
    tensors = {
        "l.weight": np.zeros((4, 1), np.uint8),
        "l.weight.absmax": np.ones(1, np.float32),
        "l.weight.quant_map": np.ones(16, np.float32),
    }
    for state in (b"{", b"[]", b'{"shape": [2, "a"]}', b'{"shape": [99999999999, 99999999999]}'):
        tensors["l.weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(state, np.uint8)
        with pytest.raises(qc.FormatError, match=r"m\.safetensors"):
            qc.load(write(tmp_path / "m.safetensors", tensors))


def test_layouts_are_listed_once():
    assert len(set(LAYOUTS)) == len(LAYOUTS)
