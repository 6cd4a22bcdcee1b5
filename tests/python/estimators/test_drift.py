"""The monitor that says when data have left the calibrated range."""

import numpy as np
import pytest

import qcore as qc
from layers import inputs, network


def test_nothing_drifts_on_the_data_of_the_calibration():
    x = inputs(800)
    net = qc.Quantizer().fit_transform(network(), x)
    monitor = qc.DriftMonitor(net).update(x[:400]).update(x[400:])
    assert monitor.drifted == []
    assert monitor.samples == 800
    rows = monitor.report().rows
    assert [row["tensor"] for row in rows] == ["fc1", "fc2", "fc3"]
    assert all(row["outside"] < 0.001 and row["range used"] > 0.9 for row in rows)


def test_larger_and_smaller_data_drift_and_are_calibrated_anew():
    x = inputs(800)
    float_net = network()
    net = qc.Quantizer().fit_transform(float_net, x)
    for factor in (5, 0.1):
        moved = x * np.float32(factor)
        monitor = qc.DriftMonitor(net).update(moved)
        assert "fc1" in monitor.drifted
        again = monitor.recalibrated()
        assert qc.DriftMonitor(again).update(moved).drifted == []
        exact = float_net.predict_logits(moved)
        off = [np.mean((n.predict_logits(moved) - exact) ** 2) for n in (net, again)]
        assert off[1] < off[0]
    monitor.reset()
    assert (monitor.samples, monitor.drifted) == (0, [])
    with pytest.raises(ValueError, match="nothing was seen"):
        monitor.recalibrated()


def test_only_static_networks_have_a_range_to_leave():
    with pytest.raises(ValueError, match="no static activations"):
        qc.DriftMonitor(qc.Quantizer(activations="dynamic").fit_transform(network()))
    net = qc.Quantizer().fit_transform(network(), inputs(50))
    with pytest.raises(ValueError, match="tolerance is 2"):
        qc.DriftMonitor(net, tolerance=2)
