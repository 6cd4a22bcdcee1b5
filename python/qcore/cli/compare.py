"""``qcore compare``: what a small model lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qcore.cli.models import data_options
from qcore.cli.params import (
    ModelFile,
    command_line,
    example,
    json_option,
    refuse_same_file,
    report_options,
)

if TYPE_CHECKING:
    from qcore.cli.compressing.comparing import Compared

__all__ = ["compare"]


@click.command(
    epilog=example(
        "qcore compare model.safetensors small.safetensors",
        "qcore compare net.safetensors small.safetensors --data X.npy --labels y.npy --worst 5",
        "qcore compare net.safetensors int8.safetensors --also int4.safetensors \\",
        "    --data X.npy --labels y.npy --report report.html",
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
@click.option(
    "--also", type=ModelFile(), multiple=True, metavar="FILE",
    help="Another network, to be scored and timed beside A and B: which of them are beaten in "
    "size or speed. May be repeated.",
)  # fmt: skip
@data_options
@report_options
@json_option
def compare(
    a: Path,
    b: Path,
    worst: int,
    also: tuple[Path, ...],
    data: Path | None,
    labels: Path | None,
    report: Path | None,
    figures: Path | None,
    as_json: bool,
) -> None:
    """Show what B lost of A: tensor by tensor and, with --data, in what a network answers.

    Networks are timed beside each other, too. ONNX graphs with ops that qcore does not have are run
    in ONNX Runtime. Of a graph with several inputs, --data is an .npz with an array for each name.
    """
    from qcore.cli.compressing.comparing import compare_models, save_report

    refuse_same_file(report, "--report", a, b, data, labels, *also)
    if report or figures:
        from qcore.report.page.renderer import prepare_script

        prepare_script()
    found = compare_models(a, b, data, labels, also)
    if report or figures:
        save_report(found.comparison(command_line()), report, figures)
    _show(found, worst, report, as_json=as_json)


def _show(found: Compared, worst: int, report: Path | None, *, as_json: bool) -> None:
    """Print the tensors that lost most, and what was lost in all."""
    from qcore.cli.compressing.outcome import (
        COLUMNS,
        SPARE,
        decibel_text,
        outputs_text,
        show_speed,
        show_variants,
        worst_first,
    )
    from qcore.cli.tables import bytes_text, print_json, print_table, smaller_text

    rows = worst_first(found.report.rows)
    shown = rows[: worst or None]
    if as_json:
        page = None if report is None else str(report)
        print_json(found.to_dict() | {"rows": shown, "report": page})
        return
    print_table(COLUMNS, shown, left=4, spare=SPARE)
    if len(shown) < len(rows):
        click.echo(f"… and {len(rows) - len(shown)} more, which lost less")
    before, after = found.sizes
    together = "no tensor is in both"
    if any("SQNR dB" in row for row in rows):
        together = f"all weights together: SQNR {decibel_text(found.report.totals['SQNR dB'])}"
        left = found.report.totals["left out"]
        if left:
            together += f" (without {', '.join(f'{n} {kind}' for kind, n in left.items())})"
    click.echo(
        f"\n{bytes_text(before)} → {bytes_text(after)}, {smaller_text(before, after)}; {together}"
    )
    if found.outputs is not None:
        click.echo(outputs_text(found.outputs))
    if found.note:
        click.echo(f"not run: {found.note}")
    show_speed(found.variants)
    if len(found.variants) > 2:
        click.echo()
        show_variants(found.variants)
    if report is not None:
        click.echo(f"{report}: what it cost, to look at in a browser")
