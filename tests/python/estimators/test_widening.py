"""What a graph does not bear as integers stays wide, and is named; the rest runs as codes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import qcore as qc
from qcore.errors import AccuracyWarning
from qcore.estimators.graphs.corrections import graph_disagreement, output_totals
from qcore.estimators.quantizer.widening import least_judged, wide_values, wide_weights
from qcore.graph.node import Node
from qcore.graph.value import Value


def loud_channel(*, after: int = 1) -> qc.Graph:
    """Return a chain of products whose first hidden value has a channel that drowns the others.

    What reads it counts the others only, so that codes for the value hold nothing that counts.
    """
    rng = np.random.default_rng(0)
    first = rng.standard_normal((8, 16)).astype(np.float32)
    first[:, 0] *= 3000
    second = rng.standard_normal((16, 16)).astype(np.float32)
    second[0] = 0
    last = {f"w{i}": rng.standard_normal((16, 16)).astype(np.float32) / 4 for i in range(after)}
    last[f"w{after - 1}"] = last[f"w{after - 1}"][:, :1]  # one output, no classes
    nodes = [
        Node("first", "MatMul", ("x", "first"), ("loud",)),
        Node("second", "MatMul", ("loud", "second"), ("h0",)),
        *(Node(f"n{i}", "MatMul", (f"h{i}", f"w{i}"), (f"h{i + 1}",)) for i in range(after)),
    ]
    return qc.Graph(
        nodes, inputs=[Value("x", "float32", ("n", 8))],
        outputs=[Value(f"h{after}", "float32")],
        constants={"first": first, "second": second, **last},
    )  # fmt: skip


def lost(before: qc.Graph, after: qc.Graph, x: np.ndarray) -> float:
    exact = before(x).astype(np.float64)
    return float(np.sum((after(x) - exact) ** 2) / np.sum((exact - exact.mean()) ** 2))


def test_the_value_that_is_not_borne_stays_wide() -> None:
    net = loud_channel(after=3)
    x = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    plain = qc.Quantizer(8, progress=False).fit_transform(net, x)
    assert lost(net, plain, x) > 0.01
    assert "loud" in plain.codes
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        small = qc.compress(net, x)
    assert "loud" not in small.codes
    assert set(small.codes) == set(plain.codes) - {"loud"}
    assert small.report_.totals["left wide"] == ["loud"]
    assert lost(net, small, x) < 0.01
    assert taken(small)["second"] == "float32"  # a loud channel drowns its whole row
    assert all(isinstance(slot.weight, qc.QTensor) for slot in small.slots)


def taken(small: qc.Graph) -> dict[str, str]:
    """Return how each product takes its input, by the report."""
    return {row["tensor"]: row["activations"] for row in small.report_.rows if "activations" in row}


def test_wide_values_go_row_by_row_where_that_loses_little() -> None:
    """Samples of very different sizes share no scale; each has one of its own."""
    rng = np.random.default_rng(1)
    scale, bias = np.ones(16, np.float32), np.zeros(16, np.float32)
    net = qc.Graph(
        [
            Node("w", "MatMul", ("x", "w"), ("h",)),
            Node("y", "LayerNormalization", ("h", "scale", "bias"), ("y",)),
        ],
        inputs=[Value("x", "float32", ("n", 32))], outputs=[Value("y", "float32")],
        constants={
            "w": rng.standard_normal((32, 16)).astype(np.float32), "scale": scale, "bias": bias,
        },
    )  # fmt: skip
    sizes = np.float32(10.0) ** np.linspace(-2, 2, 200, dtype=np.float32).reshape(-1, 1)
    x = rng.standard_normal((200, 32)).astype(np.float32) * sizes
    small = qc.compress(net, x)
    assert small.codes == {}
    assert taken(small) == {"w": "dynamic"}
    plain = qc.Quantizer(8, progress=False).fit_transform(net, x)
    assert 5 * lost(net, small, x) < lost(net, plain, x)


def test_nothing_is_left_wide_where_all_is_well() -> None:
    net = loud_channel().changed(
        constants={**loud_channel().constants, "first": np.float32(np.eye(8, 16))}
    )
    x = np.random.default_rng(2).standard_normal((100, 8)).astype(np.float32)
    small = qc.compress(net, x)
    assert "left wide" not in small.report_.totals
    assert wide_values(net, small, x, progress=False) == []


def test_the_worst_weights_stay_wide_within_their_share() -> None:
    net = loud_channel(after=5)

    def chosen(**lost: float) -> list[str]:
        small = net.changed()
        rows = [{"tensor": name, "output error": lost.get(name, 0.0)} for name in net.constants]
        small.report_ = qc.Report("", rows, {})
        return wide_weights(net, small)

    assert chosen(second=1.0) == ["second"]
    assert chosen(second=1.0, w0=0.5, w1=0.5) == ["second"]  # no room for another
    assert chosen(second=1.0, w4=0.5) == ["second", "w4"]
    assert chosen(second=0.0005, w0=0.001, w1=0.001) == []


def test_fewer_bits_that_were_asked_for_stay_and_are_told() -> None:
    net = loud_channel()
    x = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    with pytest.warns(AccuracyWarning, match="off by"):
        small = qc.compress(net, x, bits=2)
    assert all(slot.weight.bits == 2 for slot in small.slots)


def test_chances_are_answers_and_embeddings_are_not() -> None:
    """A sigmoid of one column counts by its side of a half; an embedding has no answer."""
    x = np.random.default_rng(3).standard_normal((64, 8)).astype(np.float32)

    def graph(last: str, width: int) -> qc.Graph:
        w = np.random.default_rng(3).standard_normal((8, width)).astype(np.float32)
        return qc.Graph(
            [Node("w", "MatMul", ("x", "w"), ("h",)), Node("y", last, ("h",), ("y",))],
            inputs=[Value("x", "float32", ("n", 8))], outputs=[Value("y", "float32")],
            constants={"w": w},
        )  # fmt: skip

    def agreement(net: qc.Graph, factor: float) -> float | None:
        other = net.changed(constants={"w": net.constants["w"] * np.float32(factor)})
        return output_totals(net, other, x).get("agreement")

    assert agreement(graph("Sigmoid", 1), 2.0) == 1.0
    assert agreement(graph("Sigmoid", 1), -1.0) == 0.0
    assert agreement(graph("Softmax", 5), -1.0) == 0.0
    assert agreement(graph("Tanh", 5), -1.0) is None


def read_by_places() -> qc.Graph:
    """Return a graph that gives chances of five classes for each of many places."""
    w = np.random.default_rng(4).standard_normal((6, 5)).astype(np.float32)
    return qc.Graph(
        [Node("w", "MatMul", ("x", "w"), ("h",)), Node("y", "Softmax", ("h",), ("y",))],
        inputs=[Value("x", "float32", ("n", "places", 6))], outputs=[Value("y", "float32")],
        constants={"w": w},
    )  # fmt: skip


def test_places_are_read_as_texts() -> None:
    """Repeats and the most frequent label are left out; any other change is another answer."""
    net = read_by_places()
    x = np.random.default_rng(4).standard_normal((8, 12, 6)).astype(np.float32)
    twice = np.repeat(x, 2, axis=1)  # each place twice: the same text

    class Repeated:
        """What the graph gives for places that came twice."""

        def run(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": net.run({"x": np.repeat(batch["x"][:, ::2], 2, axis=1)})["y"]}

    assert output_totals(net, Repeated(), twice)["agreement"] == 1.0  # type: ignore[arg-type]
    other = net.changed(constants={"w": -net.constants["w"]})
    assert output_totals(net, other, x)["agreement"] == 0.0


def test_texts_are_judged_by_fewer_that_stay() -> None:
    """A text is dozens of answers."""
    assert least_judged(read_by_places()) == 0.99
    assert least_judged(loud_channel()) == 0.995


def test_samples_that_nothing_is_fitted_to_can_judge() -> None:
    """What only the judges show is left wide."""
    net = loud_channel()
    quiet = np.random.default_rng(5).standard_normal((64, 8)).astype(np.float32)
    alone = qc.compress(net, quiet)
    judged = qc.compress(net, quiet, validation_data=(1000 * quiet, None))
    assert "x" not in alone.report_.totals["left wide"]
    assert "x" in judged.report_.totals["left wide"]
    found, exact = judged.run({"x": 1000 * quiet}), net.run({"x": 1000 * quiet})
    np.testing.assert_allclose(found["h1"], exact["h1"], atol=0.1 * np.abs(exact["h1"]).max())


def test_a_state_counts_beside_answers() -> None:
    nodes = [
        Node("answer", "Sigmoid", ("x",), ("chance",)),
        Node("state", "Mul", ("state", "gain"), ("next",)),
    ]

    def network(gain: float) -> qc.Graph:
        return qc.Graph(
            nodes,
            inputs=[Value("x", "float32", ("n", 1)), Value("state", "float32", ("n", 6))],
            outputs=[Value("chance", "float32"), Value("next", "float32")],
            constants={"gain": np.array([gain], np.float32)},
        )

    rng = np.random.default_rng(0)
    given = {
        "x": rng.standard_normal((64, 1)).astype(np.float32),
        "state": rng.standard_normal((64, 6)).astype(np.float32),
    }
    near, far = (output_totals(network(1.0), network(gain), given) for gain in (1.008, 1.2))
    assert near["agreement"] == far["agreement"] == 1.0
    assert near["state error"] == pytest.approx(0.008**2, rel=0.1)
    assert graph_disagreement(near) is None
    assert graph_disagreement(near, 0.995) is not None
    assert "off by 20 %" in str(graph_disagreement(far))


def test_few_samples_tell_more_by_what_changes_with_more_error() -> None:
    """Of ten chances none changes by an error of 0.03; by four times that one does."""
    net = qc.Graph(
        [Node("", "Gemm", ("x", "w"), ("z",)), Node("", "Sigmoid", ("z",), ("y",))],
        inputs=[Value("x", "float32", ("n", 1))], outputs=[Value("y", "float32")],
        constants={"w": np.ones((1, 1), np.float32)},
    )  # fmt: skip

    class Off:
        """What the graph gives, 0.03 too much."""

        def run(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": net.run(batch)["y"] + np.float32(0.03)}

    def agreement(count: int, margin: float) -> float:
        chance = (np.arange(count) + 0.5) / count
        x = np.log(chance / (1 - chance)).astype(np.float32)[:, None]
        totals = output_totals(net, Off(), x, margin=margin)  # type: ignore[arg-type]
        return float(totals["agreement"])

    assert agreement(10, 1) == 1.0
    assert agreement(10, 4) == pytest.approx(1 - 0.1 / 4)
    # Of many both are what they are: 3 %.
    assert agreement(1000, 1) == pytest.approx(0.97, abs=0.002)
    assert agreement(1000, 4) == pytest.approx(0.97, abs=0.002)


def test_the_report_says_what_judged() -> None:
    net = loud_channel()
    quiet = np.random.default_rng(6).standard_normal((64, 8)).astype(np.float32)
    totals = qc.compress(net, quiet).report_.totals
    assert totals["judged on"] == "X, to which the codes are fitted"
    other = np.random.default_rng(7).standard_normal((64, 8)).astype(np.float32)
    small = qc.compress(net, quiet, validation_data=(other, None))
    assert small.report_.totals["judged on"] == "validation_data"
    wanted = output_totals(net, small, other)["output error"]
    assert small.report_.totals["output error"] == wanted
