"""CsrMatrix: its structure, its products, its other forms."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc
from qcore import _core
from qcore.arrays.products.crossover import CROSSOVER
from qcore.arrays.products.weights import packed_weights

pytestmark = pytest.mark.numerics

DTYPES = (np.float32, np.float64, np.int8, np.uint8)
INTEGERS = (np.int8, np.uint8)


def random_dense(rng: Any, shape: tuple[int, ...], dtype: Any, density: float = 1.0) -> Any:
    if np.dtype(dtype).kind == "f":
        dense = rng.normal(0, 1, shape).astype(dtype)
    else:
        info = np.iinfo(dtype)
        dense = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    dense[rng.random(shape) >= density] = 0
    return dense


def operands(dtype: Any) -> tuple[Any, ...]:
    return INTEGERS if dtype in INTEGERS else (dtype,)


def exact(a: Any, b: Any) -> Any:
    wide = np.int64 if a.dtype.kind in "iu" else np.float64
    return a.astype(wide) @ b.astype(wide)


def check(found: Any, a: Any, b: Any) -> None:
    """Compare with the exact product: integers to the bit, floats within the documented bound."""
    wanted = exact(a, b)
    assert found.shape == wanted.shape
    if wanted.dtype == np.int64:
        assert found.dtype == np.int32
        assert np.array_equal(found, wanted)
    else:
        assert found.dtype == a.dtype
        bound = 2 * a.shape[-1] * np.finfo(a.dtype).eps * exact(np.abs(a), np.abs(b))
        assert (np.abs(found - wanted) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (7, 70), (130, 33), (300, 784)])
def test_products_from_both_sides(dtype: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rows, cols = shape
    dense = random_dense(rng, shape, dtype, 0.2)
    s = qc.CsrMatrix.from_dense(dense)
    for kind in operands(dtype):
        for n in (1, 2, 8, 20, 65):
            x = random_dense(rng, (cols, n), kind)
            check(s @ x, dense, x)
            check(s @ np.asfortranarray(x), dense, x)
            y = random_dense(rng, (n, rows), kind)
            check(y @ s, y, dense)
            check(y @ s.T.T, y, dense)
        check(s @ x[:, 0], dense, x[:, 0])
        check(y[0] @ s, y[0], dense)
        check(x.T @ s.T, x.T, dense.T)


def test_any_stride_byte_order_and_alignment_gives_the_same() -> None:
    rng = np.random.default_rng(1)
    s = qc.CsrMatrix.from_dense(random_dense(rng, (20, 30), np.float32, 0.3))
    x = random_dense(rng, (60, 18), np.float32)
    view = x[::-2, ::3]
    wanted = s @ np.ascontiguousarray(view)
    raw = np.empty(view.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(view.shape)
    raw[...] = view
    for other in (view, view.astype(">f4"), raw, np.asfortranarray(view)):
        assert np.array_equal(s @ other, wanted)
    same = np.broadcast_to(x[:30, :1], (30, 4))
    assert np.array_equal(s @ same, s @ same.copy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_forms_come_back_the_same(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    dense = random_dense(rng, (40, 70), dtype, 0.1)
    s = qc.CsrMatrix.from_dense(dense)
    assert np.array_equal(s.to_dense(), dense)
    assert qc.CsrMatrix(s.data, s.indices, s.indptr, shape=s.shape) == s
    data, row, col = s.to_coo()
    order = rng.permutation(s.nnz)
    assert qc.CsrMatrix.from_coo(data[order], row[order], col[order], shape=s.shape) == s
    back = s.to_scipy()
    assert back.has_canonical_format
    assert np.array_equal(back.toarray(), dense)
    for form in ("csr", "csc", "coo", "lil", "bsr"):
        assert qc.CsrMatrix.from_scipy(back.asformat(form)) == s
    assert pickle.loads(pickle.dumps(s)) == s  # noqa: S301
    assert copy.deepcopy(s) is s
    assert np.array_equal(s.T.to_dense(), dense.T)
    assert s == s.T.T
    assert (s.nnz, s.dtype, s.ndim) == (np.count_nonzero(dense), dtype, 2)
    assert s.nbytes == s.data.nbytes + s.indices.nbytes + s.indptr.nbytes


def test_rows_are_taken_as_arrays_take_them() -> None:
    rng = np.random.default_rng(3)
    dense = random_dense(rng, (12, 7), np.float32, 0.4)
    s = qc.CsrMatrix.from_dense(dense)
    for key in (slice(2, 9), slice(None), slice(9, 2), slice(None, None, -3), slice(-4, None, 2)):
        assert np.array_equal(s[key].to_dense(), dense[key])
    assert np.array_equal(s[-2].to_dense(), dense[-2:-1])
    with pytest.raises(ValueError, match="row is 12"):
        s[12]


def test_indices_are_as_wide_as_the_matrix_needs() -> None:
    for cols, kind in ((65536, np.uint16), (65537, np.uint32), (2**32 + 1, np.uint64)):
        s = qc.CsrMatrix(np.float32([1]), [cols - 1], [0, 1], shape=(1, cols))
        assert s.indices.dtype == kind
        assert int(s.indices[0]) == cols - 1


def test_what_is_stored_can_be_chosen() -> None:
    dense = np.float32([[0, 0.5, -0.01], [np.nan, -2, 0]])
    assert qc.CsrMatrix.from_dense(dense).nnz == 4
    assert qc.CsrMatrix.from_dense(dense, threshold=0.1).nnz == 3
    assert qc.CsrMatrix.from_dense(dense, where=np.ones((2, 3), bool)).nnz == 6
    low = np.int8([[-128, 3]])
    assert qc.CsrMatrix.from_dense(low, threshold=3).nnz == 1
    with pytest.raises(ValueError, match="exclude each other"):
        qc.CsrMatrix.from_dense(dense, where=dense > 0, threshold=1)
    with pytest.raises(TypeError, match="where has dtype float32"):
        qc.CsrMatrix.from_dense(dense, where=dense)
    with pytest.raises(ValueError, match="where has shape"):
        qc.CsrMatrix.from_dense(dense, where=np.ones((3, 2), bool))


GOOD = {"data": np.float32([1, 2]), "indices": [1, 0], "indptr": [0, 1, 2], "shape": (2, 3)}
# What SciPy takes without a word, or crashes on in its products, is among these.
BROKEN: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    r"indices\[1\] is 3, in row 1; it must be 0 to 2": ({"indices": [1, 3]}, ValueError),
    r"indices\[0\] is -1, in row 0": ({"indices": [-1, 0]}, ValueError),
    r"indices\[0\] is 4294967296": ({"indices": [2**32, 0]}, ValueError),
    r"indices\[1\] is 18446744073709551615, beyond": (
        {"indices": np.array([0, 2**64 - 1], np.uint64)}, ValueError),
    r"indptr\[2\] is 1, below indptr\[1\], which is 2": ({"indptr": [0, 2, 1]}, ValueError),
    r"indptr\[1\] is 9; data has only 2": ({"indptr": [0, 9, 2]}, ValueError),
    r"indptr\[0\] is 1; it must be 0": ({"indptr": [1, 1, 2]}, ValueError),
    r"indptr\[2\] is 1; it must be the number of elements": ({"indptr": [0, 1, 1]}, ValueError),
    "indptr has 2 elements": ({"indptr": [0, 2]}, ValueError),
    "data has 3 elements and indices 2": ({"data": np.float32([1, 2, 3])}, ValueError),
    "data has dtype int64": ({"data": [1, 2]}, TypeError),
    "data has dtype float16": ({"data": np.float16([1, 2])}, TypeError),
    "indices has dtype float64": ({"indices": [0.0, 1.0]}, TypeError),
    "indptr has dtype bool": ({"indptr": [True, False, True]}, TypeError),
    "data has 2 dimensions": ({"data": np.float32([[1, 2]])}, ValueError),
    "shape is 3": ({"shape": 3}, ValueError),
    "shape is -1": ({"shape": (-1, 3)}, ValueError),
    "shape is 2.0; it must be an integer": ({"shape": (2.0, 3)}, TypeError),
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_structure_is_refused_where_it_is_broken(text: str) -> None:
    change, error = BROKEN[text]
    parts = GOOD | change
    with pytest.raises(error, match=text):
        qc.CsrMatrix(parts["data"], parts["indices"], parts["indptr"], shape=parts["shape"])


def test_duplicates_are_summed_and_may_not_overflow() -> None:
    s = qc.CsrMatrix(np.int8([100, 27, 1]), [2, 2, 0], [0, 3], shape=(1, 3))
    assert np.array_equal(s.to_dense(), [[1, 0, 127]])
    with pytest.raises(OverflowError, match="row 0, column 2"):
        qc.CsrMatrix(np.int8([100, 28, 1]), [2, 2, 0], [0, 3], shape=(1, 3))


def test_operands_that_do_not_fit_are_refused() -> None:
    s = qc.CsrMatrix.from_dense(np.eye(3, 4, dtype=np.float32))
    with pytest.raises(TypeError, match="x has dtype float64; with a float32 CsrMatrix"):
        s @ np.ones(4)
    with pytest.raises(ValueError, match=r"x has shape \(3,\)"):
        s @ np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"x has shape \(4, 4\)"):
        np.ones((4, 4), np.float32) @ s
    with pytest.raises(ValueError, match="1, 4, 1"):
        s @ np.ones((1, 4, 1), np.float32)
    with pytest.raises(TypeError, match="for integers"):
        s.dot(np.ones(4, np.float32), out_dtype=np.int64)
    q = qc.CsrMatrix.from_dense(np.eye(3, 4, dtype=np.int8))
    with pytest.raises(TypeError, match="must be int8 or uint8"):
        q @ np.ones(4, np.float32)
    with pytest.raises(ValueError, match="x_zero_point is 200; it must be -128 to 127"):
        q.dot(np.ones(4, np.int8), x_zero_point=200)
    with pytest.raises(TypeError, match="out_dtype is int16"):
        q.dot(np.ones(4, np.int8), out_dtype=np.int16)  # type: ignore[arg-type]


def test_a_sum_beyond_int32_is_an_error_and_int64_has_it() -> None:
    s = qc.CsrMatrix.from_dense(np.full((1, 70_000), 255, np.uint8))
    x = np.full(70_000, 255, np.uint8)
    with pytest.raises(OverflowError, match=r"out_dtype=np\.int64"):
        s @ x
    assert s.dot(x, out_dtype=np.int64)[0] == 70_000 * 255 * 255


def test_it_cannot_be_changed() -> None:
    s = qc.CsrMatrix.from_dense(np.eye(3, dtype=np.float32))
    for array in (s.data, s.indices, s.indptr):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(AttributeError, match="immutable"):
        s.shape = (1, 1)  # type: ignore[misc]
    data = s.data
    del s
    assert data.tolist() == [1, 1, 1]  # the array keeps the matrix
    with pytest.raises(TypeError, match="unhashable"):
        hash(qc.CsrMatrix.from_dense(np.eye(2, dtype=np.int8)))


def test_the_given_arrays_are_not_kept() -> None:
    data, indices, indptr = np.float32([1, 2]), np.array([1, 0]), np.array([0, 1, 2])
    s = qc.CsrMatrix(data, indices, indptr, shape=(2, 2))
    data[:], indices[:], indptr[:] = 9, 9, 9
    assert np.array_equal(s.to_dense(), [[0, 1], [2, 0]])


def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(4)
    dense = random_dense(rng, (900, 700), np.float32, 0.05)
    dense[:5] = random_dense(rng, (5, 700), np.float32)
    s = qc.CsrMatrix.from_dense(dense)
    before = _core.num_threads()
    try:
        for n in (1, 8, 70):
            x = random_dense(rng, (700, n), np.float32)
            _core.set_num_threads(1)
            one = s @ x
            for threads in (2, 3, 7):
                _core.set_num_threads(threads)
                assert np.array_equal(s @ x, one)
    finally:
        _core.set_num_threads(before)


@st.composite
def structures(draw: Any) -> tuple[Any, ...]:
    """Arrays that are a matrix, or nearly one."""
    rows, cols = draw(st.integers(0, 6)), draw(st.integers(0, 70))
    nnz = draw(st.integers(0, 12))
    wild = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-2, 80))
    indices = draw(st.lists(st.integers(0, max(cols - 1, 0)), min_size=nnz, max_size=nnz))
    cuts = sorted(draw(st.lists(st.integers(0, nnz), min_size=rows, max_size=rows)))
    indptr = [0, *cuts[:-1], nnz] if rows else [0]
    for array in (indices, indptr):
        if array and draw(st.integers(0, 3)) == 0:
            array[draw(st.integers(0, len(array) - 1))] = draw(wild)
    dtype = draw(st.sampled_from(DTYPES))
    data = np.array(draw(st.lists(st.integers(0, 9), min_size=nnz, max_size=nnz)), dtype)
    return data, np.array(indices, np.int64), np.array(indptr, np.int64), (rows, cols)


@given(structures(), st.integers(1, 70))
def test_a_structure_is_refused_or_its_products_are_right(parts: tuple[Any, ...], n: int) -> None:
    data, indices, indptr, shape = parts
    try:
        s = qc.CsrMatrix(data, indices, indptr, shape=shape)
    except (ValueError, OverflowError):
        return
    dense = np.zeros(shape, np.int64)
    np.add.at(dense, (np.repeat(np.arange(shape[0]), np.diff(indptr)), indices), data)
    x = np.arange(shape[1] * n).reshape(shape[1], n) % 100
    kind = data.dtype if data.dtype.kind == "f" else np.int8
    # Small integers: every float sum is exact.
    assert np.array_equal(s @ x.astype(kind), dense @ x)
    assert np.array_equal(np.ascontiguousarray(x.astype(kind).T) @ s.T, (dense @ x).T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 40), (0, 5), (5, 0), (1, 1), (2, 10**12), (10**6, 3)])
def test_a_file_gives_it_back(tmp_path: Any, dtype: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    nnz = min(shape[0] * shape[1] // 3 + 1, 100) if min(shape) else 0
    row, col = (rng.integers(0, max(length, 1), nnz) for length in shape)
    s = qc.CsrMatrix.from_coo(np.zeros(nnz, dtype), row, col, shape=shape)
    values = random_dense(rng, (s.nnz,), dtype, 0.9)
    s = qc.CsrMatrix(values, s.indices, s.indptr, shape=shape)
    qc.save(tmp_path / "s", s)
    assert qc.load(tmp_path / "s") == s
    qc.save(tmp_path / "d", {"a": s, "b": np.ones(2)})
    assert qc.load(tmp_path / "d")["a"] == s
    assert qc.load_tensors(tmp_path / "d")["a"] == s


def test_a_matrix_takes_no_more_room_in_a_file_than_its_arrays(tmp_path: Any) -> None:
    rng = np.random.default_rng(6)
    for density in (0.001, 0.05, 0.5):
        s = qc.CsrMatrix.from_dense(random_dense(rng, (200, 300), np.int8, density))
        qc.save(tmp_path / "s", s)
        assert (tmp_path / "s").stat().st_size < s.nbytes + 300


def test_scipy_agrees() -> None:
    rng = np.random.default_rng(7)
    matrix = scipy.sparse.random_array((50, 60), density=0.1, dtype=np.float64, rng=rng)
    s = qc.CsrMatrix.from_scipy(matrix)
    x = rng.normal(0, 1, (60, 5))
    np.testing.assert_allclose(s @ x, matrix @ x, rtol=1e-12, atol=1e-12)
    with pytest.raises(TypeError, match="matrix is list"):
        qc.CsrMatrix.from_scipy([[1]])


def test_a_matrix_in_a_checkpoint_is_compressed_like_its_array(tmp_path: Any) -> None:
    dense = random_dense(np.random.default_rng(8), (30, 40), np.float32, 0.2)
    qc.save(tmp_path / "a.safetensors", {"w": qc.CsrMatrix.from_dense(dense)})
    qc.compress(tmp_path / "a.safetensors", output=tmp_path / "b.safetensors", bits=8)
    small = qc.load(tmp_path / "b.safetensors")["w"]
    assert np.array_equal(small.values, qc.quantize(dense, axis=0).values)


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh", "softmax"])
def test_a_layer_of_a_sparse_matrix_is_that_of_its_array(activation: str) -> None:
    rng = np.random.default_rng(9)
    dense = random_dense(rng, (50, 80), np.float32, 0.1)
    bias = rng.normal(0, 1, 50).astype(np.float32)
    s = qc.CsrMatrix.from_dense(dense)
    for shape in ((80,), (1, 80), (3, 80), (2, 35, 80)):
        x = rng.normal(0, 1, shape).astype(np.float32)
        found = qc.linear(x, s, bias, activation)
        np.testing.assert_allclose(
            found, qc.linear(x, dense, bias, activation), rtol=1e-5, atol=1e-5
        )
        out = np.empty_like(found)
        assert qc.linear(x, s, bias, activation, out=out) is out
        assert np.array_equal(out, found)


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 200])
def test_pruned_integers_give_what_dense_kernels_give(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(10)
    dense = random_dense(rng, (50, 80), np.float32, 0.1)
    bias = rng.normal(0, 1, 50).astype(np.float32)
    x = rng.normal(0, 1, (rows, 80)).astype(np.float32)
    q = qc.quantize(dense, axis=0)
    assert packed_weights(q, "dynamic").kernel == "sparse int8"
    found = qc.linear(x, q, bias, "relu")
    s = qc.CsrMatrix.from_dense(q.values)
    assert np.array_equal(qc.linear(x, s, bias, "relu", scale=q.scale), found)
    for kind in list(CROSSOVER):
        monkeypatch.delitem(CROSSOVER, kind)
    again = qc.quantize(dense, axis=0)
    assert packed_weights(again, "dynamic").kernel == "dense int8"
    assert np.array_equal(qc.linear(x, again, bias, "relu"), found)


def test_weights_that_no_layer_takes_are_refused() -> None:
    x = np.ones((1, 2), np.float32)
    eye = np.eye(2)
    with pytest.raises(TypeError, match="w has dtype float64"):
        qc.linear(x, qc.CsrMatrix.from_dense(eye))
    with pytest.raises(ValueError, match="it needs scale"):
        qc.linear(x, qc.CsrMatrix.from_dense(eye.astype(np.int8)))
    with pytest.raises(ValueError, match=r"scale has shape \(3,\)"):
        qc.linear(x, qc.CsrMatrix.from_dense(eye.astype(np.int8)), scale=[1.0, 1.0, 1.0])
    for w in (eye, qc.CsrMatrix.from_dense(eye.astype(np.float32))):
        with pytest.raises(ValueError, match="scale is given"):
            qc.linear(x, w, scale=1.0)


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_a_pruned_network_gives_what_dense_kernels_give(
    activations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    layers = [random_dense(rng, shape, np.float32, 0.15) for shape in ((60, 90), (30, 60), (7, 30))]
    biases = [rng.normal(0, 1, len(w)).astype(np.float32) for w in layers]
    net = qc.nn.Sequential.from_arrays(layers, biases, layout="out_in", activation="relu")
    x = rng.normal(0, 1, (150, 90)).astype(np.float32)
    sparse = qc.Quantizer(activations=activations).fit_transform(net, x)
    assert sparse.kernels == ["sparse int8"] * 3
    found = [sparse.predict_logits(x[:rows]) for rows in (1, 2, 64, 150)]
    assert np.array_equal(found[0], found[3][:1])
    for kind in list(CROSSOVER):
        monkeypatch.delitem(CROSSOVER, kind)
    dense = qc.Quantizer(activations=activations).fit_transform(net, x)
    assert dense.kernels == ["dense int8"] * 3
    for rows, logits in zip((1, 2, 64, 150), found, strict=True):
        assert np.array_equal(dense.predict_logits(x[:rows]), logits)


def test_a_pruned_float_network_runs_on_sparse_kernels() -> None:
    rng = np.random.default_rng(12)
    layers = [random_dense(rng, (60, 90), np.float32, 0.1), random_dense(rng, (7, 60), np.float32)]
    biases = [np.zeros(len(w), np.float32) for w in layers]
    net = qc.nn.Sequential.from_arrays(layers, biases, layout="out_in", activation="relu")
    assert net.kernels == ["sparse float32", "dense float32"]
    x = rng.normal(0, 1, (70, 90)).astype(np.float32)
    wanted = np.maximum(x @ layers[0].T, 0) @ layers[1].T
    np.testing.assert_allclose(net.predict_logits(x), wanted, rtol=1e-4, atol=1e-4)
