"""Reading what others wrote, what is broken, and writing where it cannot be."""

import json
import os
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qcore as qc
from files_parts import SAMPLES
from qcore import FormatError

SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)


def container(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one_tensor(dtype, shape, data, about=None):
    header = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    if about is not None:
        header["__metadata__"] = {"qcore": json.dumps(about)}
    return container(header, data)


def described(description, values=b"\1", about=None):
    text = {"format": 1, "kind": "checkpoint", "tensors": {"w": description}} | (about or {})
    return one_tensor("U8", [len(values)], values, text)


def write(path, content):
    path.write_bytes(content)
    return path


# other programs' files ---------------------------------------------------------------------------
def test_the_safetensors_package_reads_ours(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"a": rng.standard_normal((3, 4)), "b.ü": np.arange(5, dtype=np.int16)}
    tensors |= {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(True)}
    qc.save(tmp_path / "a", tensors | {"q": qc.quantize(np.ones((2, 3), np.float32))})
    found = safetensors.numpy.load_file(tmp_path / "a")
    for name, expected in tensors.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)
    assert found["q"].tolist() == [[127] * 3] * 2  # codes are there for everyone
    with safetensors.safe_open(tmp_path / "a", "numpy") as file:
        assert json.loads(file.metadata()["qcore"])["format"] == 1


def test_we_read_the_safetensors_package(tmp_path):
    rng = np.random.default_rng(0)
    dtypes = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]
    tensors = {name: rng.integers(0, 2, (3, 5)).astype(name) for name in dtypes}
    safetensors.numpy.save_file(tensors, tmp_path / "a", metadata={"format": "pt"})
    found = qc.load_tensors(tmp_path / "a")
    assert qc.load(tmp_path / "a").keys() == tensors.keys() == found.keys()
    for name, expected in tensors.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def small_float(code, exponent_bits, mantissa_bits, bias, not_finite):
    """Decode one code the slow way; `not_finite` maps magnitudes to what they are."""
    sign = -1.0 if code >> (exponent_bits + mantissa_bits) else 1.0
    magnitude = code & (2 ** (exponent_bits + mantissa_bits) - 1)
    if code in not_finite or magnitude in not_finite:
        return sign * not_finite.get(code, not_finite.get(magnitude))
    exponent, mantissa = divmod(magnitude, 2**mantissa_bits)
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("F8_E4M3", (4, 3, 7, {0x7F: np.nan})),
        ("F8_E5M2", (5, 2, 15, {0x7C: np.inf, 0x7D: np.nan, 0x7E: np.nan, 0x7F: np.nan})),
    ],
)
def test_fp8_loads_as_float32(tmp_path, name, form):
    path = write(tmp_path / "a", one_tensor(name, [16, 16], bytes(range(256))))
    found = qc.load_tensors(path)["w"]
    expected = np.float32([small_float(code, *form) for code in range(256)]).reshape(16, 16)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def test_the_other_small_floats(tmp_path):
    def load(name, shape, data):
        return qc.load_tensors(write(tmp_path / "a", one_tensor(name, shape, data)))["w"].tolist()

    assert load("F8_E4M3FNUZ", [4], b"\x00\x7f\x81\x40") == [0.0, 240.0, -(2.0**-10), 1.0]
    assert np.isnan(load("F8_E4M3FNUZ", [1], b"\x80"))
    assert load("F8_E5M2FNUZ", [3], b"\x7f\x40\x01") == [57344.0, 1.0, 2.0**-17]
    assert load("F8_E8M0", [3], b"\x7f\x80\x00") == [1.0, 2.0, 2.0**-127]
    assert load("F4", [2, 2], b"\x71\xf2") == [[0.5, 6.0], [1.0, -6.0]]
    bits = 0b000001_011111_111111_001000  # the first code lies lowest
    assert load("F6_E2M3", [4], bits.to_bytes(3, "little")) == [1.0, -7.5, 7.5, 0.125]
    assert load("F6_E3M2", [4], bits.to_bytes(3, "little")) == [0.5, -28.0, 28.0, 0.0625]


def test_bf16_loads_as_float32_with_every_bit(tmp_path):
    codes = np.arange(65536, dtype="<u2")
    found = qc.load_tensors(write(tmp_path / "a", one_tensor("BF16", [65536], codes.tobytes())))
    assert found["w"].dtype == np.float32
    np.testing.assert_array_equal(found["w"].view(np.uint32), codes.astype(np.uint32) << 16)


def test_complex(tmp_path):
    data = np.array([1 + 2j], np.complex64)
    qc.save(tmp_path / "a", data)
    np.testing.assert_array_equal(qc.load(tmp_path / "a"), data)


