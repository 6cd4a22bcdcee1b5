"""What the tests of training share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from qcore.chain.layers import Dense
from qcore.nn.sequential import Sequential
from qcore.training.settings import Settings


def digits() -> tuple[Any, Any, Any, Any]:
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1400], order[1400:]
    return X[train], y[train], X[test], y[test]


def network(*widths: int, activation: str = "relu", output: str = "softmax") -> Sequential:
    last = len(widths) - 2
    return Sequential(
        Dense(before, after, output if index == last else activation)
        for index, (before, after) in enumerate(pairwise(widths))
    )


def settings(**changes: Any) -> Settings:
    few: dict[str, Any] = {"batch_size": 8, "epochs": 1, "temperature": 3.0, "alpha": 0.6}
    return Settings(**(few | {"random_state": 0, "progress": False} | changes))
