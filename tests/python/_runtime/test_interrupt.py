"""Products and decompositions that Ctrl-C does not wait for."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore._runtime import interrupt
from qcore._runtime.interrupt import by_rows, product, stoppable
from qcore.arrays.pruning import patterns


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a few thousand multiply-adds, so that small products have blocks."""
    monkeypatch.setattr(interrupt, "_STEP", 1 << 12)
    monkeypatch.setattr(interrupt, "_ROWS", 4)


@pytest.mark.parametrize("shape", [(100, 30), (3, 40, 30), (1, 30), (0, 30), (30,)])
@pytest.mark.parametrize("given", [False, True])
def test_a_product_in_blocks_is_the_product(
    shape: tuple[int, ...], given: bool, short_steps: None
) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, shape).astype(np.float32), rng.integers(-9, 9, (30, 70))
    b = b.astype(np.float32)
    out = np.full((*shape[:-1], 70), np.nan, np.float32) if given else None
    found = product(a, b, out)
    np.testing.assert_array_equal(found, a @ b)
    assert found.dtype == np.float32
    assert out is None or found is out


def test_rows_in_blocks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.random.default_rng(0).standard_normal((37, 4, 5))
    steps: list[int] = []

    def doubled(part: Any) -> Any:
        steps.append(len(part))
        return 2 * part.sum(axis=2)

    wanted = by_rows(doubled, whole)
    monkeypatch.setattr(interrupt, "ELEMENTS", 100)
    assert steps == [37]
    np.testing.assert_array_equal(by_rows(doubled, whole), wanted)
    assert steps[1:] == [5] * 7 + [2]
    places = np.arange(30) // 4
    table = whole.reshape(37, 20)
    found = by_rows(lambda part: table[part], places, size=600)
    np.testing.assert_array_equal(found, table[places])


@pytest.mark.parametrize("pattern", ["4x1", "1x8", "3x5", "unstructured", "neurons"])
def test_what_is_pruned_in_blocks_is_what_is_pruned(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    wanted = qc.prune(w, sparsity=0.5, pattern=pattern)
    turned = qc.quantize(w.T[::2], axis=0)
    for module in (interrupt, patterns):
        monkeypatch.setattr(module, "ELEMENTS", 300)
    np.testing.assert_array_equal(qc.prune(w, sparsity=0.5, pattern=pattern), wanted)
    assert qc.quantize(w.T[::2], axis=0) == turned


def test_a_decomposition_gives_what_it_gives_and_raises_what_it_raises(short_steps: None) -> None:
    matrix = np.diag(np.arange(1.0, 65))
    np.testing.assert_array_equal(stoppable(np.linalg.inv, matrix), np.linalg.inv(matrix))
    with pytest.raises(np.linalg.LinAlgError):
        stoppable(np.linalg.cholesky, -matrix)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        stoppable(np.divide, np.ones((64, 64)), np.zeros((64, 64)))


def test_a_signal_ends_the_waiting(short_steps: None) -> None:
    goes_on, ended = threading.Event(), threading.Event()

    def slow(array: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        assert goes_on.wait(60)
        ended.set()
        return array

    with pytest.raises(KeyboardInterrupt):
        stoppable(slow, np.ones((64, 64)))
    assert not ended.is_set()
    goes_on.set()
    assert ended.wait(60)
