"""Learned rounding: each weight up or down, nearer than rounding, never worse than before it."""

import itertools

import numpy as np
import pytest

import qcore as qc
from layers import inputs, network, output_error, weights
from qcore.arrays.layerwise.adaround import learned_rounding
from qcore.arrays.layerwise.layerwise import ALGORITHMS, DAMPING


def problem(columns=24, rows=6, bits=3):
    x, w = inputs(columns=columns), weights(rows, columns).astype(np.float64)
    hessian = x.T.astype(np.float64) @ x / len(x)
    hessian += DAMPING * np.diag(hessian).mean() * np.eye(columns)
    half = 2 ** (bits - 1) - 1
    scale = np.repeat(np.abs(w).max(axis=1, keepdims=True) / half, columns, axis=1)
    ends = [np.full((rows, 1), end, np.int32) for end in (-half, half)]
    return w, hessian, scale, ends


def lost(w, hessian, scale, levels):
    off = w - levels * scale
    return np.einsum("ij,jk,ik->i", off, hessian, off)


def test_every_weight_goes_up_or_down_and_outputs_are_nearer():
    w, hessian, scale, (low, high) = problem()
    levels = learned_rounding(w, hessian, scale, low, high)
    floor = np.clip(np.floor(w / scale), low, high)
    assert set(np.unique(levels - floor)) <= {0, 1}
    assert (levels >= low).all()
    assert (levels <= high).all()
    nearest = np.clip(np.rint(w / scale), low, high)
    assert lost(w, hessian, scale, levels).sum() < lost(w, hessian, scale, nearest).sum() / 2


def test_a_few_weights_are_nearly_as_good_as_brute_force():
    w, hessian, scale, (low, high) = problem(columns=8)
    found = lost(w, hessian, scale, learned_rounding(w, hessian, scale, low, high))
    floor = np.clip(np.floor(w / scale), low, high)
    best = np.full(len(w), np.inf)
    for ups in itertools.product((0, 1), repeat=8):
        levels = np.clip(floor + np.array(ups), low, high)
        best = np.minimum(best, lost(w, hessian, scale, levels))
    assert (found >= best - 1e-9).all()
    assert found.sum() <= best.sum() * 1.3


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("layout", [{"axis": 0}, {"group_size": 8}])
@pytest.mark.parametrize("steps", [(), ("gptq",), ALGORITHMS[:3]], ids="+".join)
def test_outputs_are_no_further_than_without(bits, layout, steps):
    x, w = inputs(), weights()
    w[0, :5] = 0
    stats = qc.InputStats().update(x)
    options = {"bits": bits, "stats": stats, "scale_dtype": np.float32, **layout}
    q = qc.quantize(w, algorithm=(*steps, "adaround"), **options)
    without = {"bits": bits, "scale_dtype": np.float32, **layout}
    before = qc.quantize(w, algorithm=steps, **options) if steps else qc.quantize(w, **without)
    damped = DAMPING * np.diag(stats.gram).mean()

    def total(tensor):
        off = w - tensor.dequantize(dtype=np.float64)
        return output_error(w, tensor, x) + damped * np.sum(off**2)

    assert total(q) <= total(before) * (1 + 1e-4)
    assert (q.dequantize()[0, :5] == 0).all()


def test_a_network_takes_it():
    net, x = network(), inputs(1000)
    exact = net.predict_logits(x)
    off = []
    for algorithm in ((), "adaround"):
        small = qc.Quantizer(3, algorithm=algorithm, observer="minmax").fit_transform(net, x)
        off.append(np.mean((small.predict_logits(x) - exact) ** 2))
    assert off[1] < off[0]
    with pytest.raises(ValueError, match="algorithm needs samples"):
        qc.Quantizer(3, algorithm="adaround").fit(net)
