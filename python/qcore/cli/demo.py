"""``qcore demo``: the digit experiment, start to finish."""

from __future__ import annotations

from pathlib import Path

import click

from qcore.cli.params import (
    OutputFile,
    OutputFolder,
    command_line,
    example,
    json_option,
    save_option,
)

__all__ = ["demo"]


def _seeds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Return the seeds: 0 to N - 1, or those between commas; none where it was not said."""
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter(f"'{text}' is neither a count nor a list such as 0,1,2")
    numbers = tuple(map(int, parts))
    if max(numbers) >= 2**32:
        raise click.BadParameter(f"'{text}' has a seed above 2**32 - 1")
    if "," in text:
        if len(set(numbers)) < len(numbers):
            raise click.BadParameter(f"'{text}' names a seed twice")
        return numbers
    if not 1 <= numbers[0] <= 1000:
        raise click.BadParameter(f"{text} is not in the range 1 to 1000")
    return tuple(range(numbers[0]))


@click.command(
    epilog=example(
        "qcore demo",
        "qcore demo --data MNIST_FOLDER --seeds 5 --report report.html --out models",
    )
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with MNIST's four idx files, gzipped or not. "
    "Without it: scikit-learn's load_digits, which needs no download.",
)
@click.option("--out", type=OutputFolder(), help="Folder for the models, as .safetensors.")
@click.option(
    "--report",
    type=OutputFile(".html"),
    help="Write a page: accuracy against size and speed, histograms, the confusion matrix.",
)
@click.option(
    "--seeds", callback=_seeds, metavar="N|LIST",
    help="How many seeds, counted from 0, or which: 0,3,7. Several give mean ± spread. Of the "
    "bundled digits each seed judges another fifth.  [default: 1; 5 for the bundled digits]",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(1, 1000),
    help="Passes over the training images, in each training.  [default: 10; 50 for the bundled "
    "digits, which are few]",
)  # fmt: skip
@click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", show_default=True,
    help="What is scored. validation: the last 10 % of the training images, which are then not "
    "trained on; the test labels stay unread. Recipes are chosen this way.",
)  # fmt: skip
@save_option
@json_option
def demo(
    data: Path | None,
    out: Path | None,
    report: Path | None,
    seeds: tuple[int, ...],
    epochs: int | None,
    split: str,
    save: Path | None,
    as_json: bool,
) -> None:
    """Train a digit network, compress it in every way, and show what each way costs.

    Every row is saved, loaded back and then scored and timed on the kernels that it is made for.
    """
    from qcore.cli.tables import print_json
    from qcore.demo.data import FOLDS
    from qcore.demo.run import Options, run
    from qcore.demo.table import print_report

    if report is not None:
        from qcore.report.page.renderer import prepare_script

        prepare_script()
    folds = FOLDS if data is None and split == "test" else 1
    found = run(
        Options(
            data=data, out=out, save=save, page=report, command=command_line(),
            seeds=seeds or tuple(range(folds)),
            epochs=epochs, split=split,
        )
    )  # fmt: skip
    if as_json:
        print_json(found)
    else:
        print_report(found)
