"""Operands that come from elsewhere, and operators that must not wrap."""

import numpy as np
import pytest

import qcore as qc


class Foreign:
    """An array of another library, of which nothing is known but DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_objects_are_operands():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((5, 70), (70, 9)))
    expected = a.astype(np.int64) @ b
    np.testing.assert_array_equal(qc.matmul_integer(Foreign(a), Foreign(b)), expected)
    np.testing.assert_array_equal(qc.matmul_integer(a, qc.pack(Foreign(b))), expected)
    x = rng.standard_normal((4, 8)).astype(np.float32)
    np.testing.assert_array_equal(qc.CsrMatrix.from_dense(Foreign(x)).to_dense(), x)
    small = qc.compress({"w": Foreign(x)})
    np.testing.assert_array_equal(small["w"].values, qc.quantize(x, axis=0).values)


def test_operators_of_numpy_do_not_wrap():
    a, b = np.full((2, 300), 100, np.int8), np.full((300, 4), 100, np.int8)
    with pytest.raises(TypeError):
        a @ qc.pack(b)
    assert np.all(qc.matmul_integer(a, qc.pack(b)) == 3_000_000)


def test_a_quantized_tensor_is_no_matrix_of_integers():
    q = qc.quantize(np.ones((3, 4), np.float32))
    with pytest.raises(TypeError, match=r"b is a QTensor; give its codes, b\.values"):
        qc.pack(q)
    assert qc.pack(q.values).shape == (3, 4)


def test_public_names_only():
    assert dir(qc) == sorted(qc.__all__)
    assert qc.quantize(np.ones((2, 2), np.float32), 4).bits == 4


def test_samples_of_another_width_are_named():
    net = qc.nn.Sequential.from_arrays([np.ones((6, 3))], [None], layout="in_out")
    X = np.ones((7, 5), np.float32)
    for call in (net.predict, lambda x: qc.compress(net, x), lambda x: qc.Quantizer().fit(net, x)):
        with pytest.raises(ValueError, match=r"X has shape \(7, 5\); it must be \(n, 6\)"):
            call(X)
