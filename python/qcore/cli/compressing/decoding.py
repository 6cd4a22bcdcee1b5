"""``qcore compress --dequantize``: what is quantized becomes floats again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from qcore.cli.compressing.recipe_flags import given_flags
from qcore.cli.params import bytes_of
from qcore.cli.tables import bytes_text, print_json
from qcore.streaming.decompress import decompress

__all__ = ["decode"]


def decode(
    model: Path,
    output: Path | None,
    dtype: str,
    flags: Mapping[str, Any],
    others: Mapping[str, Any],
    *,
    file_format: str | None,
    as_json: bool,
) -> None:
    """Decode a model into a file, and say what it weighs."""
    given = given_flags(flags) + [name for name, value in others.items() if value is not None]
    if given:
        raise click.UsageError(f"{given[0]} and --dequantize exclude each other")
    if output is None:
        raise click.UsageError("-o is missing: it names the file to write")
    start = perf_counter()
    done = decompress(model, output, dtype, file_format=file_format)
    before = bytes_of(model)
    seconds = perf_counter() - start
    if as_json:
        print_json(
            {
                "format": 1, "input": str(model), "output": str(output), "input_bytes": before,
                "output_bytes": done.nbytes, "ratio": before / done.nbytes, "seconds": seconds,
                **done.report_.to_dict(),
            }
        )  # fmt: skip
        return
    click.echo(
        f"{output}: {bytes_text(before)} → {bytes_text(done.nbytes)}, {len(done.report_.rows)} "
        f"tensors as {dtype} or as they were, in {seconds:.1f} s"
    )
