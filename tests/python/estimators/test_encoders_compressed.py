"""Encoders made small: padding does not count, tables have zero points, one pass is better."""

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.graphs.matrices import bias_name
from qcore.estimators.graphs.rows import kept_tokens
from qcore.estimators.graphs.statistics import input_stats
from qcore.estimators.graphs.walk import GraphWalk
from qcore.estimators.pruner.graphs import judged
from qcore.estimators.quantizer.graphs import tables
from qcore.graph.lowering.operands import DYNAMIC
from qcore.graph.node import Node
from qcore.graph.value import Value
from small_encoder import sentences, small_encoder


def batches(count, seed=10):
    return [sentences(8, 16, seed=seed + place) for place in range(count)]


def error(net, small, unseen):
    name = net.outputs[1].name
    exact, found = (np.concatenate([one.run(b)[name] for b in unseen]) for one in (net, small))
    return np.sum((found - exact) ** 2) / np.sum((exact - exact.mean(axis=0)) ** 2)


@pytest.mark.parametrize("through", ["the graph", "a walk"])
def test_what_padding_holds_is_not_fitted(through):
    net = small_encoder()
    given = sentences(4, 12)
    kept = kept_tokens(net, given)
    np.testing.assert_array_equal(kept, given["mask"] != 0)
    slots = [slot for slot in net.slots if slot.name.endswith(("q.weight", "g.weight"))]
    alone = [{name: value[row : row + 1, : kept[row].sum()] for name, value in given.items()}
             for row in range(4)]  # fmt: skip

    def stats(samples):
        if through == "the graph":
            return input_stats(net, samples, slots)
        walk = GraphWalk(net, samples, {})
        return {slot.name: walk.stats(slot) for slot in slots}

    padded, bare = stats([given]), stats(alone)
    for slot in slots:
        assert padded[slot.name].count == kept.sum()
        np.testing.assert_allclose(
            padded[slot.name].gram, bare[slot.name].gram, rtol=1e-4, atol=1e-3
        )


def test_a_graph_without_a_mask_of_tokens_has_none():
    assert kept_tokens(small_encoder(0), sentences()) is None


def test_tables_of_few_bits_have_zero_points_and_are_closer_by_them():
    net, unseen = small_encoder(), batches(2)
    options = {"group_size": 16, "ignore": ("*bias", "[01].*"), "progress": False}
    by_default = qc.Quantizer(4, **options).fit_transform(net)
    around_zero = qc.Quantizer(4, symmetric=True, **options).fit_transform(net)
    assert by_default.constants["words"].zero_point.any()
    assert not around_zero.constants["words"].zero_point.any()
    assert error(net, by_default, unseen) < error(net, around_zero, unseen)
    eight = qc.Quantizer(8, **options).fit_transform(net)
    assert not eight.constants["words"].zero_point.any()


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}])
def test_a_graph_is_pruned_and_quantized_in_one_pass(options):
    net, seen, unseen = small_encoder(), batches(12), batches(2, seed=90)
    pruner = qc.Pruner(criterion="sparsegpt", progress=False, **options)
    coder = qc.Quantizer(8, activations="dynamic", progress=False)
    one = coder.fit_transform(net, seen, prune=pruner)
    assert pruner.sparsity_ == pytest.approx(0.5, abs=0.01)
    assert pruner.left_ == ["words"]
    assert {row["tensor"] for row in pruner.report_.rows} == {*pruner.masks_, "words"}
    for name, mask in pruner.masks_.items():
        codes = one.constants[name]
        assert codes.bits == 8
        kept = np.asarray(codes.values) != 0
        assert not np.any(kept & ~mask.T)  # a MatMul has its outputs last
    # Weights alone, each on what the float graph gives it: nothing makes up for those before.
    apart = qc.Pruner(criterion="sparsegpt", progress=False, **options)
    stats = input_stats(net, seen, [s for s in net.slots if s.name in judged(net, pruner.masks_)])
    two = coder.fit_transform(apart.fit(net, stats=stats).transform(net))
    assert error(net, one, unseen) < 0.9 * error(net, two, unseen)


