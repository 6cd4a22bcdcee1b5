"""Checkpoints in several files, and folders of arrays: one checkpoint all the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

import qcore as qc
from qcore.files.formats import _BY_SUFFIX, open_tensors
from qcore.streaming.compress import compress_file


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return {f"layer{i}.weight": rng.standard_normal((6, 8)).astype(np.float32) for i in range(4)}


@pytest.fixture
def sharded(tmp_path):
    """A folder of two shards with their index, as hubs hold them."""
    tensors = weights()
    names = list(tensors)
    folder = tmp_path / "model"
    folder.mkdir()
    places = {}
    for number, part in enumerate((names[:2], names[2:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        safetensors.numpy.save_file({name: tensors[name] for name in part}, folder / shard)
        places |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 768}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("way", ["model.safetensors.index.json", "", "model-*.safetensors"])
def test_shards_are_one_checkpoint(sharded, tmp_path, way):
    path = sharded / way if way else sharded
    expected = weights()
    found = qc.load_tensors(path)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    done = qc.compress(path, output=tmp_path / "small.safetensors")
    small = qc.load(done.path)
    assert all(small[name] == qc.quantize(expected[name], axis=0) for name in expected)


def test_an_index_names_files_beside_it_only(sharded):
    index = sharded / "model.safetensors.index.json"
    for bad in ("../model/x.safetensors", "/etc/passwd", "..", ""):
        index.write_text(json.dumps({"weight_map": {"w": bad}}))
        with pytest.raises(qc.FormatError, match="not beside it"):
            qc.load(index)
    for text in ("[]", "{", '{"weight_map": 3}', '{"weight_map": {"w": 3}}', "[" * 100_000):
        index.write_text(text)
        with pytest.raises(qc.FormatError, match="no index of shards"):
            qc.load(index)
    index.write_text(json.dumps({"weight_map": {"w": "gone.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors"):
        qc.load(index)


def test_shards_share_no_name(sharded):
    (sharded / "model.safetensors.index.json").unlink()
    safetensors.numpy.save_file({"layer0.weight": np.zeros(2)}, sharded / "model-3.safetensors")
    with pytest.raises(qc.FormatError, match=r"both have a tensor 'layer0\.weight'"):
        qc.load(sharded)


def test_nothing_to_find(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model-\*"):
        qc.load(tmp_path / "model-*.safetensors")
    with pytest.raises(IsADirectoryError):
        qc.load(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors.index.json").write_text("{}")
    with pytest.raises(qc.FormatError, match="several index files"):
        qc.load(tmp_path)


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    path = tmp_path / "w[1].safetensors"
    qc.save(path, {"w": np.arange(3)})
    assert qc.load(path)["w"].tolist() == [0, 1, 2]


def test_a_folder_of_arrays(tmp_path):
    tensors = weights() | {
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big_endian": np.arange(12, dtype=">f4").reshape(3, 4),
        "scalar": np.array(2.5),
        "ints": np.arange(5),
    }
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name, array in tensors.items():
        np.save(folder / f"{name}.npy", array)
    source = open_tensors(folder)
    for name, array in tensors.items():
        assert np.array_equal(source[name], array)
        info = source.info(name)
        assert (info.shape, info.dtype) == (array.shape, array.dtype.newbyteorder("="))
        if info.in_rows:
            assert np.array_equal(source.read_rows(name, 1, 3), array[1:3])
    assert not source.info("fortran").in_rows
    qc.compress(folder, output=tmp_path / "small")
    small = qc.load(tmp_path / "small")
    assert small["fortran"] == qc.quantize(tensors["fortran"], axis=0)
    assert small["big_endian"] == qc.quantize(tensors["big_endian"], axis=0)
    assert small["ints"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("suffix", sorted({*_BY_SUFFIX} - {".gguf"}))
def test_what_is_only_read_is_not_written(tmp_path, suffix):
    qc.save(tmp_path / "w.safetensors", weights())
    output = tmp_path / f"w{suffix}"
    for lossless in (False, True):
        with pytest.raises(ValueError, match=rf"'w{suffix}'; \{suffix} files are read, not"):
            qc.compress(tmp_path / "w.safetensors", output=output, lossless=lossless)
    assert not output.exists()


def test_a_folder_with_a_pickle_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(qc.FormatError, match="never loaded"):
        qc.load(tmp_path)
    with pytest.raises(qc.FormatError, match="never loaded"):
        qc.compress(tmp_path, output=tmp_path / "b")


@pytest.mark.parametrize("shard_bytes", [1, 3000, 10**9])
@pytest.mark.parametrize("file_format", ["qcore", "compressed-tensors"])
def test_checkpoints_are_written_in_shards(tmp_path, shard_bytes, file_format):
    rng = np.random.default_rng(0)
    tensors = {f"l{i}.weight": rng.standard_normal((20, 32)).astype(np.float32) for i in range(5)}
    quantizer = qc.Quantizer(4, ignore=("l0.*",))
    small = quantizer.fit_transform(tensors)
    (tmp_path / "memory").mkdir()
    (tmp_path / "stream").mkdir()
    qc.save(tmp_path / "source", tensors)
    options = {"file_format": file_format, "shard_bytes": shard_bytes}
    qc.save(tmp_path / "memory" / "model.safetensors.index.json", small, **options)
    index = tmp_path / "stream" / "model.safetensors.index.json"
    done = compress_file(tmp_path / "source", index, quantizer, **options)
    files = sorted(index.parent.glob("*.safetensors"))
    assert len(files) == {1: 5, 10**9: 1}.get(shard_bytes, len(files))
    assert 1 < len(files) < 5 or shard_bytes != 3000
    found, other = qc.load(index), qc.load(tmp_path / "memory")
    for name in tensors:
        assert np.array_equal(np.asarray(found[name]), np.asarray(small[name]))
        assert np.array_equal(np.asarray(other[name]), np.asarray(small[name]))
    whole = sum(path.stat().st_size for path in [index, *files])
    assert done.nbytes == whole
    assert not list(index.parent.glob(".qcore*"))
    assert set(json.loads(index.read_text())["weight_map"].values()) == {p.name for p in files}


def test_no_source_is_replaced_by_a_shard(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    qc.save(index, {"w": np.ones((4, 64), np.float32)})
    before = (tmp_path / "model-00001-of-00001.safetensors").read_bytes()
    with pytest.raises(ValueError, match="which is read from"):
        qc.compress(tmp_path, output=index)
    assert (tmp_path / "model-00001-of-00001.safetensors").read_bytes() == before
    with pytest.raises(TypeError, match="one tensor or a network"):
        qc.save(index, np.ones(3))
    with pytest.raises(ValueError, match="read, not written"):
        qc.save(tmp_path / "a.npz", {"w": np.ones(3)})
