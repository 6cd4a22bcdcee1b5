"""``qcore doctor``: what this machine offers and what qcore makes of it."""

from __future__ import annotations

import click

from qcore.cli.params import example, json_option

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


@click.command(epilog=example("qcore doctor", "QCORE_ISA=avx2 qcore doctor"))
@json_option
def doctor(as_json: bool) -> None:
    """Show the CPU, its instruction sets, and the one in force."""
    from qcore._environment import environment

    facts = environment()
    if as_json:
        from qcore.cli.tables import print_json

        print_json(facts)
        return
    width = max(map(len, _LABELS.values()))
    for key, label in _LABELS.items():
        value = facts[key]  # type: ignore[literal-required]
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{label:<{width}}  {text}")
    if facts["build"] != "release":
        click.echo("this is a debug build: nothing measured with it counts", err=True)
