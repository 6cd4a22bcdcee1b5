"""Exact integer products, against NumPy's int64."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore import _core

pytestmark = pytest.mark.numerics

SIGNS = [(np.int8, np.int8), (np.uint8, np.int8), (np.int8, np.uint8), (np.uint8, np.uint8)]


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, extreme: bool) -> Any:
    info = np.iinfo(dtype)
    if extreme:
        return rng.choice(np.array([info.min, info.max], dtype), shape)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def exact(a: Any, b: Any, za: Any = 0, zb: Any = 0) -> Any:
    return (a.astype(np.int64) - za) @ (b.astype(np.int64) - zb)


@pytest.mark.parametrize(("a_type", "b_type"), SIGNS)
def test_shapes_from_one_to_seventy(a_type: Any, b_type: Any) -> None:
    rng = np.random.default_rng(0)
    for index in range(150):
        m, k, n = rng.integers(1, 71, 3)
        a = random(rng, (m, k), a_type, index % 3 == 0)
        b = random(rng, (k, n), b_type, index % 3 == 0)
        for right in (b, qc.pack(b)):
            result = qc.matmul_integer(a, right)
            assert result.dtype == np.int32
            assert np.array_equal(result, exact(a, b))
    for m in (0, 1, 70):
        for k in (0, 1, 70):
            for n in (0, 1, 70):
                a, b = random(rng, (m, k), a_type, False), random(rng, (k, n), b_type, False)
                assert np.array_equal(qc.matmul_integer(a, b, 5, 7), exact(a, b, 5, 7))


@pytest.mark.parametrize(("a_type", "b_type"), SIGNS)
def test_every_extreme(a_type: Any, b_type: Any) -> None:
    for va in (np.iinfo(a_type).min, np.iinfo(a_type).max):
        for vb in (np.iinfo(b_type).min, np.iinfo(b_type).max):
            a, b = np.full((7, 259), va, a_type), np.full((259, 70), vb, b_type)
            assert np.array_equal(qc.matmul_integer(a, b), exact(a, b))


@pytest.mark.parametrize(("a_type", "b_type"), SIGNS)
def test_zero_points(a_type: Any, b_type: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = random(rng, (9, 40), a_type, False), random(rng, (40, 33), b_type, False)
    za, zb = random(rng, (9,), a_type, True), random(rng, (33,), b_type, True)
    for left in (a_type(3), 3, za, za[:, None]):
        for right in (b_type(9), 9, zb, zb[None]):
            result = qc.matmul_integer(a, b, left, right)
            column = left[:, None] if np.ndim(left) == 1 else left
            assert np.array_equal(result, exact(a, b, np.int64(column), np.int64(right)))
            assert np.array_equal(qc.matmul_integer(a, qc.pack(b), left, right), result)


def test_any_strides() -> None:
    rng = np.random.default_rng(2)
    a, b = random(rng, (20, 30), np.int8, False), random(rng, (30, 40), np.uint8, False)
    wide = np.zeros((40, 90), np.int8)
    wide[::2, ::3] = a
    for left in (a, np.asfortranarray(a), a[::-1][::-1], wide[::2, ::3]):
        for right in (b, np.asfortranarray(b), b[:, ::-1][:, ::-1], b.T.copy().T):
            assert np.array_equal(qc.matmul_integer(left, right), exact(a, b))
            assert np.array_equal(qc.matmul_integer(left, qc.pack(right)), exact(a, b))
    assert np.array_equal(qc.matmul_integer(a[::-2, ::-1], b[::-1]), exact(a[::-2, ::-1], b[::-1]))
    one = np.broadcast_to(np.int8(3), (5, 30))
    assert np.array_equal(qc.matmul_integer(one, b), exact(one, b))


def test_vectors_and_stacks_are_shaped_as_numpy_shapes_them() -> None:
    rng = np.random.default_rng(3)
    shapes = [
        ((6,), (6,)), ((6,), (6, 4)), ((3, 6), (6,)), ((2, 3, 6), (6, 4)), ((3, 6), (2, 6, 4)),
        ((2, 3, 6), (2, 6, 4)), ((2, 1, 3, 6), (5, 6, 4)), ((2, 3, 6), (6,)), ((6,), (2, 6, 4)),
        ((0, 3, 6), (6, 4)), ((2, 0, 6), (2, 6, 4)),
    ]  # fmt: skip
    for a_shape, b_shape in shapes:
        a, b = random(rng, a_shape, np.uint8, False), random(rng, b_shape, np.int8, False)
        wanted = a.astype(np.int64) @ b.astype(np.int64)
        result = qc.matmul_integer(a, b)
        assert result.shape == np.shape(wanted)
        assert np.array_equal(result, wanted)
        if b.ndim == 2:
            assert np.array_equal(qc.matmul_integer(a, qc.pack(b)), wanted)
    a, b = random(rng, (2, 3, 6), np.uint8, False), random(rng, (2, 6, 4), np.int8, False)
    za, zb = random(rng, (2, 3, 1), np.uint8, False), random(rng, (2, 1, 4), np.int8, False)
    wanted = exact(a, b, za.astype(np.int64), zb.astype(np.int64))
    assert np.array_equal(qc.matmul_integer(a, b, za, zb), wanted)
    wanted = exact(a, b[0], za.astype(np.int64), zb.astype(np.int64))
    assert np.array_equal(qc.matmul_integer(a, b[0], za, zb), wanted)


def test_beyond_int32_is_an_error_never_a_wrap() -> None:
    for value, k in ((-128, 131_072), (-128, 131_071)):
        a, b = np.full((2, k), value, np.int8), np.full((k, 3), value, np.int8)
        wanted = exact(a, b)
        assert np.array_equal(qc.matmul_integer(a, b, out_dtype=np.int64), wanted)
        if wanted.max() < 2**31:
            assert np.array_equal(qc.matmul_integer(a, b), wanted)
        else:
            with pytest.raises(OverflowError, match=r"out\[0, 0\] is 2147483648"):
                qc.matmul_integer(a, b)
            with pytest.raises(OverflowError):
                qc.matmul_integer(a, qc.pack(b), out=np.zeros((2, 3), np.int32))
    rng = np.random.default_rng(4)
    a, b = random(rng, (3, 200_000), np.int8, False), random(rng, (200_000, 5), np.uint8, False)
    assert np.array_equal(qc.matmul_integer(a, b), exact(a, b))


def test_out_is_filled_and_returned() -> None:
    rng = np.random.default_rng(5)
    a, b = random(rng, (4, 9), np.int8, False), random(rng, (9, 6), np.int8, False)
    for dtype in (np.int32, np.int64):
        out = np.full((4, 6), -1, dtype)
        assert qc.matmul_integer(a, b, out=out, out_dtype=dtype) is out
        assert np.array_equal(out, exact(a, b))
        gaps = np.full((8, 12), -1, dtype)
        assert np.array_equal(
            qc.matmul_integer(a, b, out=gaps[::2, ::2], out_dtype=dtype), exact(a, b)
        )
        assert (gaps[1::2] == -1).all()
        assert (gaps[:, 1::2] == -1).all()
    assert a.flags.writeable


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"a": np.zeros((2, 3))}, TypeError, "a has dtype float64"),
        ({"a": [[1, 2, 3]]}, TypeError, "a has dtype int64"),
        ({"a": np.int8(3)}, ValueError, "a is a scalar"),
        ({"b": np.zeros((3, 4), np.int16)}, TypeError, "b has dtype int16"),
        ({"b": np.zeros((4, 3), np.int8)}, ValueError, r"a has shape \(2, 3\) and b \(4, 3\)"),
        ({"a_zero_point": 1.5}, TypeError, "a_zero_point has dtype float64"),
        ({"a_zero_point": 128}, ValueError, "a_zero_point is 128; it must be -128 to 127"),
        ({"a_zero_point": 300}, ValueError, "a_zero_point is 300"),
        ({"b_zero_point": [-129] * 4}, ValueError, "b_zero_point is -129"),
        ({"a_zero_point": [1, 2, 3]}, ValueError, r"a_zero_point has shape \(3,\)"),
        ({"b_zero_point": np.zeros((2, 4), int)}, ValueError, r"b_zero_point has shape \(2, 4\)"),
        ({"out": np.zeros((2, 4))}, TypeError, "out has dtype float64"),
        ({"out": np.zeros((2, 5), np.int32)}, ValueError, r"out has shape \(2, 5\)"),
        ({"out_dtype": np.float32}, TypeError, "out_dtype is float32"),
    ],
)
def test_misuse_is_told_apart(arguments: Any, error: type[Exception], text: str) -> None:
    good = {"a": np.zeros((2, 3), np.int8), "b": np.zeros((3, 4), np.int8)}
    with pytest.raises(error, match=text):
        qc.matmul_integer(**(good | arguments))


def test_out_may_not_share_memory_with_an_operand() -> None:
    memory = np.zeros(64, np.int32)
    a = memory.view(np.int8)[:16].reshape(4, 4)
    with pytest.raises(ValueError, match="shares memory"):
        qc.matmul_integer(a, a.copy(), out=memory[:16].reshape(4, 4))


def test_a_packed_matrix_is_an_immutable_value() -> None:
    b = np.arange(-128, 128, dtype=np.int16).astype(np.int8).reshape(8, 32)
    for matrix in (b, b.view(np.uint8), b.T, b[:0], b[:, :0]):
        p = qc.pack(matrix)
        assert (p.shape, p.ndim, p.dtype) == (matrix.shape, 2, matrix.dtype)
        assert p.nbytes >= matrix.nbytes
        assert qc.pack(p) is p
        for again in (p, pickle.loads(pickle.dumps(p)), copy.deepcopy(p)):  # noqa: S301
            assert np.array_equal(np.asarray(again), matrix)
            assert np.asarray(again).dtype == matrix.dtype
        with pytest.raises(AttributeError):
            p.shape = (1, 1)
    b[0, 0] = 5
    assert repr(qc.pack(b)).startswith("PackedMatrix((8, 32), int8, ")
    with pytest.raises(TypeError, match="b has dtype float64"):
        qc.pack(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"b has shape \(3,\)"):
        qc.pack(np.zeros(3, np.int8))


def test_threads_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(6)
    before = _core.num_threads()
    try:
        for m, k, n in ((300, 500, 400), (1, 3000, 3000), (2000, 300, 17)):
            a, b = random(rng, (m, k), np.uint8, False), random(rng, (k, n), np.int8, False)
            found = []
            for threads in (1, 2, 5):
                _core.set_num_threads(threads)
                found += [qc.matmul_integer(a, b, 7), qc.matmul_integer(a, qc.pack(b), 7)]
            assert all(np.array_equal(one, exact(a, b, 7)) for one in found)
    finally:
        _core.set_num_threads(before)


PROGRAM = """
import sys, numpy as np
sys.path.insert(0, {here!r})
import test_matmul_integer as t
for signs in t.SIGNS:
    t.test_shapes_from_one_to_seventy(*signs)
    t.test_every_extreme(*signs)
    t.test_zero_points(*signs)
t.test_any_strides()
t.test_beyond_int32_is_an_error_never_a_wrap()
"""


@pytest.mark.each_isa
@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_isa_is_exact(isa: str) -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120
    subprocess.run(
        [sys.executable, "-c", PROGRAM.format(here=here)],
        env={**os.environ, "QCORE_ISA": isa}, check=True, capture_output=True, text=True,
    )  # fmt: skip
