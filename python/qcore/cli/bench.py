"""``qcore bench``: how fast the kernels are on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from qcore.cli.params import example

__all__ = ["bench"]


@click.command(epilog=example("qcore bench", "qcore bench --threads 1 --json bench.json"))
@click.option(
    "--seconds", type=click.FloatRange(0.01, 60), default=0.3, show_default=True,
    help="How long each case is measured.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads.  [default: as qcore doctor shows]"
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path),
    help="File for every figure and what it was measured on.",
)  # fmt: skip
def bench(seconds: float, threads: int | None, json_path: Path | None) -> None:
    """Time the kernels beside NumPy's float32, and beside what the machine can do at most.

    Needs no peer but NumPy. Best times of many calls, taken in turns; the share is of the rate of
    the dot instruction on registers alone, or of a plain copy of as many bytes, in the same run.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from qcore import _core
    from qcore._environment import environment
    from qcore.bench.cases import cases
    from qcore.bench.measure import Result, measure

    if threads is not None:
        _core.set_num_threads(threads)
    facts = environment()
    found = list(cases())
    errors = Console(stderr=True)
    results: list[Result] = [
        measure(case, seconds) for case in track(found, "measuring", console=errors, transient=True)
    ]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("operation")
    headers = ("size", "µs", "rate", "of peak", "CPU µs", "bytes", "J", "float32 µs", "speed")
    for header in headers:
        table.add_column(header, justify="right")
    for result in results:
        table.add_row(*_cells(result))
    Console().print(table)
    click.echo(
        f"measured on {facts['cpu']}, {facts['isa']}, threads: {facts['threads']}; "
        f"float32 is NumPy on {facts['blas']}"
    )
    if results[0].joules is None:
        click.echo("joules cannot be read on this machine")
    if json_path is not None:
        report = {"environment": facts, "results": [asdict(result) for result in results]}
        json_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _cells(result: object) -> list[str]:
    from qcore.bench.measure import Result

    assert isinstance(result, Result)
    moves = result.rate * result.seconds == result.nbytes
    unit = "GB/s" if moves else "GOPS"
    return [
        result.name,
        result.size,
        _micros(result.seconds),
        f"{result.rate / 1e9:.1f} {unit}",
        f"{result.rate / result.peak:.0%}" if result.peak else "–",
        _micros(result.cpu_seconds),
        f"{result.nbytes:,.0f}",
        "–" if result.joules is None else f"{result.joules:.2g}",
        _micros(result.plain_seconds),
        f"{result.plain_seconds / result.seconds:.2f}×",
    ]


def _micros(seconds: float) -> str:
    micros = seconds * 1e6
    return f"{micros:,.0f}" if micros >= 100 else f"{micros:.2f}"
