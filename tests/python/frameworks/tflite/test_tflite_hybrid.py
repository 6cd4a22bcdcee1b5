"""TFLite files of int8 weights under float values: LiteRT rounds inputs as it runs, we do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node

MODEL = Path(__file__).parents[5] / "shared" / "tiny" / "dscnn_kws_float.tflite"

pytest.importorskip("tflite")
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="the network is not there")


def rounded(net: qc.Graph) -> qc.Graph:
    """Round the input of each convolution that is not depthwise to 127 steps of its magnitude."""
    nodes: list[Node] = []
    for node in net.nodes:
        if node.op != "Conv" or node.get("group", 1) != 1:
            nodes.append(node)
            continue
        x, stem = node.inputs[0], f"{node.name}:"
        steps = [
            ("ReduceMax", (x,), "high"), ("ReduceMin", (x,), "low"), ("Neg", ("low",), "negated"),
            ("Max", ("high", "negated"), "most"), ("Div", ("most", "_steps"), "step"),
            ("Div", (x, "step"), "ratio"), ("Round", ("ratio",), "code"),
            ("Mul", ("code", "step"), "value"),
        ]  # fmt: skip
        for op, inputs, made in steps:
            named = tuple(i if i in (x, "_steps") else stem + i for i in inputs)
            nodes.append(Node(stem + made, op, named, (stem + made,)))
        nodes.append(node.changed(inputs=(f"{stem}value", *node.inputs[1:])))
    return net.changed(nodes=nodes, constants={**net.constants, "_steps": np.float32(127)})


def test_litert_is_this_graph_with_inputs_rounded_as_it_runs() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runs = litert.Interpreter(str(MODEL), experimental_op_resolver_type=kernels)
    runs.allocate_tensors()
    given, made = runs.get_input_details()[0]["index"], runs.get_output_details()[0]["index"]
    net = qc.load(MODEL)
    like = rounded(net)
    plain, same = 0.0, 0.0
    for sample in np.random.default_rng(0).standard_normal((8, 1, 49, 10, 1)).astype(np.float32):
        runs.set_tensor(given, sample)
        runs.invoke()
        wanted = runs.get_tensor(made)
        same = max(same, float(np.abs(like(sample) - wanted).max()))
        plain = max(plain, float(np.abs(net(sample) - wanted).max()))
    assert same < 1e-4
    assert plain < 0.1
