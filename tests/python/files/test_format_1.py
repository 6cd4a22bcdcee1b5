"""Files that an earlier version wrote, kept beside this: they load, and give the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qcore as qc

FOLDER = Path(__file__).parent / "format_1"
LOGITS = np.load(FOLDER / "logits.npz")


@pytest.mark.numerics
@pytest.mark.parametrize("name", ["static", "dynamic", "int4", "kmeans"])
def test_networks_of_the_first_format_give_the_same_bits(name):
    net = qc.load(FOLDER / f"{name}.safetensors")
    np.testing.assert_array_equal(net.predict_logits(LOGITS["x"]), LOGITS[name])


@pytest.mark.parametrize("name", ["float", "pruned"])
def test_float_networks_differ_by_rounding_alone(name):
    # Their sums are BLAS's, of this CPU, and tanh is one of our own since.
    net = qc.load(FOLDER / f"{name}.safetensors")
    np.testing.assert_allclose(net.predict_logits(LOGITS["x"]), LOGITS[name], atol=1e-6)


@pytest.mark.parametrize("name", ["float", "static", "dynamic", "int4", "kmeans", "pruned"])
def test_what_is_loaded_is_saved_as_the_same_bytes(name, tmp_path):
    path = tmp_path / "again.safetensors"
    qc.save(path, qc.load(FOLDER / f"{name}.safetensors"))
    assert path.read_bytes() == (FOLDER / f"{name}.safetensors").read_bytes()