def test_numpy_files(tmp_path):
    w = np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8")
    np.savez(tmp_path / "plain.npz", w, b=np.arange(3))
    np.savez_compressed(tmp_path / "small.npz", w, b=np.arange(3))
    np.save(tmp_path / "w.npy", w)
    for name in ("plain.npz", "small.npz"):
        found = qc.load_tensors(tmp_path / name)
        assert found.keys() == {"arr_0", "b"}
        np.testing.assert_array_equal(found["arr_0"], w)
        assert found["arr_0"].dtype.isnative
    np.testing.assert_array_equal(qc.load(tmp_path / "w.npy")["w"], w)


# broken files ------------------------------------------------------------------------------------
def test_missing_files_folders_and_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.npz")
    for load in (qc.load, qc.load_tensors):
        for name in ("none", "none.npz", "none.npy"):
            with pytest.raises(FileNotFoundError) as error:
                load(tmp_path / name)
            assert error.value.filename == str(tmp_path / name)
        with pytest.raises(IsADirectoryError):
            load(tmp_path)
        for name in ("pipe", "pipe.npz"):
            with pytest.raises(FormatError, match="not a regular file"):
                load(tmp_path / name)


def header(w):
    return container({"w": w}, b"\0" * 8)


BROKEN = {
    b"": "has 0 bytes, at least 8",
    b"PK\3\4 and more": "is an archive; unpack it first",
    struct.pack("<Q", 99_000_000): "truncated: its header has 99000000 bytes, 0 are left",
    container(b"{"): "corrupt header: EOF",
    container(b"\xff{}"): "corrupt header",
    container(b"[]"): "corrupt header",
    container(b'{"w":' + b"[" * 5000): "corrupt header",
    header({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}): "corrupt header",
    header({"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}): "tensors have 12 bytes, 8",
    header({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}): "4 bytes follow the last",
    header({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}): "corrupt header",
    header({"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}): "corrupt header",
    header({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}): "unknown variant `F99`",
    header({"dtype": "I8", "shape": [1] * 70 + [8], "data_offsets": [0, 8]}): "tensor 'w'|dim",
    container({"w": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}): "corrupt",
    one_tensor("U8", [1], b"\0", []): "names no format",
    one_tensor("U8", [1], b"\0", {"format": True}): "names no format",
    one_tensor("U8", [1], b"\0", {"format": 3}): "of format 3; this .* formats up to 2",
    one_tensor("U8", [1], b"\0", {"format": 1, "kind": "zip"}): "kind is 'zip'",
    one_tensor("U8", [1], b"\0", {"format": 1, "kind": 3}): "'kind' is 3",
    one_tensor("U8", [1], b"\0", {"format": 1, "tensors": {"v": {}}}): "'v' is described",
    one_tensor("U8", [1], b"\0", {"format": 1, "kind": "network"}): "no layers",
    described({"colour": 1}): "unknown key 'colour'",
    described({"bits": 0}): "0 bits",
    described({"bits": 10**9}): "1000000000 bits",
    described({"bits": True}): "'bits' is True",
    described({"bits": 8, "signed": False}): "no scale",
    described({"bits": 4, "scheme": "kmeans", "shape": [2], "order": "big"}): "order 'big'",
    described({"bits": 4, "scheme": "kmeans", "shape": [2]}): "order None",
    described({"bits": 8, "scheme": "nf9"}): "scheme 'nf9'",
    described({"bits": 8, "scheme": "floor"}): "no offset",
    described({"bits": 8, "group": 0}): "group_size is 0",
    described({"bits": 8, "axis": 1}): "axis is 1",
    described({"bits": 8, "axis": -2}): "axis is -2",
    described({"bits": 8, "axis": 0, "group": 1}): "axis and group_size are both given",
    described({"bits": 4, "scheme": "kmeans", "shape": [2**20], "order": "little"}): "take",
    described({"at": "gap8", "shape": [2**20]}): "no positions",
    described({"at": "gap8", "shape": [-1]}): r"shape \[-1\]",
}


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_broken_says_how(tmp_path, content):
    path = write(tmp_path / "net", content)
    with pytest.raises(FormatError, match=BROKEN[content]) as error:
        qc.load(path)
    assert str(error.value).startswith(f"'{path}' ")
    assert "\n" not in str(error.value)


def test_positions_bound_what_is_allocated(tmp_path):
    data = b"\1" + b"\0"
    for layout in ("bitmap", "gap4", "gap8", "gap16"):
        about = {"format": 1, "tensors": {"w": {"at": layout, "shape": [2**46]}}}
        header = {
            "__metadata__": {"qcore": json.dumps(about)},
            "w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "w:at": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]},
        }
        with pytest.raises(FormatError, match="tensor 'w'"):
            qc.load(write(tmp_path / "a", container(header, data)), max_bytes=2**60)


def samples():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((40, 30)).astype(np.float32)
    w[rng.random(w.shape) < 0.9] = 0
    tensors = {"a": qc.quantize(w, axis=0), "b": w, "c": np.arange(3)}
    tensors["d"] = qc.quantize(w[:3], scheme="kmeans", levels=4)
    layers = [qc.nn.Dense.from_weights(w[:, :4], w[0, :4], layout="in_out", name="in")]
    layers[0].input_qparams = qc.choose_qparams(w, signed=False, symmetric=False)
    net = qc.nn.Sequential([*layers, qc.nn.Dense.from_weights(np.eye(4), layout="out_in")])
    net.classes_ = np.array(list("abcd"))
    return [tensors, net]


def load_or_refuse(path):
    try:
        qc.load_tensors(path)
        return qc.load(path)
    except FormatError:
        return None


@pytest.mark.parametrize("which", [0, 1])
def test_every_truncation_is_refused(tmp_path, which):
    path = tmp_path / "a"
    qc.save(path, samples()[which])
    whole = path.read_bytes()
    for length in range(len(whole)):
        assert load_or_refuse(write(path, whole[:length])) is None
    assert load_or_refuse(write(path, whole + b"\0")) is None


@pytest.mark.parametrize("which", [0, 1])
@given(data=st.data())
@SETTINGS
def test_changed_bytes_are_refused_or_load(tmp_path, which, data):
    path = tmp_path / "a"
    qc.save(path, samples()[which])
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    load_or_refuse(write(path, whole))


NUMBERS = "-1 0 1 2 3 4 8 16 1000000 1099511627776 1180591620717411303424 -0.0 0.5 1e300 NaN"


WORDS = "a little gap4 gap8 bitmap affine floor kmeans dynamic int8 relu softmax"


LISTS = "[] {} [0] [3,30] [30,3] [1099511627776] [8589934592,8589934592] null true false"


LEAVES = [*NUMBERS.split(), *LISTS.split(), *(f'"{word}"' for word in WORDS.split())]


KEYS = "at axis bits clipped group input kind name narrow offset order reconstruct scale scheme"


KEYS = [*KEYS.split(), *["sep", "shape", "signed", "zero", "classes", "layers"]]


def mutate(data, node):
    """Replace, add or remove something somewhere inside a JSON value."""
    keys = sorted(node) if isinstance(node, dict) else range(len(node))
    if isinstance(node, dict) and (not keys or data.draw(st.integers(0, 3)) == 0):
        key = data.draw(st.sampled_from(KEYS))
        node[key] = json.loads(data.draw(st.sampled_from(LEAVES)))
        return
    if not keys:
        return
    key = data.draw(st.sampled_from(keys))
    action = data.draw(st.integers(0, 5))
    if isinstance(node[key], dict | list) and action > 1:
        mutate(data, node[key])
    elif action == 0:
        del node[key]
    else:
        node[key] = json.loads(data.draw(st.sampled_from(LEAVES)))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@given(data=st.data())
@SETTINGS
def test_descriptions_that_do_not_fit_are_refused_or_load(tmp_path, path, data):
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    about = json.loads(header["__metadata__"]["qcore"])
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data, about)
    if data.draw(st.booleans()):  # a type of the same size
        swaps = {"F32": "I32", "I8": "U8", "U8": "I8", "U16": "F16", "I64": "F64"}
        info = header[data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))]
        info["dtype"] = swaps.get(info["dtype"], info["dtype"])
    header["__metadata__"]["qcore"] = json.dumps(about)
    found = load_or_refuse(write(tmp_path / "a", container(header, whole[8 + length :])))
    if isinstance(found, dict):
        for tensor in found.values():
            assert np.asarray(tensor).size < 10_000


@pytest.mark.parametrize("name", ["a.npz", "z.npz", "a.npy"])
def test_changed_numpy_files_are_refused_or_load(tmp_path, name):
    w = np.arange(6.0).reshape(2, 3)
    {"a.npz": np.savez, "z.npz": np.savez_compressed, "a.npy": np.save}[name](tmp_path / name, w)
    whole = (tmp_path / name).read_bytes()
    for length in range(len(whole)):
        assert load_or_refuse(write(tmp_path / name, whole[:length])) is None
    rng = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        load_or_refuse(write(tmp_path / name, changed))


class Explosive:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(tmp_path):
    bomb = np.array([Explosive()], object)
    np.save(tmp_path / "a.npy", bomb, allow_pickle=True)
    np.savez(tmp_path / "a.npz", bomb)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FormatError, match="pickled Python objects, which are never loaded"):
            qc.load(tmp_path / name)
