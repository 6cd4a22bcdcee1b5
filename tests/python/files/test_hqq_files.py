"""HQQ's checkpoints as its library packs them, and torchao's, which are refused by name."""

import numpy as np
import pytest

import qcore as qc

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file

#: Bits and the name of the packing.
PACKINGS = {8: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8", 1: "1bit_u8"}


def state(bits, axis, shape=(64, 80), group=32, seed=0):
    """A layer's state, and the values that its library's own unpacking makes of it."""
    bitpack = pytest.importorskip("hqq.core.bitpack").BitPack
    rng = np.random.default_rng(seed)
    size = shape[0] * shape[1]
    flat = (size // group, group) if axis == 1 else (group, size // group)
    codes = torch.tensor(rng.integers(0, 2**bits, flat), dtype=torch.uint8)
    each = (flat[0], 1) if axis == 1 else (1, flat[1])
    scale = torch.tensor(rng.random(each), dtype=torch.float32)
    zero = torch.tensor(rng.random(each) * 2**bits, dtype=torch.float32)
    name = PACKINGS[bits]
    packed = getattr(bitpack, f"pack_{name}")(codes)
    unpacked = getattr(bitpack, f"unpack_{name}")(packed, dtype=torch.float32)[: flat[0]]
    wanted = ((unpacked - zero) * scale).reshape(shape)
    text = torch.tensor([ord(letter) for letter in name], dtype=torch.uint8)
    number = torch.tensor
    tensors = {
        "fc.W_q": packed.contiguous(), "fc.scale": scale, "fc.zero": zero, "fc.packing": text,
        "fc.shape": number(shape), "fc.axis": number(axis, dtype=torch.int32),
        "fc.nbits": number(bits, dtype=torch.int32), "fc.bias": number([1.0, 2.0]),
        "fc.group_size": number(group, dtype=torch.int32),
        "fc.view_as_float": number(0, dtype=torch.uint8),
    }  # fmt: skip
    return tensors, wanted.numpy()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", PACKINGS)
def test_what_hqq_packs_is_read(tmp_path, bits, axis, record_property):
    record_property("reads", f"HQQ/{bits} bits")
    tensors, wanted = state(bits, axis)
    save_file(tensors, tmp_path / "m.safetensors")
    found = qc.load(tmp_path / "m.safetensors")
    assert found.keys() == {"fc.weight", "fc.bias"}
    np.testing.assert_array_equal(found["fc.weight"], wanted)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("fc.packing", [1, 2]), ("fc.shape", [64, 81]), ("fc.axis", 2), ("fc.scale", [1.0, 2.0]),
        ("fc.W_q", [[1, 2]]), ("fc.shape", [-64, -80]),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(tmp_path, part, value):
    tensors, _ = state(4, 1)
    tensors[part] = torch.tensor(value, dtype=tensors[part].dtype)
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(qc.FormatError):
        qc.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["fc._weight_qdata", "fc._weight_scale"], "torchao"),
        (["fc.weight_int_data", "fc.weight_scale_x"], "torchao"),
        (["fc.W_q", "fc.meta"], "HQQ"),
        (["fc.W_q", "fc.scale_q", "fc.zero_q"], "HQQ"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, names, layout):
    save_file({name: torch.ones(2, 2) for name in names}, tmp_path / "m.safetensors")
    with pytest.raises(qc.FormatError, match=rf"layout of {layout}.*save its weights as floats"):
        qc.load(tmp_path / "m.safetensors")
