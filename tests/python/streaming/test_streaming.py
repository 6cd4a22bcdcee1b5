"""A file compressed a tile at a time is the file that memory would have made."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore import _core
from qcore.files.formats import open_tensors
from qcore.streaming.compress import compress_file

RECIPES = {
    "int8": {},
    "int4": {"bits": 4},
    "int4_groups": {"bits": 4, "group_size": 32},
    "int3_odd_groups": {"bits": 3, "group_size": 7},
    "int2": {"bits": 2},  # so many zeros that it is stored sparsely
    "uint8": {"symmetric": False},
    "by_name": {"bits": {"b*": 8, "*": 5}},
    "one_scale": {"axis": None},
    "last_axis": {"axis": 1},
    "kmeans": {"scheme": "kmeans", "levels": 4},
    "nothing": {"ignore": ["*"]},
}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


def checkpoint(seed=0):
    rng = np.random.default_rng(seed)
    sparse = rng.standard_normal((60, 50)).astype(np.float32)
    sparse[rng.random(sparse.shape) < 0.9] = 0
    return {
        "a.weight": rng.standard_normal((40, 33)).astype(np.float32),
        "a.bias": rng.standard_normal(40).astype(np.float32),
        "b:half": rng.standard_normal((31, 8)).astype(np.float16),
        "b.double": rng.standard_normal((9, 64)),
        "conv": rng.standard_normal((6, 5, 3, 3)).astype(np.float32),
        "sparse": sparse,
        "zeros": np.zeros((20, 30), np.float32),
        "mostly_zero_bias": np.where(np.arange(4000) % 50, 0, 1).astype(np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "hollow": np.zeros((4, 0), np.float32),
        "scalar": np.array(1.5, np.float32),
        "steps": np.arange(12).reshape(3, 4),
        "clipped": np.where(np.eye(8), np.inf, 1).astype(np.float32),
    }


def in_memory(source, output, **options):
    weights = qc.load_tensors(source)
    qc.save(output, qc.Quantizer(**options).fit_transform(weights))


def raw_file(path, tensors):
    """Write tensors of any type: name to (type, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        places = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": places}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("tile_bytes", [1, 1000, 1 << 22])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_bytes_are_those_of_memory(tmp_path, recipe, tile_bytes):
    source, streamed, expected = (tmp_path / name for name in "abc")
    weights = checkpoint()
    if recipe == "kmeans":
        del weights["clipped"]  # has infinities, which no codebook holds
    qc.save(source, weights)
    quantizer = qc.Quantizer(**RECIPES[recipe])
    done = compress_file(source, streamed, quantizer, tile_bytes=tile_bytes)
    in_memory(source, expected, **RECIPES[recipe])
    assert streamed.read_bytes() == expected.read_bytes()
    assert done.path == streamed
    assert done.nbytes == expected.stat().st_size
    assert sorted(tmp_path.iterdir()) == [source, streamed, expected]  # nothing is left behind


@given(
    shape=st.lists(st.integers(1, 20), min_size=2, max_size=3),
    bits=st.integers(2, 8),
    group_size=st.none() | st.integers(1, 24),
    symmetric=st.booleans(),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    tile_bytes=st.integers(1, 3000),
    seed=st.integers(0, 99),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_shape_and_width(
    tmp_path, shape, bits, group_size, symmetric, density, tile_bytes, seed
):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape).astype(np.float32)
    w[rng.random(shape) >= density] = 0
    options = {"bits": bits, "group_size": group_size, "symmetric": symmetric}
    source, streamed, expected = (tmp_path / name for name in "abc")
    qc.save(source, {"w": w})
    compress_file(source, streamed, qc.Quantizer(**options), tile_bytes=tile_bytes)
    in_memory(source, expected, **options)
    assert streamed.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(tmp_path, threads):
    before = _core.num_threads()
    qc.save(tmp_path / "a", checkpoint(3))
    reports = []
    try:
        for name, count in (("b", threads), ("c", 3)):
            _core.set_num_threads(count)
            done = compress_file(
                tmp_path / "a", tmp_path / name, qc.Quantizer(), errors=True, tile_bytes=500
            )
            reports.append(done.report_.to_json())
    finally:
        _core.set_num_threads(before)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert reports[0] == reports[1]


def test_the_public_call(tmp_path):
    weights = {"w": np.linspace(-1, 1, 640, dtype=np.float32).reshape(8, 80)}
    qc.save(tmp_path / "a", weights)
    done = qc.compress(tmp_path / "a", output=str(tmp_path / "b"), bits=4, group_size=32)
    expected = qc.compress(weights, bits=4, group_size=32)
    assert qc.load(tmp_path / "b")["w"] == expected["w"]
    assert done.report_.totals["bytes"] == expected.report_.totals["bytes"] == 320 + 2 * 24


def test_scales_of_groups_are_of_one_type_in_all_tiles(tmp_path):
    weights = {"w": np.random.default_rng(0).standard_normal((64, 80)).astype(np.float32)}
    for least in (1.0, 1e-7):
        weights["w"][50] *= np.float32(least)  # float16 cannot hold the scales of this row
        qc.save(tmp_path / "a", weights)
        compress_file(
            tmp_path / "a", tmp_path / "b", qc.Quantizer(4, group_size=32), tile_bytes=999
        )
        found = qc.load(tmp_path / "b")["w"]
        assert found == qc.Quantizer(4, group_size=32).fit_transform(weights)["w"]
        assert found.scale_dtype == (np.float16 if least == 1.0 else np.float32)


def test_types_that_numpy_lacks_stay_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 15, (16, 24)).astype("<u2") & 0xBFFF  # finite bfloat16
    bf16 = ("BF16", [16, 24], bits.tobytes())
    tensors = {
        "w": bf16,
        "norm": ("BF16", [24], bits[0].tobytes()),
        "f8.bias": ("F8_E4M3", [5, 2], bytes(range(10))),
        "f4.bias": ("F4", [3, 2], b"\1\2\3"),
        "f8": ("F8_E5M2", [2, 8], bytes(range(16))),
    }
    source = raw_file(tmp_path / "a", tensors)
    qc.compress(source, output=tmp_path / "b")
    file = _core.TensorFile(tmp_path / "b")
    for name in ("norm", "f8.bias", "f4.bias"):
        dtype, shape, raw = tensors[name]
        found = np.empty(len(raw), np.uint8)
        file.read_into(name, found)
        assert file.info(name) == (dtype, shape, len(raw))
        assert found.tobytes() == raw
    small, large = qc.load_tensors(tmp_path / "b"), qc.load_tensors(source)
    for name in ("w", "f8"):
        assert small[name] == qc.quantize(large[name], axis=0)


