"""Files that ask for more than they weigh, and processes that are killed while they write."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

import qcore as qc
from qcore import _core
from qcore.files.idx import read_idx

F = np.float32


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def described(description, parts):
    """Return a file of one described tensor with these parts: (type, shape, bytes) by name."""
    about = {"format": 1, "kind": "checkpoint", "tensors": {"w": description}}
    header, data = {"__metadata__": {"qcore": json.dumps(about)}}, b""
    for name, (kind, shape, raw) in parts.items():
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": place}
        data += raw
    return safetensors(header, data)


# bombs -----------------------------------------------------------------------------------------
def test_a_sparse_tensor_of_gigabytes(tmp_path):
    rows = 1 << 20
    gaps = bytes([255] * (rows * 4096 // 255)) + bytes([rows * 4096 % 255])
    (tmp_path / "a").write_bytes(
        described(
            {"at": "gap8", "shape": [rows, 1 << 12]},
            {"w": ("F32", [0], b""), "w:at": ("U8", [len(gaps)], gaps)},
        )
    )
    for load in (qc.load, qc.load_tensors):
        with pytest.raises(qc.LimitError, match="max_bytes is"):
            load(tmp_path / "a")


def test_a_matrix_of_very_many_rows(tmp_path):
    rows = 1 << 40
    parts = {
        "w": ("F32", [0], b""), "w:at": ("U8", [1], b"\0"),
        "w:indptr": ("I64", [1], bytes(8)),
    }  # fmt: skip
    for layout in ("csr", "gap8"):
        file = described({"csr": True, "at": layout, "shape": [rows, 0]}, parts)
        (tmp_path / "a").write_bytes(file)
        with pytest.raises(qc.FormatError):
            qc.load(tmp_path / "a")


def test_the_limit_is_raised_by_its_name(tmp_path):
    zeros = {"w": np.zeros((1 << 13, 1 << 13), F)}
    qc.save(tmp_path / "a", zeros)  # 256 MiB of zeros in a few kilobytes
    assert (tmp_path / "a").stat().st_size < 1 << 20
    assert qc.load(tmp_path / "a")["w"].shape == zeros["w"].shape
    with pytest.raises(qc.LimitError, match=r"max_bytes is 1000$"):
        qc.load(tmp_path / "a", max_bytes=1000)
    with pytest.raises((TypeError, ValueError), match="max_bytes"):
        qc.load(tmp_path / "a", max_bytes=-1)


def test_names_are_as_long_as_they_may_be(tmp_path):
    name = "n" * 5000
    (tmp_path / "a").write_bytes(
        safetensors({name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}, bytes(16))
    )
    for load in (qc.load, qc.load_tensors):
        with pytest.raises(qc.LimitError, match="5000 bytes, max_name_bytes is 4096"):
            load(tmp_path / "a")
        assert list(load(tmp_path / "a", max_name_bytes=5000)) == [name]
    out = tmp_path / "b.safetensors"
    with pytest.raises(qc.LimitError, match="max_name_bytes"):
        qc.compress(tmp_path / "a", output=out)
    with pytest.raises(qc.LimitError, match="has 1 tensors, max_tensors is 0"):
        qc.compress(tmp_path / "a", output=out, max_tensors=0)
    qc.compress(tmp_path / "a", output=out, max_name_bytes=5000)
    assert list(qc.load(out, max_name_bytes=5100)) == [name]
    with pytest.raises(ValueError, match="a path"):
        qc.compress({"w": np.ones((2, 2), F)}, max_tensors=5)


def test_a_gzipped_idx_file_of_gigabytes(tmp_path):
    size = 300 << 20
    with gzip.open(tmp_path / "a.gz", "wb", compresslevel=1) as file:
        file.write(bytes([0, 0, 8, 1]) + size.to_bytes(4, "big"))
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    with pytest.raises(qc.LimitError, match=f"decodes to {size} bytes, max_bytes is"):
        read_idx(tmp_path / "a.gz")
    assert read_idx(tmp_path / "a.gz", max_bytes=size).shape == (size,)


def test_an_npz_of_gigabytes(tmp_path):
    about = {"descr": "<f4", "fortran_order": False, "shape": (100 << 20,)}
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, about)
        for _ in range(400):
            file.write(bytes(1 << 20))
    with pytest.raises(qc.LimitError, match="max_bytes is"):
        qc.load(tmp_path / "a.npz")


def test_very_many_tensors_and_very_long_names(tmp_path):
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    (tmp_path / "a").write_bytes(safetensors(dict.fromkeys(map(str, range(3000)), empty)))
    assert len(qc.load(tmp_path / "a")) == 3000
    with pytest.raises(qc.LimitError, match="3000 tensors, max_tensors is 2999"):
        qc.load(tmp_path / "a", max_tensors=2999)
    (tmp_path / "a").write_bytes(safetensors(dict.fromkeys(map(str, range(200_001)), empty)))
    with pytest.raises(qc.LimitError, match="max_tensors is 200000"):
        qc.load(tmp_path / "a")
    (tmp_path / "a").write_bytes(safetensors({"x" * 5000: empty}))
    with pytest.raises(qc.LimitError, match="max_name_bytes is 4096"):
        qc.load(tmp_path / "a")
    (tmp_path / "a").write_bytes(safetensors({"w": empty | {"shape": [1] * 100 + [0]}}))
    with pytest.raises(qc.FormatError, match="101 axes"):
        qc.load(tmp_path / "a")


def test_a_name_that_is_there_twice(tmp_path):
    one = b'"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    other = b'"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}'
    for text in (
        b"{" + one + b"," + other + b"}", b"{" + one + b"," + one + b"}",
        b'{"__metadata__":{"a":"1","a":"2"},' + one + b"}",
        b'{"__metadata__":{},"__metadata__":{},' + one + b"}",
    ):  # fmt: skip
        (tmp_path / "a").write_bytes(safetensors(text, b"ab"))
        with pytest.raises(qc.FormatError, match="is there twice"):
            qc.load(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [{"recipe": 5}, {"layers": "x"}, {"classes": []}, {"names": 3},
     {"tensors": {"w": {"bits": "8"}}}, {"tensors": {"w": {"shape": [1.5]}}},
     {"tensors": {"w": {"axis": True}}}],
    ids=str,
)  # fmt: skip
def test_texts_of_the_wrong_type_end_at_once(tmp_path, change):
    about = {"format": 1, "kind": "checkpoint"} | change
    header = {"__metadata__": {"qcore": json.dumps(about)}}
    header["w"] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    (tmp_path / "a").write_bytes(safetensors(header, bytes(4)))
    for load in (qc.load, qc.Recipe.load):
        with pytest.raises(qc.FormatError, match="is corrupt"):
            load(tmp_path / "a")


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.onnx")
    for read in (qc.load, qc.from_onnx):
        with pytest.raises(qc.FormatError, match="not a regular file"):
            read(tmp_path / "a.onnx")
    with pytest.raises(qc.FormatError, match="not a regular file"):
        qc.from_onnx("/dev/zero")


# kills -----------------------------------------------------------------------------------------
WRITER = """
import sys, time, numpy as np, qcore as qc
value = float(sys.argv[2])
while True:
    w = {f"l{i}.weight": np.full((64, 256), value + i, np.float32) for i in range(8)}
    qc.save(sys.argv[1], w, shard_bytes=70_000)
    print("saved", flush=True)
    value += 100
