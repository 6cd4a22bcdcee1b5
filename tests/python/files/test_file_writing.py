"""Writing files: what none holds, modes and links, writes that fail; files of old versions."""

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import qcore as qc
from files_parts import SAMPLES
from qcore.saving import stored_nbytes

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


# writing -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"w": np.array(["a"])}, "tensor 'w' is an array of <U1"),
        ({"w": np.array([1j])}, "tensor 'w' is an array of complex128"),
        ({"w": np.array([None])}, "tensor 'w' is an array of object"),
        ({"w": np.zeros(2, "f4,i4")}, "tensor 'w' is an array of"),
        ({"w": [1, 2]}, "tensor 'w' is list"),
        ({"w": None}, "tensor 'w' is NoneType"),
        ({1: np.zeros(1)}, "names of tensors are str; 1 is not"),
        ("text", "is str"),
    ],
)
def test_what_no_file_holds(tmp_path, obj, message):
    with pytest.raises(TypeError, match=message):
        qc.save(tmp_path / "a", obj)
    with pytest.raises(TypeError, match=message):
        stored_nbytes(obj)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_names_that_no_file_holds(tmp_path, name):
    with pytest.raises(ValueError, match=r"reserved|surrogates"):
        qc.save(tmp_path / "a", {name: np.zeros(1)})
    assert not any(tmp_path.iterdir())


def test_the_mode_is_kept(tmp_path):
    path = tmp_path / "a"
    old = os.umask(0o027)
    try:
        qc.save(path, np.arange(3))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # as any new file
    path.chmod(0o604)
    qc.save(path, np.arange(4))
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert qc.load(path).size == 4


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    target, link, chain = tmp_path / "real" / "a", tmp_path / "link", tmp_path / "chain"
    link.symlink_to("real/a")
    chain.symlink_to(link)
    for count in (3, 4):  # not there yet, then there
        qc.save(chain, np.arange(count))
        assert link.is_symlink()
        assert chain.is_symlink()
        assert not target.is_symlink()
        assert qc.load(target).size == count
    link.unlink()
    link.symlink_to(chain)
    with pytest.raises(OSError, match="symbolic links"):
        qc.save(chain, np.arange(3))


def test_writing_where_no_file_can_be(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        qc.save(tmp_path / "none" / "a", np.arange(3))
    assert error.value.filename == str(tmp_path / "none" / "a")
    with pytest.raises(IsADirectoryError):
        qc.save(tmp_path, np.arange(3))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        qc.save(tmp_path / "file" / "a", np.arange(3))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        qc.save(tmp_path / "pipe", np.arange(3))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@not_root
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            qc.save(tmp_path / "a", np.arange(3))
    finally:
        tmp_path.chmod(0o700)


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    qc.save("a", np.arange(3))
    assert qc.load("a").size == 3


def run(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], text=True, capture_output=True,
        timeout=120, check=False, **options,
    )  # fmt: skip


SAVE = """
import sys, numpy as np, qcore as qc
try:
    qc.save(sys.argv[1], np.arange(1_000_000))
except OSError as error:
    print(type(error).__name__, error.errno, error.filename)
"""


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    qc.save(path, np.arange(3))
    before = path.read_bytes()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = run(SAVE, path, preexec_fn=limit)
    assert done.stdout == f"OSError 27 {path}\n", done.stderr  # EFBIG
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@root_only
def test_a_full_disk_leaves_the_old_file(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        path = tmp_path / "a"
        qc.save(path, np.arange(3))
        before = path.read_bytes()
        done = run(SAVE, path)
        assert done.stdout == f"OSError 28 {path}\n", done.stderr  # ENOSPC
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    finally:
        subprocess.run(["umount", tmp_path], check=True)  # noqa: S607


def test_a_reader_never_sees_a_part(tmp_path):
    path = tmp_path / "a"
    qc.save(path, np.full(50_000, 0))
    done = threading.Event()

    def rewrite():
        for value in range(30):
            qc.save(path, np.full(50_000 + value, value))
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        array = qc.load(path)
        assert (array == array[0]).all()
        assert array.size == 50_000 + array[0]
    writer.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    qc.save(path, np.arange(3))
    code = SAVE.replace("try:", "print(flush=True)\ntry:").replace("1_000_000", "30_000_000")
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    writer.stdout.readline()
    while len(list(tmp_path.iterdir())) == 1 and writer.poll() is None:
        pass
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert qc.load(path).size in (3, 30_000_000)


def test_threads_read_one_file_together(tmp_path):
    path = tmp_path / "a"
    qc.save(path, {str(i): np.full(2000, i) for i in range(50)})
    found = {}

    def read(thread):
        found[thread] = qc.load_tensors(path)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for tensors in found.values():
        assert all((array == int(name)).all() for name, array in tensors.items())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_old_file_is_read(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    found = qc.load_tensors(path)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert np.asarray(tensor).dtype.name == expected[name]["dtype"]
        assert np.asarray(tensor).shape == tuple(expected[name]["shape"])
        found_hash = hashlib.sha256(np.asarray(tensor).astype("<f8").tobytes()).hexdigest()
        assert found_hash == expected[name]["sha256_float64"]


def test_there_are_old_files():
    assert {path.stem for path in SAMPLES} >= {"checkpoint_1", "network_1", "tensor_1"}
