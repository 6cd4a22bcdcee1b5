"""The one table of activations."""

from __future__ import annotations

import numpy as np
import pytest

from qcore import _core
from qcore.arrays.products.activations import ACTIVATIONS, DENSE, NUMBERS, names_in
from qcore.graph.node import Node
from qcore.graph.value import Value
from qcore.nn.graph import Graph


def test_the_numbers_in_packed_files_never_change() -> None:
    # Files that are out there say so: a new activation gets a new number, wherever it stands.
    released = {0: "linear", 1: "relu", 2: "sigmoid", 3: "softmax", 4: "tanh"}
    assert released.items() <= NUMBERS.items()
    numbers = [one.number for one in ACTIVATIONS.values() if one.number is not None]
    assert len(set(numbers)) == len(numbers)
    assert tuple(NUMBERS[number] for number in range(len(NUMBERS))) == DENSE


def test_other_projects_names_are_of_one_activation_each() -> None:
    for other in ("onnx", "torch", "sklearn"):
        named = [getattr(one, other) for one in ACTIVATIONS.values() if one.number is not None]
        assert len(names_in(other)) == len([name for name in named if name])


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("softmax", "clip")])
def test_what_the_table_says_of_factors_and_zeros_holds(name: str) -> None:
    x = np.linspace(-8, 8, 65, dtype=np.float32).reshape(1, 65)
    attributes = {"transB": 1} | ({} if name == "linear" else {"activation": name})
    net = Graph(
        [Node("fc", "Gemm", ("x", "w"), ("y",), attributes)],
        inputs=[Value("x", "float32", (1, 65))],
        outputs=[Value("y", "float32")],
        constants={"w": np.eye(65, dtype=np.float32)},
    )
    one = ACTIVATIONS[name]
    assert bool(np.array_equal(net(2 * x), 2 * net(x))) == one.scales
    assert bool(np.abs(net(np.zeros_like(x))).max() == 0) == one.keeps_zero


def test_the_extension_has_every_activation_of_dense_layers() -> None:
    for name in DENSE:
        z = np.ones((2, 3), np.float32)
        _core.finish_rows(z, 3, None, name)
        assert np.isfinite(z).all()
