"""``qcore doctor``: what this machine offers and what qcore makes of it."""

from __future__ import annotations

import click

__all__ = ["doctor"]

_LABELS = {
    "qcore": "qcore",
    "build": "build",
    "python": "Python",
    "numpy": "NumPy",
    "blas": "NumPy's BLAS",
    "system": "system",
    "cpu": "CPU",
    "cpus": "usable CPUs",
    "threads": "threads",
    "isas": "instruction sets",
    "isa": "in force",
}


@click.command()
def doctor() -> None:
    """Show the CPU, its instruction sets, and the one in force."""
    from qcore._environment import environment

    facts = environment()
    width = max(map(len, _LABELS.values()))
    for key, label in _LABELS.items():
        value = facts[key]  # type: ignore[literal-required]
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{label:<{width}}  {text}")
    if facts["build"] != "release":
        click.echo("this is a debug build: nothing measured with it counts", err=True)
