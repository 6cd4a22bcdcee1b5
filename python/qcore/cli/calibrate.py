"""``qcore calibrate``: the ranges of a network's activations, once, for every compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qcore.cli.params import InputFile, OutputFile, example, json_option, refuse_same_file

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
@click.option("--observer", default="minmax", show_default=True, help="How ranges are found.")
@json_option
def calibrate(network: Path, data: Path, output: Path | None, observer: str, as_json: bool) -> None:
    """Run NETWORK on samples and find the range of each layer's input."""
    import json

    from qcore.cli.models import load_model, load_samples
    from qcore.cli.tables import print_json, print_table
    from qcore.files.drafts import write_text
    from qcore.files.network import encode_input
    from qcore.quantization.quantizer import Quantizer

    refuse_same_file(output, "-o", network, data)
    samples = load_samples(data, None)
    net = load_model(network)
    if not hasattr(net, "layers"):
        raise ValueError(f"'{network}' is no network; only networks have activations")
    quantizer = Quantizer(observer=observer, activations="static").fit(net, samples.X)
    layers: dict[str, Any] = {
        name: encode_input(params) if hasattr(params, "scale") else params  # type: ignore[arg-type]
        for name, params in quantizer.input_qparams_.items()
    }
    found = {"format": 1, "observer": observer, "samples": len(samples.X), "layers": layers}  # type: ignore[arg-type]
    if output is not None:
        write_text(output, json.dumps(found, indent=1, allow_nan=False) + "\n")
    if as_json:
        print_json(found)
        return
    rows = [{"layer": name} | layer for name, layer in layers.items()]
    print_table(
        (
            ("layer", lambda row: row["layer"]),
            ("scale", lambda row: f"{row['scale']:.6g}"),
            ("zero point", lambda row: str(row.get("zero", 0))),
        ),
        rows,
    )
    if output is not None:
        click.echo(f"\n{output}: for qcore compress {network} --ranges {output}")