def test_what_is_quantized_already_stays(tmp_path):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((30, 40)).astype(np.float32)
    thin = np.where(rng.random(w.shape) < 0.05, w, 0)
    tensors = {"q": qc.quantize(w, bits=3), "thin": qc.quantize(thin), "thin_floats": thin, "w": w}
    qc.save(tmp_path / "a", tensors)
    qc.compress(tmp_path / "a", output=tmp_path / "b")
    found = qc.load_tensors(tmp_path / "b")
    assert found["q"] == tensors["q"]
    assert found["thin"] == tensors["thin"]
    assert found["thin_floats"] == qc.quantize(thin, axis=0)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_numpys_files(tmp_path, kind):
    w = np.random.default_rng(0).standard_normal((16, 20)).astype(np.float32)
    path = tmp_path / f"w.{kind}"
    np.savez(path, w=w) if kind == "npz" else np.save(path, w)
    qc.compress(path, output=tmp_path / "b", bits=6)
    assert qc.load(tmp_path / "b")["w"] == qc.quantize(w, bits=6, axis=0, observer="mse")


def test_the_report_has_what_tensors_lost(tmp_path):
    weights = checkpoint()
    del weights["clipped"], weights["zeros"], weights["empty"], weights["hollow"]
    qc.save(tmp_path / "a", weights)
    done = compress_file(tmp_path / "a", tmp_path / "b", qc.Quantizer(), errors=True, tile_bytes=99)
    rows = {row["tensor"]: row for row in done.report_.rows}
    for name, q in qc.load_tensors(tmp_path / "b").items():
        assert rows[name]["shape"] == ("x".join(map(str, weights[name].shape)) or "scalar")
        if isinstance(q, qc.QTensor):
            error = q.error(weights[name])
            assert rows[name]["SQNR dB"] == pytest.approx(error.sqnr_db)
            assert rows[name]["cosine"] == pytest.approx(error.cosine)
            assert rows[name]["max error"] == pytest.approx(error.max_abs)
    quick = compress_file(tmp_path / "a", tmp_path / "b", qc.Quantizer())
    assert "SQNR dB" not in str(quick.report_)


def test_progress_ends_at_all_of_it(tmp_path):
    qc.save(tmp_path / "a", checkpoint())
    seen = []
    compress_file(
        tmp_path / "a", tmp_path / "b", qc.Quantizer(), tile_bytes=999,
        progress=lambda done, total, text: seen.append((done, total, text)),
    )  # fmt: skip
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == seen[-1][1]


