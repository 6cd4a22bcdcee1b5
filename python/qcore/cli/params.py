"""What commands take: files that are there, places where one may be written, shared options."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "InputFile", "ModelFile", "OutputFile", "OutputFolder", "bytes_of", "command_line", "example",
    "files_of", "json_option", "limit_options", "limits", "refuse_same_file", "report_options",
    "save_option",
]  # fmt: skip

_LIMITS = "qcore.limits"

Command = TypeVar("Command", bound=Callable[..., Any])

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def _kind(path: Path) -> str | None:
    """Return what a path is, where it is there and no file."""
    mode = path.stat().st_mode
    return next((name for test, name in _KINDS if test(mode)), None)


def _or(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


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


class ModelFile(InputFile):
    """A file with a model, or a checkpoint in several: a folder, or a pattern of names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, checked."""
        path = Path(value)
        if path.is_dir():
            if any(path.glob("*.safetensors*")) or any(path.glob("*.npy")):
                return path
            self.fail(f"'{value}' is a folder without .safetensors or .npy files", param, ctx)
        if any(letter in path.name for letter in "*?[") and any(path.parent.glob(path.name)):
            return path
        return super().convert(value, param, ctx)


class OutputFile(click.ParamType):  # type: ignore[type-arg]
    """A place for a file: its folder is there, and what is there already is a file."""

    name = "file"

    def __init__(self, *suffixes: str) -> None:
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, checked."""
        path = Path(value)
        if self.suffixes and not path.name.endswith(self.suffixes):
            self.fail(f"'{value}' must end in {_or(self.suffixes)}", param, ctx)
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


class OutputFolder(click.ParamType):  # type: ignore[type-arg]
    """A folder that is there, or a place for one."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, checked."""
        path = Path(value)
        if path.exists() and not path.is_dir():
            self.fail(f"'{value}' is not a folder", param, ctx)
        if not path.resolve().parent.is_dir():
            self.fail(f"'{value}' is in a folder that is not there", param, ctx)
        return path


def limit_options(command: Command) -> Command:
    """Add what a file may ask for: ``--max-bytes``, ``--max-tensors`` and ``--max-name-bytes``."""

    def keep(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
        ctx.meta.setdefault(_LIMITS, {})[param.name] = value

    for name, text in (
        ("--max-name-bytes", "Refuse a file with longer names of tensors.  [default: 4096]"),
        ("--max-tensors", "Refuse a file with more tensors.  [default: 200000]"),
        (
            "--max-bytes",
            "Refuse a file whose tensors take more.  [default: 64 times its own, or 256 MiB]",
        ),
    ):
        option = click.option(
            name, type=click.IntRange(min=0), metavar="N", help=text, callback=keep,
            expose_value=False,
        )  # fmt: skip
        command = option(command)
    return command


def limits() -> dict[str, int | None]:
    """Return what the command that runs was given by `limit_options`, by name."""
    ctx = click.get_current_context(silent=True)
    found: dict[str, int | None] = {} if ctx is None else ctx.meta.get(_LIMITS, {})
    return found


def report_options(command: Command) -> Command:
    """Add ``--report`` and ``--figures``."""
    for option in (
        click.option(
            "--figures", type=OutputFolder(), help="Write the page's figures as PNG to this folder."
        ),
        click.option(
            "--report", type=OutputFile(".html"),
            help="Write a page that shows what was saved and what it cost.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def refuse_same_file(output: Path | None, name: str, *inputs: Path | None) -> None:
    """Raise a usage error where an output is one of the inputs."""
    if output is None or not output.exists():
        return
    for path in inputs:
        if path is not None and any(output.samefile(file) for file in files_of(path)):
            raise click.UsageError(f"{name} is '{output}', which is read; name another file")


def files_of(path: Path) -> list[Path]:
    """Return the files that a path stands for: itself and its data, or a checkpoint's files."""
    from qcore.files.sharded.shards import shard_paths

    found = shard_paths(path)
    if found is None and path.suffix == ".onnx":
        from qcore.frameworks.onnx.model.constants import data_files
        from qcore.frameworks.onnx.read.load import load_model

        return [path, *data_files(load_model(path), path)]
    if found is None:
        return [path]
    return found or sorted(path.glob("*.npy"))


def bytes_of(path: Path) -> int:
    """Return the bytes of the files that a path stands for."""
    return sum(file.stat().st_size for file in files_of(path))


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
    return option(command)


def save_option(command: Command) -> Command:
    """Add ``--save``."""
    option = click.option(
        "--save", type=OutputFile(".json"),
        help="Write every figure, and what it was measured on, to this file as JSON, too.",
    )  # fmt: skip
    return option(command)


def example(*lines: str) -> str:
    """Return the end of a help text: what to type."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def command_line() -> str:
    """Return the command that was typed, to be typed again."""
    return shlex.join(["qcore", *sys.argv[1:]])
