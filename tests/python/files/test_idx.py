import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore import FormatError
from qcore.files.idx import read_idx, read_mnist

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    code = CODES[array.dtype.str[1:]]
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    return (
        bytes([0, 0, code, array.ndim])
        + lengths
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
def test_every_type_and_shape_comes_back(tmp_path, pack, data):
    dtype = data.draw(st.sampled_from(sorted(CODES)))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    array = data.draw(hnp.arrays(np.dtype(dtype), shape))
    path = tmp_path / "a.idx"  # the name never tells
    path.write_bytes(pack(idx_bytes(array)))
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_every_truncation_is_a_format_error(tmp_path, pack):
    whole = pack(idx_bytes(np.arange(12, dtype=np.int16).reshape(3, 4)))
    path = tmp_path / "a.idx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"a\.idx"):
            read_idx(path)


def test_a_flipped_bit_in_gzip_is_found(tmp_path):
    array = np.arange(200, dtype=np.uint8)
    whole = bytearray(gzip.compress(idx_bytes(array), mtime=0))
    path = tmp_path / "a.gz"
    found = 0
    for position in range(10, len(whole)):
        whole[position] ^= 0x10
        path.write_bytes(whole)
        try:
            np.testing.assert_array_equal(read_idx(path), array)  # a bit that pads the stream
        except FormatError:
            found += 1
        whole[position] ^= 0x10
    assert found >= len(whole) - 11


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"PK\3\4abc", "begins with 50 4b 03 04"),
        (bytes([0, 0, 0x0A, 1, 0, 0, 0, 0]), "begins with 00 00 0a 01"),
        (bytes([0, 0, 8, 2, 0, 0, 0]), "ends inside its 2 dimensions"),
        (
            bytes([0, 0, 8, 1, 0, 0, 0, 2, 5]),
            r"truncated: uint8 values of shape \(2,\) take 2 bytes, it has 1",
        ),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 5, 5]), r"corrupt: .* take 1 bytes, it has more"),
        (bytes([0, 0, 14, 4]) + b"\xff" * 16, "truncated"),  # claims 2**131 bytes
        (gzip.compress(bytes([0, 0, 14, 4]) + b"\xff" * 16, mtime=0), "truncated"),
        (bytes([0, 0, 8, 255]) + bytes([0, 0, 0, 1] * 255) + b"a", "shape"),
    ],
)
def test_what_is_not_idx_says_what_was_found(tmp_path, content, message):
    path = tmp_path / "a.idx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_idx(path)


def test_missing_files_folders_and_pipes(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        read_idx(tmp_path / "pipe")


def write_mnist(folder, mark="-", end="", rows=3):
    pack = gzip.compress if end else bytes
    images = np.arange(rows * 4, dtype=np.uint8).reshape(rows, 2, 2)
    labels = np.arange(rows, dtype=np.uint8)
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images{mark}idx3-ubyte{end}").write_bytes(pack(idx_bytes(images)))
        (folder / f"{stem}-labels{mark}idx1-ubyte{end}").write_bytes(pack(idx_bytes(labels)))
    return images, labels


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
def test_mnist_under_each_of_its_names(tmp_path, mark, end):
    images, labels = write_mnist(tmp_path, mark, end)
    found = read_mnist(tmp_path)
    for array, expected in zip(found, (images, labels, images, labels), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_mnist_with_parts_that_do_not_fit(tmp_path):
    write_mnist(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(FormatError, match=r"3 images.*2 labels"):
        read_mnist(tmp_path)
    labels.write_bytes(idx_bytes(np.zeros(3, np.int16)))
    with pytest.raises(FormatError, match="1-D int16 values, 1-D uint8 are expected"):
        read_mnist(tmp_path)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\[\.gz\]"):
        read_mnist(tmp_path)


def test_the_real_files():
    folder = Path(os.environ.get("QCORE_MNIST", Path(__file__).parents[4] / "shared" / "mnist"))
    if not folder.is_dir():
        pytest.skip("MNIST is not here; QCORE_MNIST names its folder")
    train_images, train_labels, test_images, test_labels = read_mnist(folder)
    assert train_images.shape == (60_000, 28, 28)
    assert test_images.shape == (10_000, 28, 28)
    assert np.bincount(train_labels).tolist()[:3] == [5923, 6742, 5958]
    assert test_labels[:5].tolist() == [7, 2, 1, 0, 4]
