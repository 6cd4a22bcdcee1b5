"""Arrays of other libraries are arrays."""

from __future__ import annotations

import numpy as np

import qcore as qc

W = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)


class OnlyDLPack:
    """An array of a library that shares memory in the common way and in no other."""

    def __init__(self, array):
        self._array = array
        self.ndim, self.nbytes, self.shape = array.ndim, array.nbytes, array.shape

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class OnlyArray:
    def __init__(self, array):
        self._array = array
        self.ndim, self.nbytes, self.shape = array.ndim, array.nbytes, array.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype, copy=bool(copy))


def test_they_are_taken_everywhere(tmp_path):
    net = qc.nn.Sequential.from_arrays([W], [W[:, 0]], layout="out_in", output="linear")
    for kind in (OnlyDLPack, OnlyArray):
        assert qc.quantize(kind(W)) == qc.quantize(W)
        assert np.array_equal(qc.prune(kind(W), sparsity=0.5), qc.prune(W, sparsity=0.5))
        assert qc.compress({"w": kind(W)})["w"] == qc.compress({"w": W})["w"]
        qc.save(tmp_path / "a", {"w": kind(W), "ints": kind(np.arange(3))})
        assert np.array_equal(qc.load(tmp_path / "a")["w"], W)
        same = qc.nn.Sequential.from_arrays(
            [kind(W)], [kind(W[:, 0].copy())], layout="out_in", output="linear"
        )
        assert np.array_equal(same.predict(kind(W)), net.predict(W))
        assert qc.Observer().update(kind(W)).max == W.max()
