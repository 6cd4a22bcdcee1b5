"""``qcore completion``: what a shell needs to complete the command's words."""

from __future__ import annotations

import click

from qcore.cli.params import example

__all__ = ["completion"]


@click.command(
    epilog=example(
        "echo 'eval \"$(qcore completion bash)\"' >> ~/.bashrc",
        "echo 'eval \"$(qcore completion zsh)\"' >> ~/.zshrc",
        "qcore completion fish > ~/.config/fish/completions/qcore.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL needs to complete qcore's commands, options and files."""
    from click.shell_completion import get_completion_class

    from qcore.cli import main

    complete = get_completion_class(shell)
    assert complete is not None, "click knows these shells"
    click.echo(complete(main, {}, "qcore", "_QCORE_COMPLETE").source())
