"""Recipes: texts that round-trip, and say on which line they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc
from qcore.recipes import toml

WEIGHTS = {"fc1.weight": np.linspace(-1, 1, 96, dtype=np.float32).reshape(8, 12)}

values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_toml_round_trips(tables: dict[str, Any]) -> None:
    assert toml.loads(toml.dumps(tables)) == tables


@pytest.mark.parametrize(
    "text",
    [
        "quantize.bits = 4",
        "[quantize]\nbits = {fc1 = 4, '*' = 8}",
        "[prune]\nsparsity = 0.5\nscope = 'global'\n[quantize]\nscheme = 'kmeans'\nlevels = 16",
        "[quantize]\naxis = 'none'",
    ],
)
def test_recipe_round_trips(text: str) -> None:
    recipe = qc.Recipe.from_toml(text)
    again = qc.Recipe.from_toml(recipe.to_toml())
    assert again.to_toml() == recipe.to_toml()
    one, other = recipe.apply(WEIGHTS), again.apply(WEIGHTS)
    assert one["fc1.weight"] == other["fc1.weight"]


def test_every_parameter_is_written() -> None:
    written = toml.loads(qc.Recipe.from_toml("quantize.bits = 4").to_toml())["quantize"]
    params = qc.Quantizer(bits=4).get_params()
    del params["progress"]
    expected = {k: list(v) if type(v) is tuple else v for k, v in params.items() if v is not None}
    assert {key: written[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format = 1\n[quantize\n", ["line 2"]),
        ("\n\nbits = ", ["line 3"]),
        ("format = 2", ["line 1", "format is 2"]),
        ("format = 1\n\n[quantise]\nbits = 4", ["line 3", "quantise", "quantize"]),
        ("[prune]\nsparsity = 0.5\n[quantize]\nwidth = 4", ["line 4", "width", "bits"]),
        ("[prune]\nschedule = 3", ["line 2", "schedule"]),
        ("quantize = 4", ["line 1", "must be a table"]),
        ("[ranges]\nfc1 = 3", ["line 1", "ranges"]),
    ],
)
def test_what_is_wrong_and_where(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(qc.FormatError) as error:
        qc.Recipe.load(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_recipe_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(b"format = 1\n# \xff\n")
    with pytest.raises(qc.FormatError, match="line 2: it is not UTF-8"):
        qc.Recipe.load(path)


def test_recipe_in_a_file(tmp_path: Path) -> None:
    recipe = qc.Recipe.from_toml("quantize.bits = 4")
    path = tmp_path / "small.safetensors"
    qc.save(path, recipe.apply(WEIGHTS), recipe=recipe.to_toml())
    assert qc.Recipe.load(path) == qc.Recipe.from_toml(recipe.to_toml())
    qc.save(path, WEIGHTS)
    with pytest.raises(qc.FormatError, match="no recipe"):
        qc.Recipe.load(path)


def test_nothing_to_do() -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        qc.Recipe().apply(WEIGHTS)


def test_network_from_arrays() -> None:
    arrays = {
        "coef_0": np.ones((3, 2)),
        "coef_1": np.ones((2, 4)),
        "b0": np.zeros(2),
        "b1": np.ones(4),
    }
    recipe = qc.Recipe.from_toml(
        "[network]\nlayout = 'in_out'\n[quantize]\nactivations = 'dynamic'"
    )
    small = recipe.apply(arrays)
    assert [layer.weight.shape for layer in small.layers] == [(2, 3), (4, 2)]
    assert [layer.activation for layer in small.layers] == ["relu", "softmax"]
    assert small.layers[1].bias.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"w": np.ones((2, 2, 2))}, "w is float64 of shape"),
        ({"w": np.ones((2, 2), int)}, "w is int64"),
        ({"w": np.ones((2, 2)), "b": np.ones(2), "c": np.ones(2)}, "1 weights and 2 biases"),
    ],
)
def test_arrays_that_are_no_network(arrays: dict[str, Any], words: str) -> None:
    recipe = qc.Recipe.from_toml("[network]\nlayout = 'in_out'\n[quantize]")
    with pytest.raises(ValueError, match=words):
        recipe.apply(arrays)


def test_ranges_must_be_those_of_the_layers() -> None:
    net = qc.nn.Sequential.from_arrays([np.eye(3)], [None], layout="out_in")
    recipe = qc.Recipe.from_toml("[quantize]\n[ranges.other]\nscale = 0.1")
    with pytest.raises(ValueError, match="other"):
        recipe.apply(net)
    with pytest.raises(ValueError, match="no network"):
        recipe.apply(WEIGHTS)
    recipe = qc.Recipe.from_toml("[quantize]\n[ranges.fc1]\nscale = 0.25\nzero = 3")
    qparams = recipe.apply(net).layers[0].input_qparams
    assert (qparams.scale, qparams.zero_point) == (0.25, 3)
