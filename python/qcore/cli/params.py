"""What commands take: files that are there, places where one may be written, shared options."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["InputFile", "OutputFile", "command_line", "example", "json_option", "refuse_same_file"]

Command = TypeVar("Command", bound=Callable[..., Any])

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def _kind(path: Path) -> str | None:
    """Return what a path is, where it is there and no file."""
    mode = path.stat().st_mode
    return next((name for test, name in _KINDS if test(mode)), None)


class InputFile(click.ParamType):  # type: ignore[type-arg]
    """A file that is there. A pipe is refused before it is opened, which would wait."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, checked."""
        path = Path(value)
        try:
            kind = _kind(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.fail(f"'{value}' cannot be read: {reason}", param, ctx)
        if kind is not None:
            self.fail(f"'{value}' is {kind}, not a file", param, ctx)
        return path


class OutputFile(click.ParamType):  # type: ignore[type-arg]
    """A place for a file: its folder is there, and what is there already is a file."""

    name = "file"

    def __init__(self, *suffixes: str) -> None:
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, checked."""
        path = Path(value)
        if self.suffixes and path.suffix not in self.suffixes:
            self.fail(f"'{value}' must end in {' or '.join(self.suffixes)}", param, ctx)
        try:
            kind = _kind(path) if os.path.lexists(path) and path.exists() else None
            folder_is_there = path.resolve().parent.is_dir()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.fail(f"'{value}' cannot be written: {reason}", param, ctx)
        if kind is not None:
            self.fail(f"'{value}' is {kind}, not a file", param, ctx)
        if not folder_is_there:
            self.fail(f"'{value}' is in a folder that is not there", param, ctx)
        return path


def refuse_same_file(output: Path | None, name: str, *inputs: Path | None) -> None:
    """Raise a usage error where an output is one of the inputs."""
    for path in inputs:
        if output is not None and path is not None and output.exists() and output.samefile(path):
            raise click.UsageError(f"{name} is '{output}', which is read; name another file")


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
    return option(command)


def example(*lines: str) -> str:
    """Return the end of a help text: what to type."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def command_line() -> str:
    """Return the command that was typed, to be typed again."""
    return shlex.join(["qcore", *sys.argv[1:]])