def test_compress_prunes_a_graph_as_its_pruner_does():
    net, seen = small_encoder(1), batches(3)
    small = qc.compress(net, seen, sparsity=0.5, activations="dynamic")
    assert small.report_.totals["density"] == pytest.approx(0.5, abs=0.01)
    assert small.constants["words"].bits == 8
    rows = {row["tensor"]: row for row in small.report_.rows}
    assert "left" in rows["words"]["note"]
    assert rows["0.f.weight"]["bits"] == 8
    assert bias_name(small, "0.f.weight") in small.constants


def test_what_stays_is_fitted_together():
    rng = np.random.default_rng(0)
    from qcore.arrays.pruning.obs import refitted

    mixed = rng.standard_normal((400, 12)) @ rng.standard_normal((12, 12))
    hessian, target = mixed.T @ mixed, rng.standard_normal((5, 12))
    mask = rng.random((5, 12)) < 0.5
    found = refitted(target, hessian, np.where(mask, target, 0), mask)
    for row, kept, wanted in zip(found, mask, target, strict=True):
        best = np.linalg.solve(hessian[np.ix_(kept, kept)], hessian[kept] @ wanted)
        np.testing.assert_allclose(row[kept], best, rtol=1e-4, atol=1e-6)
        assert not row[~kept].any()


def with_large_elements(net, size):
    """A few elements of every token far larger than the others, as trained encoders have them."""
    constants = dict(net.constants)
    gain = constants["0.norm.gain"].copy()
    gain[:2] *= size
    constants["0.norm.gain"] = gain
    return net.changed(constants=constants)


def test_activations_of_encoders_are_as_exact_as_either_way():
    seen = batches(8)
    for size in (1, 60):
        net = with_large_elements(small_encoder(), size)
        small = qc.Quantizer(8, progress=False).fit(net, seen)
        coded = small.transform(net)
        totals = small.report_.totals
        better = totals["static error"] > 1.25 * totals["dynamic error"]
        assert bool(coded.codes) != better
        by_hand = qc.Quantizer(8, activations="dynamic" if better else "static", progress=False)
        wanted = by_hand.fit_transform(net, seen).run(seen[0])
        for name, value in coded.run(seen[0]).items():
            np.testing.assert_array_equal(value, wanted[name])
    assert better


def test_nothing_is_tried_where_the_mode_is_given_or_there_is_no_attention():
    net, seen = small_encoder(1), batches(2)
    for options in ({"activations": "static"}, {"bits": 4, "group_size": 16}, {"scheme": "nf4"}):
        coder = qc.Quantizer(progress=False, **options)
        coder.fit_transform(net, seen)
        assert "static error" not in coder.report_.totals


def test_each_fit_tries_the_samples_that_it_is_given():
    net, seen = small_encoder(), batches(8)
    coder = qc.Quantizer(8, progress=False)
    coder.fit_transform(net)
    again = coder.fit_transform(net, seen)
    fresh = qc.Quantizer(8, progress=False)
    new = fresh.fit_transform(net, seen)
    assert coder.report_.totals["dynamic error"] == fresh.report_.totals["dynamic error"]
    given = sentences()
    for name, wanted in new.run(given).items():
        np.testing.assert_array_equal(again.run(given)[name], wanted)


def test_tables_of_8_bits_may_have_groups_beside_products_of_4():
    net = small_encoder()
    bits = dict.fromkeys(tables(net), 8) | {"*": 4}
    small = qc.Quantizer(
        bits, group_size=16, activations="dynamic", algorithm=(), progress=False
    ).fit_transform(net, batches(2))
    assert error(net, small, batches(1, seed=90)) < 0.1


def test_convolutions_stay_static_where_products_take_rows():
    net = with_large_elements(small_encoder(), 60)
    weight = np.random.default_rng(3).standard_normal((32, 32, 1)).astype(np.float32)
    nodes = [
        Node("turn", "Transpose", ("1.norm2:0",), ("turned",), {"perm": (0, 2, 1)}),
        Node("conv", "Conv", ("turned", "conv.weight"), ("more",), {"kernel_shape": (1,)}),
    ]
    both = net.changed(
        nodes=[*net.nodes, *nodes],
        outputs=[*net.outputs, Value("more", "float32")],
        constants={**net.constants, "conv.weight": weight},
    )
    small = qc.Quantizer(8, progress=False).fit_transform(both, batches(8))
    assert "turned" in small.codes
    assert {node.name for node in small.nodes if node.get(DYNAMIC)} >= {"0.q", "1.g"}
