"""``qcore run``: what a network gives for arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qcore.cli.params import InputFile, ModelFile, OutputFile, example

__all__ = ["run"]


@click.command(
    epilog=example(
        "qcore run small.safetensors --input x.npy --output y.npy",
        "qcore run all-MiniLM-L6-v2 --input tokens.npz --output embeddings.npz",
        "qcore run model.onnx --input image=x.npy --input rate=rate.npy --output y.npz",
    )
)
@click.argument("model", type=ModelFile())
@click.option(
    "--input", "given", multiple=True, required=True, metavar="[NAME=]FILE",
    help="An input as .npy, by name where there are several; or all of them as .npz.",
)  # fmt: skip
@click.option(
    "--output",
    required=True,
    type=OutputFile(".npz", ".npy"),
    help="The file to write: .npz, or .npy for one.",
)
def run(model: Path, given: tuple[str, ...], output: Path) -> None:
    """Run MODEL on arrays, and write what it gives.

    MODEL is a network in any format that loads: .safetensors, .onnx, .tflite, or a folder with the
    config.json and the weights of an encoder.
    """
    from io import BytesIO

    import numpy as np

    from qcore.files.drafts import write_bytes
    from qcore.loading import load

    net = load(model)
    if not hasattr(net, "run"):
        raise click.UsageError(f"MODEL '{model}' holds tensors, no network")
    found = net.run(_arrays(given, [value.name for value in net.inputs]))
    if output.suffix == ".npy" and len(found) != 1:
        names = ", ".join(found)
        raise click.UsageError(f"--output: MODEL gives {names}, which a .npz file holds")
    data = BytesIO()
    if output.suffix == ".npy":
        np.save(data, next(iter(found.values())))
    else:
        np.savez(data, **found)
    write_bytes(output, data.getvalue())
    for name, array in found.items():
        click.echo(f"{name}: {array.dtype} {'x'.join(map(str, array.shape)) or 'scalar'}")


def _arrays(given: tuple[str, ...], names: list[str]) -> dict[str, Any]:
    """Return arrays by the names of inputs."""
    from qcore.loading import load_tensors

    found: dict[str, Any] = {}
    for text in given:
        name, mark, path = text.partition("=")
        place = InputFile().convert(path if mark else text, None, None)
        arrays = load_tensors(place)
        if place.suffix == ".npz" and not mark:
            found |= arrays
            continue
        if len(arrays) != 1:
            raise click.UsageError(f"--input {text!r} has {len(arrays)} arrays; name one of .npy")
        if not mark and len(names) != 1:
            raise click.UsageError(
                f"--input {text!r} has no name; MODEL takes {', '.join(names)}: NAME=FILE"
            )
        found[name if mark else names[0]] = next(iter(arrays.values()))
    return found
