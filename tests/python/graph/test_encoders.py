"""Transformer encoders: attention as one step, products of dynamic activations, one set of bits."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.passes import prepared
from qcore.graph.value import Value
from small_encoder import cosine, sentences, small_encoder

_X = sentences()


@pytest.fixture(scope="module")
def net() -> qc.Graph:
    return prepared(small_encoder())


def kernels(net: qc.Graph, x: Any = None) -> list[str]:
    return [kernel for _, kernel in net.kernels(_X if x is None else x)]


# attention ---------------------------------------------------------------------------------------
def test_attention_is_one_step_and_gives_what_its_nodes_give(net: qc.Graph) -> None:
    assert kernels(net).count("attention") == 2
    assert "softmax" not in kernels(net)
    assert "transpose" not in kernels(net)
    names = [value.name for value in net.outputs]
    whole, parts = net.run(_X), net.run(_X, names)
    kept = _X["mask"] == 1
    np.testing.assert_allclose(whole[names[0]][kept], parts[names[0]][kept], atol=2e-6)
    np.testing.assert_allclose(whole[names[1]], parts[names[1]], atol=2e-6)


@pytest.mark.parametrize("change", ["softmax axis", "factor of values"])
def test_what_is_no_attention_stays_what_it_is(change: str) -> None:
    plain = small_encoder(1)
    nodes, constants = [], dict(plain.constants)
    for node in plain.nodes:
        if change == "softmax axis" and node.op == "Softmax":
            node = node.changed(attributes={"axis": 2})
        if change == "factor of values" and node.name == "0.mixed":
            constants["two"] = np.float32(2)
            nodes.append(Node("twice", "Mul", (node.inputs[1], "two"), ("twice:0",)))
            node = node.changed(inputs=(node.inputs[0], "twice:0"))
        nodes.append(node)
    net = prepared(plain.changed(nodes=nodes, constants=constants))
    assert "attention" not in kernels(net)
    names = [value.name for value in net.outputs]
    found = net.run(_X)
    assert all(np.array_equal(found[name], net.run(_X, names)[name]) for name in names)


# integers ----------------------------------------------------------------------------------------
def test_products_of_dynamic_activations_run_on_integers(net: qc.Graph, tmp_path: Path) -> None:
    small = qc.compress(net)
    found = kernels(small)
    assert found.count("dense int8") == 12
    # The norms, the first product of a layer's two and attention give rows of codes themselves.
    assert "quantize rows" not in found
    mean = net.outputs[1].name
    assert cosine(small.run(_X)[mean], net.run(_X)[mean]).min() > 0.999
    small.save(tmp_path / "small.safetensors")
    again = qc.load(tmp_path / "small.safetensors")
    assert kernels(again) == found
    assert all(np.array_equal(a, again.run(_X)[name]) for name, a in small.run(_X).items())


def test_dynamic_products_are_exact_integers_times_their_scales() -> None:
    rng = np.random.default_rng(0)
    w, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 12), (2, 5, 40)))
    bias, more = rng.standard_normal(12).astype(np.float32), x[..., :12].copy()
    net = qc.Graph(
        [Node("m", "MatMul", ("x", "w", "b", "r"), ("y",), {"activation": "gelu"})],
        inputs=[Value("x", "float32", ("n", 5, 40)), Value("r", "float32", ("n", 5, 12))],
        outputs=[Value("y", "float32")],
        constants={"w": w, "b": bias},
    )
    small = qc.compress(net)
    q = small.constants["w"]
    assert small.nodes[0].get("dynamic") == 1
    rows = x.reshape(-1, 40)
    scale = (np.abs(rows).max(1, keepdims=True) / np.float32(127.5)).astype(np.float32)
    codes = np.clip(np.rint(rows / scale), -128, 127)
    real = (codes @ q.values.astype(np.float64)) * scale * q.scale.reshape(-1) + bias
    real = real.reshape(more.shape) + more
    erf = np.vectorize(math.erf)
    wanted = real / 2 * (1 + erf(real / np.sqrt(2)))
    np.testing.assert_allclose(small.run({"x": x, "r": more})["y"], wanted, atol=2e-5)


def test_gelu_behind_integers_is_within_a_small_part_of_a_step() -> None:
    # One code times a scale of the row's own: every sum from -12 to 12, and far ones.
    x = np.concatenate([np.linspace(-12, 12, 20_001), [-1e4, 1e4]]).astype(np.float32)
    net = qc.Graph(
        [Node("m", "MatMul", ("x", "w"), ("y",), {"activation": "gelu"})],
        inputs=[Value("x", "float32", ("n", 1))],
        outputs=[Value("y", "float32")],
        constants={"w": np.ones((1, 40), np.float32)},
    )
    small = qc.compress(net)
    assert kernels(small, {"x": x[:, None]})[-1] == "dense int8"
    found = small.run({"x": x[:, None]})["y"]
    assert (found == found[:, :1]).all()
    plain = net.changed(nodes=[Node("m", "MatMul", ("x", "w"), ("y",))])
    sums = qc.compress(plain).run({"x": x[:, None]})["y"][:, 0].astype(np.float64)
    wanted = sums / 2 * (1 + np.vectorize(math.erf)(sums / np.sqrt(2)))
    near = np.abs(sums) < 100
    np.testing.assert_allclose(found[near, 0], wanted[near], atol=5e-5)
    np.testing.assert_allclose(found[~near, 0], wanted[~near], rtol=1e-5, atol=5e-5)


def test_the_choice_of_activations_is_told_by_node(net: qc.Graph) -> None:
    weights = qc.compress(net, activations=None)
    assert not any(node.get("dynamic") for node in weights.nodes)
    assert not weights.codes
    samples = [sentences(seed=s) for s in range(4)]
    floats = qc.Quantizer(activations="static", attention="float32")
    static = floats.fit_transform(net, samples)
    assert not any(node.get("dynamic") for node in static.nodes)
    dynamic = qc.compress(net, samples, activations="dynamic")
    # Twelve with weights, and those of two attentions.
    assert sum(bool(node.get("dynamic")) for node in dynamic.nodes) == 12 + 4
    assert not dynamic.codes


@pytest.mark.parametrize(
    ("options", "least", "kind"),
    [
        ({"bits": 4, "group_size": 32}, 0.985, "dense int4"),
        ({"sparsity": 0.5}, 0.95, "int8"),
        ({"pattern": "2:4"}, 0.93, "int8"),
    ],
)
def test_fewer_bits_and_weights_run_on_kernels_of_their_own(
    net: qc.Graph, options: dict[str, Any], least: float, kind: str
) -> None:
    samples = [sentences(8, seed=s) for s in range(6)]
    small = qc.compress(net, samples, activations="dynamic", **options)
    assert any(kind in name for name in kernels(small))
    mean = net.outputs[1].name
    assert cosine(small.run(_X)[mean], net.run(_X)[mean]).min() > least


@pytest.mark.parametrize("algorithm", ["smoothquant", "gptq", "awq"])
def test_methods_go_through_the_graph(net: qc.Graph, algorithm: str) -> None:
    samples = [sentences(8, seed=s) for s in range(4)]
    quantizer = qc.Quantizer(8, algorithm=algorithm, activations="dynamic", progress=False)
    small = quantizer.fit(net, samples).transform(net)
    mean = net.outputs[1].name
    assert cosine(small.run(_X)[mean], net.run(_X)[mean]).min() > 0.999


# bits --------------------------------------------------------------------------------------------
_HASHES = """
import hashlib, sys
import numpy as np
import qcore as qc
from qcore import _core
from qcore.graph.passes import prepared
from small_encoder import sentences, small_encoder
net = prepared(small_encoder())
x = sentences(4, 33)
alone = [{k: v[i:i + 1] for k, v in x.items()} for i in range(4)]
attention = qc.Quantizer(attention="int8").fit_transform(net)
for one in (net, qc.compress(net), qc.compress(net, [x], bits=4, group_size=32), attention):
    seen = set()
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        whole = list(one.run(x).values())
        parts = [list(one.run(a).values()) for a in alone]
        for found in (whole, [np.concatenate(p) for p in zip(*parts)]):
            seen.add(hashlib.sha256(b"".join(a.tobytes() for a in found)).hexdigest())
    print(len(seen), *seen)
