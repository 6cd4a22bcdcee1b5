"""``qcore compress`` with ``--dequantize``, ``--gguf-type`` or ``--lossless``: stored otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from qcore.cli.compressing.recipe_flags import given_flags
from qcore.cli.params import bytes_of
from qcore.cli.tables import bytes_text, count_text, print_json
from qcore.streaming.decompress import decompress
from qcore.streaming.gguf_types import WRITTEN_TYPES, encode_gguf_file
from qcore.streaming.lossless import compress_lossless

__all__ = ["convert"]

#: Tensors of which it is said why they are not as they were asked for.
_SHOWN = 20


def convert(
    model: Path,
    output: Path | None,
    dtype: str | None,
    types: Sequence[str],
    flags: Mapping[str, Any],
    others: Mapping[str, Any],
    *,
    lossless: bool,
    file_format: str | None,
    as_json: bool,
) -> None:
    """Convert a model into a file, and say what it weighs."""
    ways = {"--dequantize": dtype is not None, "--gguf-type": bool(types), "--lossless": lossless}
    asked, *more = (name for name, wanted in ways.items() if wanted)
    flags = dict(flags)
    ignore = flags.pop("ignore", None) if asked == "--gguf-type" else None
    given = more + given_flags(flags)
    given += [name for name, value in others.items() if value is not None]
    if lossless and file_format not in (None, "qcore"):
        given.append(f"--file-format {file_format}")
    if given:
        raise click.UsageError(f"{given[0]} and {asked} exclude each other")
    if output is None:
        raise click.UsageError("-o is missing: it names the file to write")
    start = perf_counter()
    if lossless:
        done = compress_lossless(model, output)
        what = "coded floats"
    elif dtype is not None:
        done = decompress(model, output, dtype, file_format=file_format)
        what = dtype
    else:
        chosen = _by_pattern(types)
        patterns = tuple(ignore) if ignore else ("*bias",)
        done = encode_gguf_file(model, output, chosen, ignore=patterns)
        what = ", ".join(dict.fromkeys(chosen.values()))
    seconds, before = perf_counter() - start, bytes_of(model)
    if as_json:
        print_json(
            {
                "format": 1, "input": str(model), "output": str(output), "input_bytes": before,
                "output_bytes": done.nbytes, "ratio": before / done.nbytes, "seconds": seconds,
                **done.report_.to_dict(),
            }
        )  # fmt: skip
        return
    count = len(done.report_.rows)
    was = "as it was" if count == 1 else "as they were"
    click.echo(
        f"{output}: {bytes_text(before)} → {bytes_text(done.nbytes)}, "
        f"{count_text(count, 'tensors')} as {what} or {was}, in {seconds:.1f} s"
    )
    kept = [row for row in done.report_.rows if row.get("kept")]
    for row in kept[:_SHOWN]:
        click.echo(f"  {row['tensor']}: {row['kept']}")
    if len(kept) > _SHOWN:
        click.echo(f"  and {len(kept) - _SHOWN} more")


def _by_pattern(types: Sequence[str]) -> dict[str, str]:
    """Return the types by pattern, those with one first, in their order."""
    found: dict[str, str] = {}
    rest: dict[str, str] = {}
    for text in types:
        pattern, equals, kind = text.rpartition("=")
        if kind not in WRITTEN_TYPES:
            raise click.UsageError(f"--gguf-type {kind} is none of {', '.join(WRITTEN_TYPES)}")
        (found if equals else rest)[pattern if equals else "*"] = kind
    return found | rest
