"""NmMatrix and BsrMatrix: their patterns, their products, their other forms, and where they run."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc
from qcore.arrays.products.blocks import block_pattern
from qcore.arrays.products.crossover import CROSSOVER, Crossover
from qcore.arrays.products.n_of_m import n_of_m_pattern
from qcore.arrays.products.weights import packed_weights, sparse_form

pytestmark = pytest.mark.numerics

DTYPES = (np.float32, np.int8, np.uint8)
NM = ("2:4", "1:4", "3:4", "4:4", "4:8", "1:2", "3:7", "2:16", "1:64")
BLOCKS = ("4x1", "1x16", "16x1", "2x2", "3x5", "1x1")
SHAPES = ((0, 3), (3, 0), (1, 1), (7, 70), (130, 33), (66, 784))


def dense_of(rng: Any, shape: tuple[int, int], dtype: Any) -> Any:
    if dtype == np.float32:
        return rng.normal(0, 1, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def pruned(rng: Any, shape: tuple[int, int], dtype: Any, pattern: str) -> Any:
    """A matrix that has the pattern, by hand: not by what is tested."""
    dense = dense_of(rng, shape, dtype)
    rows, cols = shape
    if ":" in pattern:
        n, m = (int(part) for part in pattern.split(":"))
        ranks = rng.random((rows, -(-cols // m), m)).argsort(axis=2)
        mask = (ranks < n).reshape(rows, -(-cols // m) * m)[:, :cols]
    else:
        height, width = (int(part) for part in pattern.split("x"))
        kept = rng.random((-(-rows // height), -(-cols // width))) < 0.4
        mask = kept.repeat(height, axis=0).repeat(width, axis=1)[:rows, :cols]
    dense[~mask] = 0
    return dense


def build(dense: Any, pattern: str) -> Any:
    return (qc.NmMatrix if ":" in pattern else qc.BsrMatrix).from_dense(dense, pattern)


def check(found: Any, a: Any, b: Any) -> None:
    """Compare with the exact product: integers to the bit, floats within the documented bound."""
    wide = np.float64 if a.dtype.kind == "f" else np.int64
    wanted = a.astype(wide) @ b.astype(wide)
    assert found.shape == wanted.shape
    if wide is np.int64:
        assert found.dtype == np.int32
        assert np.array_equal(found, wanted)
    else:
        assert found.dtype == np.float32
        size = np.abs(a).astype(wide) @ np.abs(b).astype(wide)
        bound = 2 * a.shape[-1] * np.finfo(np.float32).eps * size
        assert (np.abs(found - wanted) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", NM + BLOCKS)
def test_products_from_both_sides(dtype: Any, pattern: str) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        dense = pruned(rng, shape, dtype, pattern)
        s = build(dense, pattern)
        for kind in (np.float32,) if dtype == np.float32 else (np.int8, np.uint8):
            for n in (1, 2, 9, 65):
                x, y = dense_of(rng, (shape[1], n), kind), dense_of(rng, (n, shape[0]), kind)
                check(s @ x, dense, x)
                check(s @ np.asfortranarray(x), dense, x)
                check(y @ s, y, dense)
            check(s @ x[:, 0], dense, x[:, 0])
            check(y[0] @ s, y[0], dense)


@pytest.mark.parametrize("pattern", ["2:4", "4x1"])
def test_any_stride_byte_order_and_alignment_gives_the_same(pattern: str) -> None:
    rng = np.random.default_rng(1)
    s = build(pruned(rng, (20, 30), np.float32, pattern), pattern)
    view = dense_of(rng, (60, 18), np.float32)[::-2, ::3]
    wanted = s @ np.ascontiguousarray(view)
    for other in (view, view.astype(">f4"), np.asfortranarray(view)):
        assert np.array_equal(s @ other, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", NM + BLOCKS)
def test_other_forms_come_back_the_same(dtype: Any, pattern: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for shape in SHAPES:
        dense = pruned(rng, shape, dtype, pattern)
        s = build(dense, pattern)
        assert np.array_equal(s.to_dense(), dense)
        assert s.to_csr() == qc.CsrMatrix.from_dense(dense)
        assert s == build(dense, pattern)
        assert pickle.loads(pickle.dumps(s)) == s  # noqa: S301
        assert copy.deepcopy(s) is s
        assert (s.shape, s.dtype, s.ndim, s.pattern) == (shape, dtype, 2, pattern)
        path = tmp_path / "s.safetensors"
        qc.save(path, {"w": s})
        back = qc.load_tensors(path)["w"]
        assert type(back) is type(s)
        assert back == s


def test_what_differs_is_not_equal() -> None:
    dense = np.float32([[1, 0, 0, 0], [0, 2, 0, 0]])
    s = qc.NmMatrix.from_dense(dense, "1:4")
    assert s != qc.NmMatrix.from_dense(2 * dense, "1:4")
    assert s != qc.NmMatrix.from_dense(np.roll(dense, 1, axis=1), "1:4")
    assert s != qc.NmMatrix.from_dense(dense, "2:4")
    assert s != qc.NmMatrix.from_dense(dense.astype(np.int8), "1:4")
    assert s != s.to_csr()
    b = qc.BsrMatrix.from_dense(dense, "1x2")
    assert b != qc.BsrMatrix.from_dense(dense, "2x1")
    with pytest.raises(AttributeError, match="a BsrMatrix is immutable"):
        b.data = dense
    with pytest.raises(TypeError, match="ambiguous"):
        len(s)


def test_a_pattern_takes_the_bytes_that_it_says() -> None:
    rng = np.random.default_rng(3)
    dense = pruned(rng, (256, 1024), np.int8, "2:4")
    s = qc.NmMatrix.from_dense(dense, "2:4")
    assert s.nbytes == dense.nbytes // 2 + dense.nbytes * 3 // 32
    assert s.nbytes <= 0.6 * dense.nbytes
    weights = packed_weights(qc.QTensor.from_parts(dense), "dynamic")
    if weights.kernel == "N:M int8":  # as the crossover says
        assert weights.nbytes < 0.63 * dense.nbytes
    floats = qc.NmMatrix.from_dense(dense.astype(np.float32), "2:4")
    assert floats.nbytes == 2 * dense.nbytes + dense.nbytes * 3 // 32
    assert s.data.shape == s.indices.shape == (256, 512)
    assert s.indices.max() == 3
    b = qc.BsrMatrix.from_dense(pruned(rng, (256, 64), np.int8, "4x1"), "4x1")
    assert b.nbytes == b.data.nbytes + b.indices.nbytes + b.indptr.nbytes
    assert b.nnz == b.data.size


def test_what_does_not_fit_is_refused() -> None:
    w = np.ones((3, 8), np.int8)
    with pytest.raises(ValueError, match="row 0 has 4 values other than 0 in columns 0 to 3"):
        qc.NmMatrix.from_dense(w, "2:4")
    for pattern in ("5:4", "0:4", "1:65"):
        with pytest.raises(ValueError, match="1 <= N <= M <= 64"):
            qc.NmMatrix.from_dense(w, pattern)
    for pattern in ("4x1", "2-4", "", None, "2:4:8", "-1:4"):
        with pytest.raises(ValueError, match="it must be 'N:M'"):
            qc.NmMatrix.from_dense(w, pattern)  # type: ignore[arg-type]
    for pattern in ("0x1", "1x0"):
        with pytest.raises(ValueError, match="at least one row and one column"):
            qc.BsrMatrix.from_dense(w, pattern)
    with pytest.raises(ValueError, match="it must be blocks"):
        qc.BsrMatrix.from_dense(w, "2:4")
    with pytest.raises(TypeError, match="dense has dtype float64"):
        qc.NmMatrix.from_dense(w.astype(float), "2:4")
    with pytest.raises(ValueError, match="dense has 1 dimensions"):
        qc.BsrMatrix.from_dense(w[0], "2x2")
    with pytest.raises(TypeError, match="made by"):
        qc.NmMatrix()
    s = qc.BsrMatrix.from_dense(w, "1x4")
    with pytest.raises(TypeError, match="with a int8 BsrMatrix it must be int8 or uint8"):
        s @ np.ones(8)
    with pytest.raises(ValueError, match=r"with a BsrMatrix of \(3, 8\)"):
        s @ np.ones(7, np.int8)
    with pytest.raises(ValueError, match="x_zero_point is -5"):
        s.dot(np.ones(8, np.uint8), x_zero_point=-5)


def test_a_wrong_structure_is_refused_where_it_is_wrong() -> None:
    blocks = np.ones((2, 2, 2), np.float32)
    for parts, text in (
        ((blocks, [0], [0, 1, 1]), "data has 2 blocks and indices 1"),
        ((blocks[0], [0, 1], [0, 2, 2]), r"data has shape \(2, 2\)"),
        ((blocks, [0, 3], [0, 2, 2]), r"indices\[1\] is 3, in block row 0"),
        ((blocks, [0, -1], [0, 2, 2]), r"indices\[1\] is -1"),
        ((blocks, [1, 1], [0, 2, 2]), "both 1, in block row 0; a block is stored once"),
        ((blocks, [0, 1], [0, 2]), "indptr has 2 elements"),
        ((blocks, [0, 1], [0, 3, 2]), r"indptr\[1\] is 3"),
        ((blocks, [0, 1], [1, 2, 2]), r"indptr\[0\] is 1"),
    ):
        with pytest.raises(ValueError, match=text):
            qc.BsrMatrix(*parts, shape=(4, 6))
    with pytest.raises(TypeError, match="indices has dtype float64"):
        qc.BsrMatrix(blocks, [0.5, 1.0], [0, 2, 2], shape=(4, 6))
    data = np.ones(4, np.int8)
    for codes, text in (
        ([0b111_111], "group 0, in row 0, has 3 places before its last"),
        ([0b011_000], "group 0, in row 0, has 0 places before its last"),
        ([], "there are 0 words of places"),
    ):
        with pytest.raises(ValueError, match=text):
            qc.NmMatrix.from_codes(data, np.array(codes, np.uint64), "2:4", shape=(1, 8))
    with pytest.raises(ValueError, match="there are 4 values"):
        qc.NmMatrix.from_codes(data, np.uint64([0]), "2:4", shape=(2**40, 2**40))


@given(data=st.data())
def test_random_parts_are_refused_or_right(data: st.DataObject) -> None:
    """Broken and whole structures: each is refused, or it is a matrix whose products are right."""
    small = st.integers(-1, 4)
    height, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    rows, cols = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))
    indptr = [0, *data.draw(st.lists(small, max_size=4))]
    indices = data.draw(st.lists(small, max_size=4))
    blocks = np.arange(len(indices) * height * width, dtype=np.int8) - 5
    try:
        s = qc.BsrMatrix(blocks.reshape(-1, height, width), indices, indptr, shape=(rows, cols))
    except ValueError:
        pass
    else:
        x = np.arange(cols, dtype=np.uint8)
        assert np.array_equal(s @ x, s.to_dense().astype(int) @ x)
        assert qc.BsrMatrix.from_dense(s.to_dense(), s.pattern).to_csr() == s.to_csr()
    n, m = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    values = np.arange(data.draw(st.integers(0, 20)), dtype=np.int8) - 7
    codes = np.array(data.draw(st.lists(st.integers(0, 2**64 - 1), max_size=3)), np.uint64)
    try:
        a = qc.NmMatrix.from_codes(values, codes, f"{n}:{m}", shape=(rows, cols))
    except ValueError:
        return
    x = np.arange(cols, dtype=np.uint8)
    assert np.array_equal(a @ x, a.to_dense().astype(int) @ x)
    assert qc.NmMatrix.from_dense(a.to_dense(), a.pattern).to_csr() == a.to_csr()


def test_integers_are_exact_or_an_error() -> None:
    k = 140_000
    w = np.zeros((1, k), np.uint8)
    w[:, ::2] = 255
    x = np.full((k, 2), 255, np.uint8)
    exact = k // 2 * 255 * 255
    for s in (qc.NmMatrix.from_dense(w, "2:4"), qc.BsrMatrix.from_dense(w, "1x2")):
        with pytest.raises(OverflowError, match=r"out\[0, 0\] is 4551750000"):
            s @ x
        assert s.dot(x, out_dtype=np.int64).tolist() == [[exact, exact]]
        assert s.dot(x, x_zero_point=254).tolist() == [[k // 2 * 255] * 2]


def test_scipy_blocks_come_and_go() -> None:
    rng = np.random.default_rng(4)
    dense = pruned(rng, (12, 20), np.float32, "4x2")
    theirs = scipy.sparse.bsr_matrix(dense, blocksize=(4, 2))
    s = qc.BsrMatrix.from_scipy(theirs)
    assert s.pattern == "4x2"
    assert np.array_equal(s.to_dense(), dense)
    assert np.array_equal(s.to_scipy().toarray(), dense)
    assert np.array_equal(s.T.to_dense(), dense.T)
    assert qc.BsrMatrix.from_scipy(theirs.tocsr(), "5x3") == qc.BsrMatrix.from_dense(dense, "5x3")
    with pytest.raises(ValueError, match="pattern says"):
        qc.BsrMatrix.from_scipy(theirs.tocsr())
    with pytest.raises(ValueError, match="reach past"):
        qc.BsrMatrix.from_dense(dense, "5x3").to_scipy()


def test_quantized_tensors_come_and_go() -> None:
    rng = np.random.default_rng(5)
    w = pruned(rng, (16, 32), np.float32, "2:4")
    q = qc.quantize(w, axis=0)
    s = qc.CsrMatrix.from_qtensor(q)
    assert np.array_equal(s.to_qtensor(q.scale, axis=0).dequantize(), q.dequantize())
    assert np.array_equal(qc.NmMatrix.from_qtensor(q).to_dense(), q.values)
    assert np.array_equal(qc.BsrMatrix.from_qtensor(q, "2x2").to_dense(), q.values)
    moved = qc.quantize(w, signed=False, symmetric=False)
    assert moved.zero_point.any()
    again = qc.CsrMatrix.from_qtensor(qc.quantize(w * (w > 0), signed=False, symmetric=False))
    assert again.dtype == np.uint8
    with pytest.raises(ValueError, match="only affine codes"):
        qc.CsrMatrix.from_qtensor(qc.quantize(w, bits=4, group_size=8))
    with pytest.raises(TypeError, match="only int8 and uint8 are codes"):
        qc.CsrMatrix.from_dense(w).to_qtensor()


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "4x1", "1x16"])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_layers_take_them(pattern: str, rows: int) -> None:
    rng = np.random.default_rng(6)
    w = pruned(rng, (48, 64), np.float32, pattern)
    bias = rng.normal(0, 1, 48).astype(np.float32)
    x = rng.normal(0, 1, (rows, 64)).astype(np.float32)
    s = build(w, pattern)
    wanted = qc.linear(x, w, bias, "relu")
    for _ in range(2):
        np.testing.assert_allclose(qc.linear(x, s, bias, "relu"), wanted, rtol=1e-5, atol=1e-5)
    q = qc.quantize(w, axis=0)
    codes = build(np.ascontiguousarray(q.values), pattern)
    wanted = qc.linear(x, q, bias, "relu")
    for _ in range(2):
        assert np.array_equal(qc.linear(x, codes, bias, "relu", scale=q.scale), wanted)
    again = qc.linear(x, codes, bias, "relu", scale=2 * q.scale)
    assert np.array_equal(again, qc.linear(x, codes, bias, "relu", scale=2 * q.scale))
    assert not np.array_equal(again, wanted)


def test_patterns_are_found() -> None:
    rng = np.random.default_rng(7)
    for pattern in ("2:4", "1:4", "4:8", "3:8"):
        assert n_of_m_pattern(pruned(rng, (40, 96), np.float32, pattern) != 0) == pattern
    for pattern in ("16x1", "4x4", "4x1", "1x16", "1x4"):
        assert block_pattern(pruned(rng, (48, 96), np.float32, pattern) != 0) == pattern
    loose = rng.random((40, 96)) < 0.5
    assert n_of_m_pattern(loose) is None
    assert block_pattern(loose) is None
    assert sparse_form(np.ones((4, 4), np.float32)) is None
    assert sparse_form(np.empty((0, 4), np.float32)) is None


@pytest.mark.parametrize("activations", ["static", "dynamic", None])
@pytest.mark.parametrize("pattern", ["2:4", "4x1"])
def test_a_network_gives_what_dense_kernels_give(
    pattern: str, activations: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    weights = [pruned(rng, shape, np.float32, pattern) for shape in ((64, 96), (32, 64))]
    biases = [rng.normal(0, 1, len(w)).astype(np.float32) for w in weights]
    x = rng.normal(0, 1, (90, 96)).astype(np.float32)

    def run(table: dict[str, tuple[Crossover, ...]]) -> tuple[list[str], Any]:
        for kind in list(CROSSOVER):
            monkeypatch.delitem(CROSSOVER, kind)
        for kind, entries in table.items():
            monkeypatch.setitem(CROSSOVER, kind, entries)
        net = qc.nn.Sequential.from_arrays(weights, biases, layout="out_in", activation="relu")
        if activations is not None:
            net = qc.Quantizer(activations=activations).fit_transform(net, x)
        return net.kernels, [net.predict_logits(x[:rows]) for rows in (1, 2, 64, 90)]

    kind = "2:4" if pattern == "2:4" else "blocks of 4"
    every = (Crossover(1.0, 8, 2.0),)
    usual, dense = run({})
    kernels, found = run({f"{kind} int8": every, f"{kind} float32": every})
    if activations is None:
        assert kernels == ["structured float32"] * 2
    else:
        name = "N:M int8" if pattern == "2:4" else "block int8"
        assert kernels == [name] * 2
        assert usual == ["dense int8"] * 2
    for one, other in zip(found, dense, strict=True):
        if activations is None:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        else:
            assert np.array_equal(one, other)
