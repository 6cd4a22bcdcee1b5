"""The work on a Dask cluster: the same bytes, also when a worker is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from distributed import Client, LocalCluster

import qcore as qc
from qcore.streaming import cluster as streaming_cluster
from qcore.streaming.calibrate import observe_layers
from qcore.streaming.compress import compress_file

pytestmark = pytest.mark.filterwarnings("ignore")  # what warns is the cluster's own


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"layer{i}.weight": rng.standard_normal((50, 30)).astype(np.float32) for i in range(9)
    }
    tensors |= {f"layer{i}.bias": rng.standard_normal(50).astype(np.float32) for i in range(9)}
    tensors["layer0.weight"][rng.random((50, 30)) < 0.9] = 0
    qc.save(tmp_path / "a", tensors)
    return tmp_path / "a"


@pytest.mark.parametrize("recipe", [{}, {"bits": 4, "group_size": 16}, {"scheme": "kmeans"}])
def test_the_bytes_are_those_of_one_machine(client, source, tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(streaming_cluster.run_on_cluster, "__kwdefaults__", {"shard_bytes": 5000})
    quantizer = qc.Quantizer(**recipe)
    alone = compress_file(source, tmp_path / "b", quantizer, errors=True, tile_bytes=2000)
    together = compress_file(
        source, tmp_path / "c", quantizer, errors=True, tile_bytes=2000, dask=client
    )
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert alone.report_.to_json() == together.report_.to_json()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_by_address(client, source, tmp_path):
    qc.compress(source, output=tmp_path / "b")
    qc.compress(source, output=tmp_path / "c", dask=client.scheduler.address)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def _slow_work(shard, work=streaming_cluster._work):
    time.sleep(0.2)
    return work(shard)


def test_a_lost_worker_costs_its_shard(client, source, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming_cluster.run_on_cluster, "__kwdefaults__", {"shard_bytes": 5000})
    monkeypatch.setattr(streaming_cluster, "_work", _slow_work)
    workers = client.run(os.getpid)
    killed = []

    def kill(done, total, text):
        if not killed and done > total / 3:
            killed.append(next(iter(workers.values())))
            os.kill(killed[0], signal.SIGKILL)

    qc.compress(source, output=tmp_path / "b")
    compress_file(
        source, tmp_path / "c", qc.Quantizer(), dask=client, progress=kill, tile_bytes=999
    )
    assert killed
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
    client.wait_for_workers(2, timeout=60)
    assert killed[0] not in client.run(os.getpid).values()


def test_errors_come_back_and_the_old_file_stays(client, tmp_path):
    w = np.ones((40, 10), np.float32)
    w[7, 3] = np.nan
    qc.save(tmp_path / "a", {"w": w})
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"tensor 'w': x\[7, 3\] is NaN"):
        qc.compress(tmp_path / "a", output=tmp_path / "b", dask=client)
    assert (tmp_path / "b").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_without_dask_a_sentence_says_what_to_install(source, tmp_path):
    code = (
        "import sys; sys.modules['dask'] = None; import qcore as qc;"
        "qc.compress(sys.argv[1], output=sys.argv[2], dask='local')"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'qcore-cpu[dask]'" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "b").exists()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def calibration(tmp_path):
    rng = np.random.default_rng(1)
    shapes = [(20, 12), (20,), (5, 20), (5,)]
    w1, b1, w2, b2 = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    net = qc.nn.Sequential.from_arrays([w1, w2], [b1, b2], layout="out_in")
    net.save(tmp_path / "net.safetensors")
    X = rng.standard_normal((5 * 4096 + 77, 12)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    return net, X, tmp_path / "net.safetensors", tmp_path / "X.npy"


@pytest.mark.parametrize("observer", ["minmax", "entropy"])
def test_calibration_is_a_tree_of_merges(client, calibration, observer):
    net, X, network, data = calibration
    alone = observe_layers(network, data, observer=observer, shard_rows=4096)
    together = observe_layers(network, data, observer=observer, shard_rows=4096, dask=client)
    quantizer = qc.Quantizer(observer=observer, algorithm=(), activations="static")
    quantizer.partial_fit(net, X)
    for name, params in quantizer.input_qparams_.items():
        assert together[name].qparams(signed=False, symmetric=False) == params
        for one, other in zip(alone[name].histogram(), together[name].histogram(), strict=True):
            assert np.array_equal(one, other)


def test_calibration_says_what_is_wrong(calibration, tmp_path):
    _, X, network, data = calibration
    with pytest.raises(ValueError, match="shard_rows is 100"):
        observe_layers(network, data, shard_rows=100)
    with pytest.raises(ValueError, match="no network"):
        observe_layers(data, data)
    np.save(tmp_path / "none.npy", X[:0])
    with pytest.raises(ValueError, match=r"data has shape \(0, 12\)"):
        observe_layers(network, tmp_path / "none.npy")
    np.savez(tmp_path / "two.npz", a=X, b=X)
    with pytest.raises(ValueError, match="has no array X; it has a, b"):
        observe_layers(network, tmp_path / "two.npz")
