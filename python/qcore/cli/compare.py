"""``qcore compare``: what a small model lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qcore.cli.models import data_options
from qcore.cli.params import (
    ModelFile,
    bytes_of,
    command_line,
    example,
    json_option,
    refuse_same_file,
    report_options,
)

__all__ = ["compare"]


@click.command(
    epilog=example(
        "qcore compare model.safetensors small.safetensors",
        "qcore compare net.safetensors small.safetensors --data X.npy --labels y.npy --worst 5",
        "qcore compare model.safetensors small.safetensors --report report.html",
    )
)
@click.argument("a", type=ModelFile())
@click.argument("b", type=ModelFile())
@click.option(
    "--worst",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many tensors to show, those first that lost most; 0: all.",
)
@data_options
@report_options
@json_option
def compare(
    a: Path,
    b: Path,
    worst: int,
    data: Path | None,
    labels: Path | None,
    report: Path | None,
    figures: Path | None,
    as_json: bool,
) -> None:
    """Show what B lost of A: tensor by tensor and, with --data, in what a network answers."""
    from qcore.cli.models import like_network, load_model, load_samples, open_model
    from qcore.cli.outcome import COLUMNS, SPARE, decibel_text, outputs_text, worst_first
    from qcore.cli.tables import bytes_text, print_json, print_table, ratio_text
    from qcore.report.tensors import compare_outputs, compare_tensors

    refuse_same_file(report, "--report", a, b, data, labels)
    if report or figures:
        from qcore.report.renderer import prepare_script

        prepare_script()
    samples = load_samples(data, labels)
    outputs = None
    before, after = open_model(a), open_model(b)
    one: Any = before
    if samples.X is not None:
        other = load_model(b)
        one = like_network(load_model(a), b)
        outputs = compare_outputs(one, other, samples.X, samples.y)
    elif getattr(after, "kind", "") == "network" and getattr(before, "kind", "") != "network":
        one = like_network(load_model(a), b)
    found = compare_tensors(one, after, progress="auto")
    sizes = bytes_of(a), bytes_of(b)
    rows = worst_first(found.rows)
    shown = rows[: worst or None]
    if report or figures:
        from qcore.cli.comparing import compare_files, save_report

        comparison = compare_files(
            a, b, found, command_line(), samples=samples, outputs=outputs, before=one
        )
        save_report(comparison, report, figures)
    if as_json:
        print_json(
            {
                "format": 1, "a": str(a), "b": str(b), "a_bytes": sizes[0], "b_bytes": sizes[1],
                "outputs": None if outputs is None else outputs._asdict(),
                "rows": shown, "totals": found.totals,
                "report": None if report is None else str(report),
            }
        )  # fmt: skip
        return
    print_table(COLUMNS, shown, left=4, spare=SPARE)
    if len(shown) < len(rows):
        click.echo(f"… and {len(rows) - len(shown)} more, which lost less")
    click.echo(
        f"\n{bytes_text(sizes[0])} → {bytes_text(sizes[1])}, {ratio_text(*sizes)} smaller; "
        f"all tensors together: SQNR {decibel_text(found.totals['SQNR dB'])} dB"
    )
    if outputs is not None:
        click.echo(outputs_text(outputs))