"""


def test_an_encoder_has_one_hash_on_every_isa_thread_count_and_batch() -> None:
    found = {}
    for isa in ("scalar", "sse2", "avx2", "avx512"):
        env = {
            **os.environ,
            "QCORE_ISA": isa,
            "PYTHONPATH": str(Path(__file__).parents[1] / "helpers"),
        }
        done = subprocess.run(
            [sys.executable, "-c", _HASHES], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode and "QCORE_ISA" in done.stderr:
            continue  # this CPU has it not
        assert not done.returncode, done.stderr
        found[isa] = done.stdout
    assert "scalar" in found
    assert len(set(found.values())) == 1, found
    assert [line.split()[0] for line in found["scalar"].splitlines()] == ["1", "1", "1", "1"]


# padding -----------------------------------------------------------------------------------------
def unpadded(net: qc.Graph) -> qc.Graph:
    """The same, with no pattern that leaves padding out: one attention has a mask of its own."""
    constants = {**net.constants, "zero": np.float32(0)}
    nodes = []
    for node in net.nodes:
        if node.name == "0.masked":
            nodes.append(Node("own", "Add", (node.inputs[1], "zero"), ("own:0",)))
            node = node.changed(inputs=(node.inputs[0], "own:0"))
        nodes.append(node)
    return net.changed(nodes=nodes, constants=constants)


@pytest.fixture(scope="module")
def pooled(net: qc.Graph) -> qc.Graph:
    """The encoder of which only the mean over tokens is wanted."""
    return net.changed(outputs=[net.outputs[1]])


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_padding_is_left_out_and_no_bit_changes(pooled: qc.Graph, bits: int | None) -> None:
    groups = 32 if bits == 4 else None
    one = pooled if bits is None else qc.compress(pooled, bits=bits, group_size=groups)
    other = unpadded(one)
    assert "attention" in kernels(other)
    assert "pack rows" in kernels(one)
    assert "pack rows" not in kernels(other)
    mean = pooled.outputs[0].name
    for x in (_X, sentences(1, 9), sentences(5, 40), sentences(2, 1)):
        np.testing.assert_array_equal(one.run(x)[mean], other.run(x)[mean])


def test_padding_may_lie_anywhere_and_sentences_may_be_empty(pooled: qc.Graph) -> None:
    small = qc.compress(pooled)
    other = unpadded(small)
    x = sentences(4, 12)
    x["mask"] = np.random.default_rng(3).integers(0, 2, (4, 12))
    x["mask"][:, 5] = 1
    mean = pooled.outputs[0].name
    found = small.run(x)[mean]
    np.testing.assert_array_equal(found, other.run(x)[mean])
    x["mask"][2] = 0
    np.testing.assert_array_equal(small.run(x)[mean][[0, 1, 3]], found[[0, 1, 3]])


def test_tokens_that_are_wanted_are_computed_whole(net: qc.Graph, pooled: qc.Graph) -> None:
    assert "pack rows" not in kernels(net)
    # A mean that counts padding sees it.
    last = net.outputs[0].name
    whole = Node("all", "ReduceMean", (last, "1"), ("all:0",), {"keepdims": 0})
    blind = net.changed(nodes=[*net.nodes, whole], outputs=[Value("all:0", "float32")])
    assert "attention" in kernels(blind)
    assert "pack rows" not in kernels(blind)


def test_a_mask_that_hides_nothing_for_certain_is_used_as_it_is(pooled: qc.Graph) -> None:
    soft = pooled.changed(constants={**pooled.constants, "low": np.float32(-3)})
    assert "pack rows" in kernels(soft)
    other = unpadded(soft)
    found, wanted = soft.run(_X), other.run(_X)
    assert all(np.array_equal(found[name], wanted[name]) for name in found)


# embeddings --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("bits", "group_size"), [(8, None), (8, 8), (4, None), (4, 16), (4, 24)])
def test_embeddings_are_decoded_as_they_are_gathered(bits: int, group_size: int | None) -> None:
    words = np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32)
    table = qc.quantize(words, bits=bits, group_size=group_size, axis=None if group_size else 0)
    net = qc.Graph(
        [Node("embed", "Gather", ("words", "ids"), ("y",))],
        inputs=[Value("ids", "int64", ("n", 7))],
        outputs=[Value("y", "float32")],
        constants={"words": table},
    )
    ids = np.random.default_rng(1).integers(-30, 30, (5, 7))
    assert [kernel for _, kernel in net.kernels({"ids": ids})] == [f"gather int{bits}"]
    np.testing.assert_array_equal(net.run({"ids": ids})["y"], table.dequantize()[ids])
    with pytest.raises(ValueError, match=r"30.*must lie in \[-30, 30\)"):
        net.run({"ids": np.full((1, 7), 30)})
