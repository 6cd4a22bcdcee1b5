"""The package's front: every public name is there, and costs nothing before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import qcore as qc


@pytest.mark.parametrize("name", qc.__all__)
def test_public_names(name: str) -> None:
    assert getattr(qc, name) is getattr(qc, name)
    assert name in dir(qc)


def test_public_names_are_sorted_and_complete() -> None:
    assert sorted(qc.__all__) == sorted(qc._HOMES)
    assert len(set(qc.__all__)) == len(qc.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'qcore' has no attribute 'quantise'"):
        qc.quantise  # type: ignore[attr-defined]  # noqa: B018


def test_import_is_light() -> None:
    heavy = "('numpy', 'rich', 'sklearn')"
    code = f"import sys, qcore.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
