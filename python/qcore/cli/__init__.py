"""The ``qcore`` command: one file for each subcommand.

A subcommand is imported when it is called, and imports what it needs when it runs, so that
``qcore --version`` starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from qcore.cli.errors import errors_in_one_line

__all__ = ["main"]

# Each subcommand's file, with what it does; a new one is a line here.
_SUBCOMMANDS = {
    "demo": "Train a digit network, compress it in every way, show what each costs.",
    "compress": "Make a model small: quantize, prune, cluster.",
    "inspect": "Show what is in a file.",
    "compare": "Show what a small model lost.",
    "run": "Give a network arrays, and write what it makes of them.",
    "calibrate": "Find the ranges of a network's activations.",
    "bench": "Time the kernels beside NumPy's float32 and the machine's limit.",
    "doctor": "Show the CPU, its instruction sets, and which kernels run on them.",
    "completion": "Print what a shell needs to complete qcore's words.",
}


class _Commands(click.Group):
    """A group whose subcommands are imported by name, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their table."""
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a subcommand."""
        if name not in _SUBCOMMANDS:
            return None
        command: click.Command = getattr(import_module(f"qcore.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUBCOMMANDS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options that stand before the subcommand."""
        with errors_in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        with errors_in_one_line():
            from qcore.cli.interrupt import run_interruptibly

            return run_interruptibly(lambda: super(_Commands, self).invoke(ctx))


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
    """Make trained networks small and fast on CPUs, and prove what it cost.

    \b
    A model, smaller, and a report that shows what it cost:
      qcore compress model.safetensors -o small.safetensors --report report.html
      qcore compare model.safetensors small.safetensors
    """  # noqa: D301 - click asks for the backspace
