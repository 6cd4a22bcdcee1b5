"""``qcore inspect``: what is in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from qcore.cli.params import ModelFile, bytes_of, example, json_option, limit_options

__all__ = ["inspect"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_SPARK = 24


@click.command(
    epilog=example(
        "qcore inspect model.safetensors",
        "qcore inspect small.safetensors --tensor 'fc1*'",
        "qcore inspect huge.safetensors --header --json",
        "qcore inspect huge.safetensors --skip 200 --limit 50",
    )
)
@click.argument("file", type=ModelFile())
@click.option(
    "--tensor",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Show these tensors, each with its histogram; may be repeated.",
)
@click.option("--header", is_flag=True, help="Read the header only: no values, however large.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=200, show_default=True, metavar="N",
    help="Show so many tensors; 0 shows all.",
)  # fmt: skip
@click.option(
    "--skip", type=click.IntRange(min=0), default=0, metavar="N",
    help="Leave out so many before them.",
)  # fmt: skip
@limit_options
@json_option
def inspect(
    file: Path, patterns: tuple[str, ...], header: bool, limit: int, skip: int, as_json: bool
) -> None:
    """Show what is in FILE: tensors, types, schemes, bytes, zeros, and the recipe that made it."""
    from qcore._arguments.names import matches_any
    from qcore.cli.models import open_model
    from qcore.cli.tables import print_json

    source = open_model(file)
    about: Mapping[str, Any] = getattr(source, "about", {})
    names = [name for name in source if not patterns or matches_any(name, patterns)]
    if patterns and not names:
        raise ValueError(f"'{file}' has no tensor that {' or '.join(patterns)} names")
    shown = names[skip:][: limit or None]
    if names and not shown:
        raise click.UsageError(f"--skip is {skip}; there are {len(names)} tensors to show")
    rows = [_row(source, name, header=header) for name in shown]
    facts = {
        "file": str(file),
        "bytes": bytes_of(file),
        "kind": _kind(file, source),
        "tensors": len(source),
        "elements": sum(source.info(name).size for name in names),
        "layers": about.get("layers"),
        "recipe": about.get("recipe"),
        "rows": rows,
        "skipped": skip,
        "left": len(names) - skip - len(shown),
    }
    if as_json:
        print_json({"format": 1, **facts})
        return
    _show(facts, histograms=bool(patterns))


def _kind(file: Path, source: Any) -> str:
    """Return what a file is: of a folder that an encoder is built of, its architecture."""
    from qcore.files.foreign.config import known_config
    from qcore.frameworks.pretrained.folder import is_pretrained_folder

    if is_pretrained_folder(file):
        return f"{known_config(file).get('model_type', '')} encoder".strip()
    return str(getattr(source, "kind", "checkpoint"))


def _row(source: Any, name: str, *, header: bool) -> dict[str, Any]:
    """Return what is known of a tensor."""
    from qcore._display.histograms import histogram, values_in_one_row
    from qcore.arrays.tensor.kinds import codes_of, kind_of

    info = source.info(name)
    row: dict[str, Any] = {
        "tensor": name, "shape": list(info.shape), "elements": info.size, "type": str(info.dtype),
    }  # fmt: skip
    parts = source.stored_parts(name)
    if parts is not None:
        row["bytes"] = sum(part.nbytes for part in parts[0])
        row["stored"] = "sparse" if "at" in parts[1] else "dense"
        if not parts[1]:
            row["type"] = parts[0][0].stored.lower()
        elif "bits" in parts[1]:
            row["type"] = codes_of(parts[1]["bits"], parts[1].get("scheme", "affine"))
    layout = source.layout(name)
    if layout is not None:
        row["type"], row["bytes"] = layout
    if header:
        return row
    import numpy as np

    value = source[name]
    row.setdefault("bytes", int(value.nbytes))
    if not isinstance(value, np.ndarray):
        row["type"] = kind_of(value) if layout is None else f"{layout[0]}: {kind_of(value)}"
    values = values_in_one_row(value)
    if values.size and values.dtype.kind in "fiu":
        row |= {
            "zeros": 1 - int(np.count_nonzero(values)) / values.size,
            "least": float(np.nanmin(values)), "greatest": float(np.nanmax(values)),
            "not finite": int(values.size - np.count_nonzero(np.isfinite(values))),
            "histogram": histogram(values, bins=_SPARK)._asdict(),
        }  # fmt: skip
    return row


def _show(facts: Mapping[str, Any], *, histograms: bool) -> None:
    from qcore.cli.tables import bytes_text, count_text, print_table, share_text

    layers = facts["layers"]
    made = f", {count_text(len(layers), 'layers')}" if layers else ""
    click.echo(
        f"{facts['file']}: {facts['kind']}{made}, {count_text(facts['tensors'], 'tensors')}, "
        f"{bytes_text(facts['bytes'])}\n"
    )
    print_table(
        (
            ("tensor", lambda row: row["tensor"]),
            ("shape", lambda row: "x".join(map(str, row["shape"])) or "scalar"),
            ("type", lambda row: row["type"]),
            ("bytes", lambda row: bytes_text(row["bytes"]) if "bytes" in row else ""),
            ("bits/weight", _bits_text),
            ("zeros", lambda row: share_text(row.get("zeros"))),
            ("least", lambda row: _number_text(row.get("least"))),
            ("greatest", lambda row: _number_text(row.get("greatest"))),
            ("not finite", lambda row: str(row.get("not finite") or "")),
            ("values", lambda row: _spark(row.get("histogram"))),
        ),
        facts["rows"], left=3, spare=("least", "greatest", "bits/weight", "zeros"),
    )  # fmt: skip
    if facts["left"]:
        first, last = facts["skipped"] + 1, facts["skipped"] + len(facts["rows"])
        click.echo(
            f"\ntensors {first:,} to {last:,} of {last + facts['left']:,}; "
            f"--skip {last} shows the next, --limit 0 all, --tensor those of a name"
        )
    if histograms:
        for row in facts["rows"]:
            _show_histogram(row)
    if facts["recipe"]:
        click.echo(f"\nmade by this recipe:\n\n{facts['recipe'].rstrip()}")


def _bits_text(row: Mapping[str, Any]) -> str:
    return (
        f"{8 * row['bytes'] / row['elements']:.2f}" if row.get("bytes") and row["elements"] else ""
    )


def _number_text(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _spark(histogram: Mapping[str, Any] | None) -> str:
    """Return a histogram in a row of blocks; a bin that has any value is seen."""
    if not histogram or not histogram["before"]:
        return ""
    most = max(histogram["before"]) or 1.0
    return "".join(_BLOCKS[min(8, -int(-8 * share // most))] for share in histogram["before"])


def _show_histogram(row: Mapping[str, Any]) -> None:
    found = row.get("histogram")
    if not found or not found["before"]:
        return
    shares = found["before"]
    width = (found["high"] - found["low"]) / len(shares)
    most = max(shares) or 1.0
    click.echo(f"\n{row['tensor']}")
    for index, share in enumerate(shares):
        bar = "█" * round(50 * share / most) or ("▏" if share else "")
        click.echo(f"{found['low'] + index * width:>12.4g}  {bar} {100 * share:.1f} %")
