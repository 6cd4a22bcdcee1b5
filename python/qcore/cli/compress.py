"""``qcore compress``: a model in, a smaller one out."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import click

from qcore.cli.compressing.recipe_flags import SECTIONS, recipe_options
from qcore.cli.models import data_options
from qcore.cli.params import (
    InputFile,
    ModelFile,
    OutputFile,
    command_line,
    example,
    json_option,
    limit_options,
    refuse_same_file,
    report_options,
)
from qcore.cli.sections import SectionedCommand
from qcore.files.formats import WRITTEN

__all__ = ["compress"]

_MODELS = (".safetensors", ".onnx", ".gguf", ".safetensors.index.json")


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    epilog=example(
        "qcore compress model.safetensors -o small.safetensors",
        "qcore compress model.safetensors -o small.safetensors --bits 4 --group-size 64",
        "qcore compress mlp.npz --layout in_out -o small.safetensors --data X.npy \\",
        "    --labels y.npy --report report.html",
        "qcore compress other.safetensors -o other-small.safetensors --recipe small.safetensors",
        "qcore compress model.onnx -o small.onnx",
        "qcore compress model.safetensors -o fewer-bytes.safetensors --lossless",
        "qcore compress model.gguf -o model.safetensors --dequantize float16",
        "qcore compress model.safetensors -o model.gguf --gguf-type Q4_K \\",
        "    --gguf-type 'output*=Q6_K'",
    ),
)
@click.argument("model", type=ModelFile())
@click.option(
    "-o", "--output", type=OutputFile(*_MODELS),
    help="The file to write: .safetensors, .onnx or .gguf; .safetensors.index.json for several.",
)  # fmt: skip
@click.option(
    "--file-format", type=click.Choice(WRITTEN),
    help="Of the file; compressed-tensors is what vLLM and others load.  [default: by its name]",
)  # fmt: skip
@click.option(
    "--dequantize", type=click.Choice(["float32", "float16", "bfloat16", "stored"]),
    help="Write floats: decode what is quantized in MODEL, and compress nothing; 'stored' undoes "
    "--lossless alone.",
)  # fmt: skip
@click.option(
    "--gguf-type", "gguf_types", multiple=True, metavar="TYPE|PATTERN=TYPE",
    help="Write GGUF with matrices in blocks of a type (Q4_K, Q6_K, IQ4_XS); several by pattern.",
)  # fmt: skip
@click.option(
    "--lossless", is_flag=True,
    help="Quantize nothing: store floats in fewer bytes, every bit kept.",
)  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Do the work on a Dask cluster, or 'local'.")
@limit_options
@recipe_options
@click.option(
    "--recipe", "recipe_path", type=InputFile(),
    help="What to do, in place of the flags above: a .toml file, or a file that qcore made, which "
    "has its recipe in it.",
)  # fmt: skip
@click.option("--save-recipe", type=OutputFile(".toml"), help="Write the recipe here, too.")
@data_options
@click.option("--ranges", type=InputFile(), help="Ranges of activations, from qcore calibrate.")
@report_options
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
def compress(
    model: Path,
    output: Path | None,
    file_format: str | None,
    dequantize: str | None,
    gguf_types: tuple[str, ...],
    lossless: bool,
    dask: str | None,
    recipe_path: Path | None,
    save_recipe: Path | None,
    data: Path | None,
    labels: Path | None,
    ranges: Path | None,
    report: Path | None,
    figures: Path | None,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Make MODEL small: quantize, prune, cluster.

    MODEL is a network or named arrays: .safetensors, .npz, .npy, .gguf, .onnx, or a folder.
    Floats of two or more dimensions are quantized, to 8 bits unless the flags say otherwise; the
    rest is copied. With --data a network is run before and after, with --labels it is scored.
    From .onnx to .onnx, the weights of any graph are quantized in place.
    """
    from qcore.cli.compressing.job import Job
    from qcore.cli.compressing.outcome import show_outcome, show_plan
    from qcore.cli.compressing.planning import plan_job
    from qcore.cli.compressing.running import run_job

    if output is None and not dry_run:
        raise click.UsageError("-o is missing: it names the file to write")
    for path, name in ((output, "-o"), (report, "--report"), (save_recipe, "--save-recipe")):
        refuse_same_file(path, name, model, data, labels, ranges, recipe_path)
    if (report or figures) and not dry_run:
        from qcore.report.page.renderer import prepare_script

        prepare_script()
    start = perf_counter()
    if dequantize is not None or gguf_types or lossless:
        from qcore.cli.compressing.converting import convert

        others: dict[str, Any]
        others = {"--recipe": recipe_path, "--data": data, "--ranges": ranges, "--dask": dask}
        others |= {"--report": report, "--save-recipe": save_recipe, "--dry-run": dry_run or None}
        convert(
            model, output, dequantize, gguf_types, flags, others,
            lossless=lossless, file_format=file_format, as_json=as_json,
        )  # fmt: skip
        return
    job = Job.prepare(
        model, output, flags, recipe_path, data, labels, ranges,
        file_format=file_format, dask=dask,
    )  # fmt: skip
    if dry_run:
        show_plan(plan_job(job), as_json=as_json)
        return
    outcome = run_job(job, start)
    if save_recipe is not None:
        from qcore.files.drafts import write_text

        write_text(save_recipe, job.recipe.to_toml())
    if report or figures:
        from qcore.cli.compressing.comparing import save_report

        save_report(outcome.comparison(command_line()), report, figures)
    show_outcome(outcome, report, as_json=as_json)
