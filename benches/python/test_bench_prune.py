"""Pruning an array, beside plain NumPy and PyTorch in the same process."""

import numpy as np
import pytest

import qcore as qc

SIZE = 2048


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)


def numpy_magnitude(w, sparsity):
    magnitude = np.abs(w)
    threshold = np.partition(magnitude.reshape(-1), round(sparsity * w.size))
    return np.where(magnitude >= threshold[round(sparsity * w.size)], w, 0)


def numpy_2_of_4(w):
    groups = w.reshape(-1, 4)
    least = np.argsort(np.abs(groups), axis=1)[:, :2]
    pruned = groups.copy()
    np.put_along_axis(pruned, least, 0, axis=1)
    return pruned.reshape(w.shape)


@pytest.mark.benchmark(group="prune 80 %")
def test_magnitude(benchmark, w):
    pruned = benchmark(lambda: qc.prune(w, sparsity=0.8))
    np.testing.assert_array_equal(pruned, numpy_magnitude(w, 0.8))


@pytest.mark.benchmark(group="prune 80 %")
def test_magnitude_numpy(benchmark, w):
    benchmark(lambda: numpy_magnitude(w, 0.8))


@pytest.mark.benchmark(group="prune 80 %")
def test_magnitude_torch(benchmark, w):
    torch = pytest.importorskip("torch")
    from torch.nn.utils import prune

    torch.set_num_threads(1)
    tensor = torch.from_numpy(w)
    method = prune.L1Unstructured(0.8)
    benchmark(lambda: tensor * method.compute_mask(tensor, torch.ones_like(tensor)))


@pytest.mark.benchmark(group="prune 2:4")
def test_2_of_4(benchmark, w):
    pruned = benchmark(lambda: qc.prune(w, pattern="2:4"))
    np.testing.assert_array_equal(pruned, numpy_2_of_4(w))


@pytest.mark.benchmark(group="prune 2:4")
def test_2_of_4_numpy(benchmark, w):
    benchmark(lambda: numpy_2_of_4(w))