"""


def killed(path, value, after, number=signal.SIGKILL):
    """Save a checkpoint again and again in another process, and kill it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(value)], stdout=subprocess.PIPE
    )
    process.stdout.readline()  # the first one is complete
    time.sleep(after)
    process.send_signal(number)
    process.wait()
    process.stdout.close()


def test_a_killed_save_leaves_the_old_checkpoint_or_the_new_one(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    for attempt in range(12):
        killed(index, 1000 * attempt, after=0.003 * attempt)
        found = qc.load(index)
        firsts = [found[f"l{i}.weight"].flat[0] - i for i in range(8)]
        assert len(set(firsts)) == 1, firsts
        assert all((w == w.flat[0]).all() for w in found.values())
    qc.save(index, {"w": np.ones(3)})
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 2, left
    assert left[1] == index.name


def test_the_draft_of_a_killed_process_goes_at_the_next_save(tmp_path):
    script = (
        "import sys, time, numpy as np; from qcore import _core\n"
        "draft = _core.AtomicFile(sys.argv[1]); draft.write_at(0, np.zeros(999, np.uint8))\n"
        "folder = _core.DraftFolder(sys.argv[2]); print('there', flush=True); time.sleep(60)"
    )
    path = tmp_path / "a.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(tmp_path)], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    assert len(list(tmp_path.glob(".qcore-*"))) == 2
    qc.save(path, {"w": np.ones(3)})  # they are somebody's
    assert len(list(tmp_path.glob(".qcore-*"))) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    qc.save(path, {"w": np.ones(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_sigterm_leaves_no_draft(tmp_path):
    path = tmp_path / "model.safetensors"
    qc.save(
        path, {f"{i}.weight": np.random.default_rng(i).normal(size=(2000, 500)) for i in range(9)}
    )
    small = tmp_path / "b.safetensors"
    command = [sys.executable, "-m", "qcore", "compress", str(path), "-o", str(small),
               "--bits", "4", "--group-size", "64"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not list(tmp_path.glob(".qcore-*")) and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.005)
    process.terminate()
    status = process.wait(timeout=30)
    assert status in (-signal.SIGTERM, 0)
    assert not list(tmp_path.glob(".qcore-*"))


def test_the_folder_of_drafts_is_gone_when_it_is_closed(tmp_path):
    folder = _core.DraftFolder(tmp_path)
    (folder.path / "x").write_text("x")
    folder.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="complete or given up"):
        _ = folder.path
