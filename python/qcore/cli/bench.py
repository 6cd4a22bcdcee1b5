"""``qcore bench``: how fast the kernels are on this machine, or a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcore.cli.params import example, json_option, save_option

if TYPE_CHECKING:
    from qcore.bench.measure import Result
    from qcore.chain.chain import Chain
    from qcore.graph.graph import BaseGraph

__all__ = ["bench"]


@click.command(
    epilog=example(
        "qcore bench",
        "qcore bench --threads 1 --save bench.json",
        "qcore bench model.onnx",
        "qcore bench model.onnx --nodes",
    )
)
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--seconds", type=click.FloatRange(0.01, 60), default=0.3, show_default=True,
    help="How long each case is measured.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads.  [default: as qcore doctor shows]"
)
@click.option("--nodes", is_flag=True, help="Time each node of MODEL, instead of the whole.")
@save_option
@json_option
def bench(
    model: Path | None,
    seconds: float,
    threads: int | None,
    nodes: bool,
    save: Path | None,
    as_json: bool,
) -> None:
    """Time the kernels beside NumPy's float32, and beside what the machine can do at most.

    With MODEL, a network in any format that loads: how long one run of a single sample takes, by
    percentile, beside ONNX Runtime, OpenVINO and LiteRT where they are installed and read it. All
    take turns, on one thread unless --threads says otherwise. With --nodes: what each node takes,
    and how many operations a nanosecond its kernel does.

    Needs no peer but NumPy. Best times of many calls, taken in turns; the share is of the rate of
    the dot instruction on registers alone, or of a plain copy of as many bytes, in the same run.
    """
    from dataclasses import asdict

    from qcore import _core
    from qcore._display.progress import EpochProgress
    from qcore._runtime.environment import environment
    from qcore.bench.cases import cases
    from qcore.bench.measure import measure

    if model is None and nodes:
        raise click.UsageError("--nodes needs a MODEL")
    if model is not None and nodes:
        _time_nodes(model, seconds, threads or 1, save, as_json=as_json)
        return
    if model is not None:
        _time_model(model, seconds, threads or 1, save, as_json=as_json)
        return
    if threads is not None:
        _core.set_num_threads(threads)
    facts = environment()
    found = list(cases())
    results: list[Result] = []
    with EpochProgress("auto", len(found), "measuring") as shown:
        for done, case in enumerate(found):
            shown.update(done, f"{case.name}, {case.size}")
            results.append(measure(case, seconds))
    report = {
        "format": 1, "environment": facts, "results": [asdict(result) for result in results],
    }  # fmt: skip
    if not _told(report, save, as_json=as_json):
        _show(results, facts)


def _network(path: Path) -> BaseGraph | Chain:
    from qcore.chain.chain import Chain
    from qcore.graph.graph import BaseGraph
    from qcore.loading import load

    net = load(path)
    if not isinstance(net, BaseGraph | Chain):
        raise click.UsageError(f"MODEL {str(path)!r} is no network, but {type(net).__name__}")
    return net


def _told(report: dict[str, Any], save: Path | None, *, as_json: bool) -> bool:
    """Save a report where that is asked for; print it if it is asked for, and say whether."""
    from qcore.cli.tables import json_text
    from qcore.files.drafts import write_text

    if save is not None:
        write_text(save, json_text(report) + "\n")
    if as_json:
        click.echo(json_text(report))
    return as_json


def _time_nodes(
    path: Path, seconds: float, threads: int, save: Path | None, *, as_json: bool
) -> None:
    """Time each step of a network, and print or save what it takes."""
    from rich.console import Console
    from rich.table import Table

    from qcore._runtime.environment import environment
    from qcore.bench.model import samples_for, step_times

    net = _network(path)
    steps = step_times(net, samples_for(net), seconds, threads)
    facts = environment()
    report = {
        "format": 1, "environment": facts, "model": str(path), "threads": threads,
        "steps": [step._asdict() for step in steps],
    }  # fmt: skip
    if _told(report, save, as_json=as_json):
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("node", max_width=40, no_wrap=True)
    table.add_column("kernel", no_wrap=True)
    for header, width in (("µs", 9), ("share", 6), ("operations", 13), ("per ns", 6)):
        table.add_column(header, justify="right", no_wrap=True, min_width=width)
    total = sum(step.micros for step in steps) or 1.0
    for step in steps:
        rate = step.work / max(step.micros * 1e3, 1.0)
        cells = (
            f"{step.micros:.2f}",
            f"{step.micros / total:.1%}",
            f"{step.work:,}",
            f"{rate:.1f}",
        )
        table.add_row(step.node, step.kernel, *cells)
    Console().print(table)
    click.echo(
        f"{total:.2f} µs, each step's least; one sample, threads: {threads}, on {facts['cpu']}, "
        f"{facts['isa']}"
    )


def _time_model(
    path: Path, seconds: float, threads: int, save: Path | None, *, as_json: bool
) -> None:
    """Time a network, and print or save what it takes."""
    from rich.console import Console
    from rich.table import Table

    from qcore._runtime.environment import environment
    from qcore.bench.model import contenders, samples_for, times_of

    net = _network(path)
    inputs = samples_for(net)
    facts = environment()
    source = path if path.suffix in (".onnx", ".tflite") else None
    runs = dict(contenders(net, inputs, source=source, threads=threads))
    times = times_of(runs, seconds)
    report = {
        "format": 1, "environment": facts, "model": str(path), "threads": threads,
        "results": {name: one._asdict() for name, one in times.items()},
    }  # fmt: skip
    if _told(report, save, as_json=as_json):
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("runtime")
    for header in ("p50 µs", "p99 µs", "p99.9 µs", "least µs", "runs", "p50 of qcore's"):
        table.add_column(header, justify="right")
    for name, one in times.items():
        micros = [_micros(value / 1e6) for value in one[:4]]
        ratio = f"{one.p50 / times['qcore'].p50:.2f}×"
        table.add_row(name, *micros, f"{one.runs:,}", ratio)
    Console().print(table)
    click.echo(f"one sample, threads: {threads}, on {facts['cpu']}, {facts['isa']}")


def _show(results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Print the table, and what it was measured on."""
    from rich.console import Console
    from rich.table import Table

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


def _cells(result: Result) -> list[str]:
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
