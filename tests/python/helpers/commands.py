"""Calling the qcore command, and checking how it fails."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from qcore.cli import main

__all__ = ["call", "check_one_line"]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def check_one_line(result: Result, status: int, *words: str) -> None:
    """Check that a call ended with this status and one line that has these words."""
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
