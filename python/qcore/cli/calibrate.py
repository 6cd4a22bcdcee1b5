"""``qcore calibrate``: the ranges of a network's activations, once, for every compression."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcore.arrays.params.ranges import OBSERVERS
from qcore.cli.params import InputFile, OutputFile, example, json_option, refuse_same_file

if TYPE_CHECKING:
    from qcore.cli.tables import Column

__all__ = ["calibrate"]


@click.command(
    epilog=example(
        "qcore calibrate net.safetensors --data X.npy -o ranges.json",
        "qcore compress net.safetensors -o small.safetensors --ranges ranges.json",
    )
)
@click.argument("network", type=InputFile())
@click.option("--data", type=InputFile(), required=True, help="Samples, as .npy; no labels needed.")
@click.option("-o", "--output", type=OutputFile(".json"), help="The file to write.")
@click.option(
    "--observer", type=click.Choice(list(OBSERVERS)), default="minmax", show_default=True,
    help="How ranges are found.",
)  # fmt: skip
@click.option(
    "--percentile",
    type=click.FloatRange(50, 100),
    help="Of the observer of that name.  [default: 99.99]",
)
@click.option("--dask", metavar="ADDRESS", help="Do the work on a Dask cluster, or 'local'.")
@json_option
def calibrate(
    network: Path,
    data: Path,
    output: Path | None,
    observer: str,
    percentile: float | None,
    dask: str | None,
    as_json: bool,
) -> None:
    """Run NETWORK on samples and find the range of each layer's input."""
    import json

    from qcore.cli.tables import print_json, print_table
    from qcore.files.drafts import write_text

    refuse_same_file(output, "-o", network, data)
    found = _ranges(network, data, observer, percentile, dask)
    if output is not None:
        write_text(output, json.dumps(found, indent=1, allow_nan=False) + "\n")
    if as_json:
        print_json(found)
        return
    columns: tuple[Column, ...] = (
        ("layer", lambda row: row["layer"]),
        ("scale", lambda row: f"{row['scale']:.6g}"),
        ("zero point", lambda row: str(row.get("zero", 0))),
    )
    print_table(columns, [{"layer": name} | layer for name, layer in found["layers"].items()])
    if output is not None:
        click.echo(f"\n{output}: for qcore compress {network} --ranges {output}")


def _ranges(
    network: Path, data: Path, observer: str, percentile: float | None, dask: str | None
) -> dict[str, Any]:
    """Return what the file holds: the integer input of each layer."""
    from qcore.saving.network import encode_input
    from qcore.streaming.calibrate import observe_layers, samples_in

    options: dict[str, Any] = {} if percentile is None else {"percentile": percentile}
    seen = observe_layers(network, data, observer=observer, dask=dask, **options)
    layers = {
        name: encode_input(found.qparams(signed=False, symmetric=False))
        for name, found in seen.items()
    }
    return {"format": 1, "observer": observer, "samples": samples_in(data), "layers": layers}
