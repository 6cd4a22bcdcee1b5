"""Distorted digits, and that the page for users of TF-MOT runs."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from qcore.demo.augmentation import Distortions


def image():
    """A blob in the middle of 28 x 28 pixels."""
    place = np.stack(np.mgrid[:28, :28]) - 13.5
    return np.exp(-np.sum(place**2, axis=0) / 20).astype(np.float32).reshape(1, 784)


def centre(images):
    weights = images.reshape(-1, 28, 28)
    rows = (weights.sum(axis=2) * np.arange(28)).sum(axis=1) / weights.sum(axis=(1, 2))
    columns = (weights.sum(axis=1) * np.arange(28)).sum(axis=1) / weights.sum(axis=(1, 2))
    return np.stack([rows, columns])


def test_without_any_strength_nothing_moves():
    still = Distortions(shift=0, rotation=0, stretch=0, elastic=0, stock=3)
    X = np.repeat(image(), 20, axis=0)
    np.testing.assert_allclose(still(X.copy(), np.random.default_rng(0)), X, atol=1e-6)


def test_shifts_stay_within_their_bound():
    shifts = Distortions(shift=2, rotation=0, stretch=0, elastic=0, group=1, share=1, stock=200)
    moved = centre(shifts(np.repeat(image(), 200, axis=0), np.random.default_rng(0))) - 13.5
    assert np.abs(moved).max() <= 2.05
    assert (moved.std(axis=1) > 0.8).all()


def test_a_share_is_distorted_and_the_same_seed_gives_the_same_images():
    X = np.repeat(image(), 400, axis=0)
    distort = Distortions(group=1, share=0.5, stock=50)
    once = distort(X.copy(), np.random.default_rng(1))
    plain = (once == X).all(axis=1).mean()
    assert 0.4 < plain < 0.6
    again = Distortions(group=1, share=0.5, stock=50)(X.copy(), np.random.default_rng(1))
    np.testing.assert_array_equal(once, again)
    with pytest.raises(ValueError, match="pixels of a square"):
        distort(np.zeros((3, 10), np.float32), np.random.default_rng(0))


def test_the_page_for_users_of_tfmot_runs():
    page = Path(__file__).parents[3] / "docs" / "from-tfmot.md"
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried > 8
    assert not failed
