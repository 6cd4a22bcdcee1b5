"""Attention on integers: where it is chosen, what it loses, and its one set of bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.quantizer.attention import LOSS, attention_losses
from qcore.graph.passes import prepared
from small_encoder import cosine, sentences, small_encoder

_X = sentences()
_SAMPLES = [sentences(seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def net() -> qc.Graph:
    return prepared(small_encoder())


def kernels(net: qc.Graph) -> list[str]:
    return [kernel for _, kernel in net.kernels(_X)]


def test_it_is_chosen_by_what_it_loses_on_samples(net: qc.Graph) -> None:
    lost = attention_losses(net, _SAMPLES)
    assert len(lost) == 2
    assert all(0 < loss < LOSS for loss in lost.values())
    small = qc.compress(net, _SAMPLES, activations="dynamic")
    assert kernels(small).count("attention int8") == 2
    mean = net.outputs[1].name
    assert cosine(small.run(_X)[mean], net.run(_X)[mean]).min() > 0.999


def test_one_that_loses_much_stays_float(net: qc.Graph) -> None:
    # A score that is a hundred times as large picks one key, and rounding picks another.
    constants = dict(net.constants)
    for name in ("0.q.weight", "1.q.weight"):
        constants[name] = constants[name] * np.float32(100)
    sharp = net.changed(constants=constants)
    lost = attention_losses(sharp, _SAMPLES)
    assert max(lost.values()) > LOSS
    small = qc.compress(sharp, _SAMPLES, activations="dynamic")
    wanted = sum(loss <= LOSS for loss in lost.values())
    assert kernels(small).count("attention int8") == wanted


def test_it_can_be_asked_for_and_kept_out(net: qc.Graph, tmp_path: Path) -> None:
    assert "attention int8" not in kernels(qc.compress(net))
    asked = qc.Quantizer(attention="int8").fit_transform(net)
    assert kernels(asked).count("attention int8") == 2
    asked.save(tmp_path / "small.safetensors")
    again = qc.load(tmp_path / "small.safetensors")
    assert all(np.array_equal(a, again.run(_X)[name]) for name, a in asked.run(_X).items())
    out = qc.Quantizer(activations="dynamic", attention="float32").fit_transform(net, _SAMPLES)
    assert "attention int8" not in kernels(out)
    weights = qc.Quantizer(activations=None).fit_transform(net, _SAMPLES)
    assert "attention int8" not in kernels(weights)
    with pytest.raises(ValueError, match="attention"):
        qc.Quantizer(attention="int4").fit(net)


def test_padding_changes_no_bit(net: qc.Graph) -> None:
    mean = net.outputs[1].name
    small = qc.Quantizer(attention="int8").fit_transform(net.changed(outputs=[net.outputs[1]]))
    whole = qc.Quantizer(attention="int8").fit_transform(
        net
    )  # all tokens are wanted: none left out
    assert "pack rows" in kernels(small)
    assert "pack rows" not in kernels(whole)
    found = small.run(_X)[mean]
    np.testing.assert_array_equal(found, whole.run(_X)[mean])
    for row in range(len(_X["mask"])):
        seen = int(_X["mask"][row].sum())
        if not _X["mask"][row, :seen].all():
            continue
        one = {name: value[row : row + 1, :seen] for name, value in _X.items()}
        np.testing.assert_array_equal(small.run(one)[mean][0], found[row])
