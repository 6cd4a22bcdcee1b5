"""What depends on constants only: computed once, where that makes no file larger."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import qcore as qc
from runtime_models import check, normal

node = onnx.helper.make_node
# A product of these two makes much of little.
GRID, WIDE = normal(300, 2), normal(2, 512, seed=1)
LARGE = node("MatMul", ["grid", "wide"], ["large"])


def test_what_is_large_only_on_the_way_is_folded():
    graph = check(
        [LARGE, node("ReduceMean", ["large"], ["small"], axes=[0]),
         node("Add", ["x", "small"], ["y"])],
        {"x": normal(3, 512)}, dims={"x": ["n", 512]}, opset=17, grid=GRID, wide=WIDE,
    )  # fmt: skip
    assert [each.op for each in graph.nodes] == ["Add"]
    assert graph.nbytes < 4096


def test_what_would_be_stored_large_stays_a_node_and_takes_codes():
    x = normal(2, 300, 512)
    graph = check(
        [LARGE, node("Mul", ["x", "large"], ["y"])], {"x": x}, dims={"x": ["n", 300, 512]},
        grid=GRID, wide=WIDE,
    )  # fmt: skip
    assert [each.op for each in graph.nodes] == ["MatMul", "Mul"]
    small = qc.compress(graph, x)
    exact = graph.predict(x)
    assert np.abs(small.predict(x) - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("op", "constant", "idle"),
    [("Add", np.zeros((1, 5, 4)), True), ("Sub", np.zeros(4), True), ("Mul", np.ones(()), True),
     ("Div", np.ones((5, 1)), True), ("Add", np.zeros((3, 5, 4)), False),
     ("Mul", np.zeros(4), False), ("Add", np.zeros((1, 1, 5, 4)), False)],
)  # fmt: skip
def test_arithmetic_that_changes_nothing_is_no_node(op, constant, idle):
    nodes = [node("Relu", ["x"], ["r"]), node(op, ["r", "c"], ["a"]), node("Exp", ["a"], ["y"])]
    x = normal(3, 5, 4)
    graph = check(
        nodes, {"x": x}, dims={"x": ["n", 5, 4]}, c=np.asarray(constant, np.float32)
    )  # fmt: skip
    assert (op not in [each.op for each in graph.nodes]) == idle


def test_one_minus_a_value_stays():
    graph = check(
        [node("Sub", ["c", "x"], ["y"])], {"x": normal(3, 4)}, c=np.zeros(4, np.float32)
    )  # fmt: skip
    assert [each.op for each in graph.nodes] == ["Sub"]
