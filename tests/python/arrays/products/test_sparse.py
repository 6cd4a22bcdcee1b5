"""CsrMatrix: its structure, its products, its other forms."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc
from qcore import _core
from sparse_parts import DTYPES, random_dense

pytestmark = pytest.mark.numerics


INTEGERS = (np.int8, np.uint8)


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
