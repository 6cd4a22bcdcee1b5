"""Fixtures that several files share: a trained network, and what the command is run on."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import qcore as qc
from report_parts import samples

# How long anything takes on a busy machine says nothing about what is tested.
settings.register_profile("qcore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("qcore")

# A shell without a terminal lets what it runs in the background ignore Ctrl-C, with all that this
# starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def net() -> qc.nn.Sequential:
    X, y = samples()
    layers = [qc.nn.Dense(10, 24, "relu"), qc.nn.Dense(24, 3, "softmax")]
    return qc.nn.Sequential(layers).fit(X, y, epochs=20, random_state=0)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


@pytest.fixture
def folder(tmp_path: Path, data: tuple[np.ndarray, np.ndarray], trained: qc.nn.Sequential) -> Path:
    """A folder with a checkpoint, a network, its arrays, samples and labels."""
    rng = np.random.default_rng(1)
    checkpoint = {
        "a.weight": rng.standard_normal((40, 64)).astype(np.float32),
        "b.weight": rng.standard_normal((8, 130)).astype(np.float32),
        "a.bias": np.ones(40, np.float32),
        "steps": np.arange(3),
    }
    qc.save(tmp_path / "model.safetensors", checkpoint)
    trained.save(tmp_path / "net.safetensors")
    arrays = {n: w.T if w.ndim == 2 else w for n, w in trained.named_weights().items()}
    np.savez(tmp_path / "arrays.npz", **arrays)
    np.save(tmp_path / "X.npy", data[0])
    np.save(tmp_path / "y.npy", data[1])
    return tmp_path


@pytest.fixture(scope="module")
def trained(data: tuple[np.ndarray, np.ndarray]) -> qc.nn.Sequential:
    layers = [qc.nn.Dense(12, 32, "relu"), qc.nn.Dense(32, 3, "softmax")]
    return qc.nn.Sequential(layers).fit(*data, epochs=30, random_state=0)
