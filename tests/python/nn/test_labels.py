"""The one reading of labels: what a score takes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc
from qcore.errors import AccuracyWarning, ArgumentError

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(4, 3))


def network(output, columns=slice(None)):
    return qc.nn.Sequential.from_arrays(
        [WEIGHT[:, columns]], [None], layout="in_out", output=output
    )


@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_labels_are_places_rows_columns_or_texts(output):
    net = network(output)
    codes = (X @ WEIGHT).argmax(axis=1)
    wrong = codes.copy()
    wrong[:6] = (wrong[:6] + 1) % 3
    assert net.score(X, codes) == 1.0
    assert net.score(X, wrong) == net.score(X, wrong[:, None]) == net.score(X, wrong.astype(float))
    assert net.score(X, wrong) == 0.9
    names = np.array(["cat", "dog", "eel"])
    with pytest.raises(ValueError, match=r"y\[0\] is '...'; .* set its classes_"):
        net.score(X, names[codes])
    net.classes_ = names
    assert net.score(X, names[wrong]) == net.score(X, names[wrong].astype(object)) == 0.9
    assert net.predict(X).tolist() == names[codes].tolist()
    with pytest.raises(ArgumentError, match=r"y\[2\] is 'fox', which is not one of") as caught:
        net.score(X, ["cat", "dog", "fox"] * 20)
    assert caught.value.argument == "y"
    with pytest.raises(ValueError, match=r"y\[0\] is .*which is not one of"):
        net.score(X, codes)


def test_one_hot_rows_are_labels_of_softmax_and_numbers_for_linear_outputs():
    rows = np.eye(3)[(X @ WEIGHT).argmax(axis=1)]
    assert network("softmax").score(X, rows) == 1.0
    assert network("linear").score(X, X @ WEIGHT) > 0.999
    assert network("linear").score(X, rows) < 0.9


def test_one_output_is_two_classes_or_a_regression():
    sums = (X @ WEIGHT[:, :1])[:, 0]
    for y in (sums > 0, (sums > 0).astype(int), (sums > 0)[:, None]):
        assert network("sigmoid", slice(1)).score(X, y) == 1.0
    assert network("linear", slice(1)).score(X, sums) > 0.999
    net = network("linear", slice(1))
    net.classes_ = np.array(["no", "yes"])
    assert net.score(X, net.classes_[(sums > 0).astype(int)]) == 1.0


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.arange(60), r"y\[3\] is 3"),
        (np.full(60, 0.5), r"y\[0\] is 0.5"),
        (np.zeros((60, 2)), r"shape \(60, 2\); it must be \(n, 3\)"),
        (np.zeros(59), "60 rows, y has 59"),
        (np.full(60, np.nan), r"y\[0\] is nan"),
    ],
)
@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_what_cannot_be_read_is_refused(output, y, words):
    with pytest.raises(ValueError, match=words):
        network(output).score(X, y)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, np.float16, np.float64])
def test_every_method_takes_the_same_samples(kind):
    whole = np.rint(X * 3).clip(0, 9).astype(kind)
    net, single = network("softmax"), whole.astype(np.float32)
    y = net.predict(single)
    assert np.array_equal(net.predict(whole), y)
    assert net.score(whole, y) == 1.0
    fitted = qc.Quantizer().fit_transform(net, whole)
    assert np.array_equal(fitted.predict_logits(whole), fitted.predict_logits(single))
    assert net.copy().fit(whole, y, epochs=1).score(whole, y) > 0.9


@pytest.mark.parametrize("bad", [{"regularize": 3}, {"checkpoint": 3.5}, {"hints": {"fc9": len}}])
def test_a_refused_option_leaves_the_network_as_it_was(bad):
    small = qc.compress(network("softmax"), X)
    before = small.predict_logits(X)
    layer = small.layers[0]
    weight, source = layer.weight, layer.input_qparams
    with pytest.raises((TypeError, ValueError)):
        small.fit(X, (X @ WEIGHT).argmax(axis=1), **bad)
    assert layer.weight is weight
    assert layer.input_qparams is source
    assert small.classes_ is None
    assert np.array_equal(small.predict_logits(X), before)


def test_compress_warns_in_one_line_where_answers_change():
    net = network("softmax")
    y = net.predict(X)
    with pytest.warns(
        AccuracyWarning, match=r"accuracy on its samples falls from 100\.0 to"
    ) as said:
        qc.compress(net, X, y, sparsity=0.8)
    assert "\n" not in str(said[0].message)
    with pytest.warns(AccuracyWarning, match="answers otherwise than before for"):
        qc.compress(net, X, sparsity=0.8)
    with pytest.warns(AccuracyWarning, match=r"outputs are off by \d+ %"):
        qc.compress(network("linear"), X, sparsity=0.8)
