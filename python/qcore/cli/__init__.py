"""The ``qcore`` command: one file for each subcommand.

Subcommands import what they need when they run, so that ``qcore --version`` starts at once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from qcore.cli.demo import demo
from qcore.cli.doctor import doctor

__all__ = ["main"]


class _Commands(click.Group):
    """A group that says what went wrong in one line: status 2 for a wrong call, 1 for a failure."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options that stand before the subcommand."""
        with _errors_in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        with _errors_in_one_line():
            return super().invoke(ctx)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "qcore"
        line = f"{error.format_message().rstrip('.')}; see {command} --help"
        raise click.UsageError(line) from error
    except (ImportError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EPIPE:
            raise  # the reader of a pipe left: click ends quietly
        raise click.ClickException(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = f": '{error.filename}'" if error.filename is not None else ""
        return error.strerror + named
    return " ".join(str(error).split())


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from qcore._core import __version__

        click.echo(f"qcore {__version__}")
        ctx.exit()


@click.group(cls=_Commands, name="qcore", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
def main() -> None:
    """Make trained networks small and fast on CPUs, and prove what it cost."""


main.add_command(demo)
main.add_command(doctor)