# when it does not go well -------------------------------------------------------------------------
def test_bad_values_leave_the_old_file(tmp_path):
    w = np.ones((100, 10), np.float32)
    w[63, 4] = np.nan
    qc.save(tmp_path / "a", {"fine": w[:5], "fc.weight": w})
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"tensor 'fc.weight' from row 50 on: x\[13, 4\] is NaN"):
        compress_file(tmp_path / "a", tmp_path / "b", qc.Quantizer(), tile_bytes=2000)
    assert (tmp_path / "b").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_wrong_calls(tmp_path):
    path, out = tmp_path / "a", tmp_path / "b"
    qc.save(path, {"w": np.ones((2, 3), np.float32)})
    os.link(path, tmp_path / "other name")
    for same in (path, tmp_path / "other name"):
        with pytest.raises(ValueError, match="the file to compress; name another"):
            qc.compress(path, output=same)
    with pytest.raises(ValueError, match="output is missing"):
        qc.compress(path)
    with pytest.raises(ValueError, match="sparsity is given"):
        qc.compress(path, output=out, sparsity=0.5)
    with pytest.raises(ValueError, match="bits is 9; it must be"):
        qc.compress(path, output=out, bits=9)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        qc.compress(tmp_path / "nowhere", output=out)
    with pytest.raises(FileNotFoundError):
        qc.compress(path, output=tmp_path / "no folder" / "b")
    with pytest.raises(ValueError, match="for a model that is a path"):
        qc.compress({"w": np.ones((2, 3), np.float32)}, output=out)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(qc.FormatError, match="truncated"):
        qc.compress(path, output=out)
    assert not out.exists()


RUN = """
import resource, sys
import qcore as qc
try:
    qc.compress(sys.argv[1], output=sys.argv[2], bits=8)
except OSError as error:
    print(type(error).__name__, error.errno, error.filename)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(*arguments, **options):
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, **options)


@root_only
def test_a_full_disk_leaves_the_old_file(tmp_path):
    source, disk = tmp_path / "a", tmp_path / "disk"
    qc.save(source, {"w": np.random.default_rng(0).standard_normal((2000, 1500))})
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        (disk / "b").write_bytes(b"old")
        done = run(source, disk / "b")
        assert done.stdout.startswith(f"OSError 28 {disk / 'b'}\n"), done.stderr
        assert (disk / "b").read_bytes() == b"old"
        assert list(disk.iterdir()) == [disk / "b"]
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607


def test_memory_does_not_grow_with_the_file(tmp_path):
    rng = np.random.default_rng(0)
    block = rng.standard_normal((4096, 2048), dtype=np.float32)  # 32 MiB
    peaks = {}
    for count in (1, 6):
        tensors = {f"w{index}": block for index in range(count)}
        safetensors.numpy.save_file(tensors, tmp_path / "a")
        peaks[count] = int(run(tmp_path / "a", tmp_path / "b").stdout) / 1024
    assert peaks[6] - peaks[1] < 24, peaks


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    tensors = {f"w{i}": np.random.default_rng(i).standard_normal((1000, 1000)) for i in range(8)}
    safetensors.numpy.save_file(tensors, tmp_path / "a")
    slow = (
        "import sys, time, qcore as qc, qcore.streaming.work as work\n"
        "quantize = work.quantize\n"
        "def slowly(*a, **k):\n"
        "    print('begun', flush=True); time.sleep(0.05); return quantize(*a, **k)\n"
        "work.quantize = slowly\n"
        "qc.compress(sys.argv[1], output=sys.argv[2])\n"
    )
    command = [sys.executable, "-c", slow, str(tmp_path / "a"), str(tmp_path / "b")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("begun")
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
        assert "KeyboardInterrupt" in process.stderr.read()
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_sources_tell_what_they_hold_before_it_is_read(tmp_path):
    tensors = checkpoint()
    qc.save(tmp_path / "a", tensors)
    np.savez(tmp_path / "a.npz", **tensors)
    for path in (tmp_path / "a", tmp_path / "a.npz"):
        source = open_tensors(path)
        assert set(source) == set(tensors)
        for name, expected in tensors.items():
            info = source.info(name)
            assert (info.shape, info.dtype) == (expected.shape, expected.dtype)
            assert info.nbytes == expected.nbytes
            if info.in_rows and expected.ndim and len(expected) > 2:
                assert np.array_equal(source.read_rows(name, 1, 3), expected[1:3])
