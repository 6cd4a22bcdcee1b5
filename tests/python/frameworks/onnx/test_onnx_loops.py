"""Loop and Scan, written out where their trips are known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import check, model_of, normal, refused, runtime, same_as

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info


def step(nodes, inputs, outputs, **constants):
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    return onnx.helper.make_graph(nodes, "step", inputs, outputs, tensors)


def counted(most):
    """x becomes tanh(x @ w) + trip, `most` times or until trip is `last`; each is collected."""
    body = step(
        [
            node("MatMul", ["h", "w"], ["p"]), node("Tanh", ["p"], ["t"]),
            node("Cast", ["trip"], ["f"], to=1), node("Add", ["t", "f"], ["n"]),
            node("Less", ["trip", "last"], ["more"]), node("Identity", ["n"], ["kept"]),
        ],
        [info("trip", 7, []), info("going", 9, []), info("h", 1, ["b", 4])],
        [info("more", 9, []), info("n", 1, ["b", 4]), info("kept", 1, ["b", 4])],
        w=normal(4, 4, seed=1),
    )  # fmt: skip
    return node("Loop", [most, "", "x"], ["y", "all"], name="count", body=body)


@pytest.mark.parametrize("last", [0, 1, 9])
@pytest.mark.parametrize("most", [1, 3, None])
def test_loops_are_written_out(last, most):
    feeds, dims = {"x": normal(2, 4)}, {"x": ["b", 4]}
    constants = {"last": np.int64(last)} | ({} if most is None else {"m": np.int64(most)})
    loop = counted("" if most is None else "m")
    graph = check(loop, feeds, {"y": 1, "all": 1}, dims=dims, **constants)
    trips = min(last + 1, most or 99)
    products = [each for each in graph.nodes if each.op == "MatMul"]
    assert len(products) == trips
    assert len({each.inputs[1] for each in products}) == 1  # one weight for all trips
    small = qc.compress(graph, feeds["x"], bits=8)
    assert small.nbytes < graph.nbytes


def test_trips_that_follow_from_sizes():
    nodes = [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "one"], ["m"]), counted("m")
    ]  # fmt: skip
    constants = {"one": np.int64(1), "last": np.int64(99)}
    graph = check(nodes, {"x": normal(2, 4)}, {"y": 1, "all": 1}, dims={"x": ["b", 4]}, **constants)
    assert sum(each.op == "MatMul" for each in graph.nodes) == 4


def test_a_loop_in_a_loop():
    inner = step(
        [node("Add", ["g", "outer"], ["k"]), node("Identity", ["c2"], ["d2"])],
        [info("i2", 7, []), info("c2", 9, []), info("g", 1, [2])],
        [info("d2", 9, []), info("k", 1, [2])],
    )
    outer = step(
        [
            node("Mul", ["h", "h"], ["outer"]), node("Loop", ["m", "", "h"], ["z"], body=inner),
            node("Identity", ["c"], ["d"]),
        ],
        [info("i", 7, []), info("c", 9, []), info("h", 1, [2])],
        [info("d", 9, []), info("z", 1, [2])],
    )  # fmt: skip
    loop = node("Loop", ["m", "", "x"], ["y"], body=outer)
    check(loop, {"x": np.float32([0.1, -0.2])}, m=np.int64(3))


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 5), axis=st.integers(0, 1), back=st.integers(0, 1),
    out_axis=st.integers(0, 1), out_back=st.integers(0, 1),
)  # fmt: skip
def test_scans_are_written_out(length, axis, back, out_axis, out_back):
    body = step(
        [
            node("Add", ["h", "e"], ["s"]), node("Mul", ["s", "half"], ["n"]),
            node("Sub", ["n", "e"], ["o"]),
        ],
        [info("h", 1, [3]), info("e", 1, [3])],
        [info("n", 1, [3]), info("o", 1, [3])],
        half=np.float32(0.5),
    )  # fmt: skip
    scan = node(
        "Scan", ["x0", "x"], ["y", "all"], body=body, num_scan_inputs=1, scan_input_axes=[axis],
        scan_input_directions=[back], scan_output_axes=[out_axis],
        scan_output_directions=[out_back],
    )  # fmt: skip
    x = normal(length, 3) if axis == 0 else normal(3, length)
    check(scan, {"x0": normal(3, seed=2), "x": x}, {"y": 1, "all": 1})


def test_what_follows_from_the_inputs_is_refused_by_name():
    feeds = {"x": normal(2, 4), "m": np.array(2)}
    model = model_of([counted("m")], feeds, {"y": 1, "all": 1}, last=np.int64(9))
    with pytest.raises(qc.UnsupportedError, match=r"Loop \(1 node, .*'count'.*fixed sizes"):
        read_graph(model)
    none = model_of(
        [counted("m")], x := {"x": normal(2, 4)}, {"y": 1, "all": 1}, last=np.int64(9),
        m=np.int64(0),
    )  # fmt: skip
    assert "count" in (refused(none, x) or "")
    endless = model_of(
        [counted("m")], x, {"y": 1, "all": 1}, last=np.int64(1 << 40), m=np.int64(1 << 40)
    )
    assert "count" in (refused(endless, x) or "")


@settings(deadline=None, max_examples=60)
@given(
    op=st.sampled_from(["Loop", "Scan"]), used=st.integers(0, 4), made=st.integers(1, 3),
    takes=st.integers(0, 4), gives=st.integers(0, 4), number=st.integers(-1, 3),
    axes=st.lists(st.integers(-3, 3), max_size=2),
)  # fmt: skip
def test_a_malformed_loop_is_refused_by_name(op, used, made, takes, gives, number, axes):
    feeds = {"m": np.array(2), "c": np.array(True), "x": normal(2, 4), "z": normal(2, 4)}
    inputs = [info(f"i{at}", 7 if at == 0 else 9 if at == 1 else 1, []) for at in range(takes)]
    outputs = [info(f"o{at}", 1, []) for at in range(gives)]
    nodes = [node("Identity", ["k"], [f"o{at}"]) for at in range(gives)]
    attributes = {"body": step(nodes, inputs, outputs, k=np.float32(1))}
    if op == "Scan":
        attributes |= {"num_scan_inputs": number} | ({"scan_input_axes": axes} if axes else {})
    names = list(feeds)[:used]
    broken = node(op, names, [f"y{at}" for at in range(made)], name="broken", **attributes)
    model = model_of([broken], feeds, {"y0": 1})
    said = refused(model, feeds)
    assert said is None or "broken" in said or "output" in said


def test_a_recurrence_that_torch_scripts(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Steps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = torch.nn.Linear(7, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.zeros(x.shape[0], 4)
            for at in range(x.shape[1]):
                h = torch.tanh(self.cell(torch.cat((x[:, at], h), 1)))
            return h

    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "steps.onnx"
    torch.onnx.export(
        torch.jit.script(Steps().eval()), (x,), str(path), dynamo=False, opset_version=17,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "b"}},
    )  # fmt: skip
    model = onnx.load(path)
    assert any(each.op_type == "Loop" for each in model.graph.node)
    feeds = {"x": x.numpy()}
    same_as(runtime(model, feeds), model, feeds)
