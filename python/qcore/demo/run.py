"""The experiment: train, save, load back, score, time, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import qcore as qc
from qcore._display.progress import EpochProgress
from qcore._runtime.blas import blas_threads, threads_that_pay
from qcore._runtime.environment import environment
from qcore.bench.latency import Latency, measure_latency
from qcore.demo.baseline import NumpyNetwork
from qcore.demo.data import CLASSES, FOLDS, Digits, load_digits
from qcore.demo.experiment import (
    BATCH_SIZE,
    EPOCHS,
    HIDDEN,
    RECIPES,
    SMALL_SET_EPOCHS,
    Recipe,
    Tick,
    Trial,
)
from qcore.demo.measure import Clock
from qcore.demo.report import Baseline, Data, Report, Row, check_writable, spread, write_json
from qcore.report.compare.chance import difference_error, is_tie
from qcore.report.compare.pareto import TIME_TIE, pareto_front

__all__ = ["Options", "run"]

NUMPY = "numpy"
#: Seconds that timing may take, over all seeds.
_MEASURE = 10.0


@dataclass(frozen=True)
class Options:
    """What ``qcore demo`` was asked for; see its help."""

    data: Path | None = None
    out: Path | None = None
    save: Path | None = None
    page: Path | None = None
    command: str = ""
    seeds: tuple[int, ...] = (0,)
    epochs: int | None = None
    split: str = "test"


@dataclass
class _Found:
    """What is known of a row so far, seed by seed."""

    accuracies: list[float] = field(default_factory=list)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    latency: Latency = field(default_factory=Latency)
    kernels: list[str] = field(default_factory=list)
    network: str = ""
    confusion: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((CLASSES, CLASSES), np.int64)
    )


def run(options: Options) -> Report:
    """Run the experiment and write what was asked for.

    Parameters
    ----------
    options : Options

    Returns
    -------
    Report

    Raises
    ------
    OSError, FormatError
        If the data cannot be read, or results not be written; before any training.
    ImportError
        If scikit-learn's digits are asked for and it is missing.
    """
    facts = environment()  # also refuses a QCORE_ISA that is not there, before the work
    clock = Clock()
    with ExitStack() as stack:
        folder = options.out
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="qcore-demo-")))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(folder)
        for path in (options.save, options.page):
            if path is not None:
                check_writable(path.resolve().parent)
        in_folds = options.data is None and options.split == "test"
        with clock.phase("load"):
            digits = load_digits(options.data, options.split)
        epochs = options.epochs or (SMALL_SET_EPOCHS if options.data is None else EPOCHS)
        steps = len(options.seeds) * (len(RECIPES) + 2)
        advance = stack.enter_context(_progress(steps))
        found = {name: _Found() for name in (*[recipe.name for recipe in RECIPES], NUMPY)}
        stored: dict[str, qc.nn.Sequential] = {}
        scored: dict[int, int] = {}
        folds = [seed % FOLDS if in_folds else 0 for seed in options.seeds]
        for seed, fold in zip(options.seeds, folds, strict=True):
            with clock.phase("load"):
                digits = load_digits(options.data, options.split, fold) if in_folds else digits
            scored[fold] = len(digits.X_test)
            bench = _Bench(digits, options, epochs, folder, clock, advance)
            nets = _run_seed(found, bench, seed)
            stored = stored or nets
    report = Report(
        format=1,
        environment=facts,
        data=Data(
            name=digits.name,
            split=options.split,
            inputs=digits.inputs,
            train_images=len(digits.X_train),
            scored_images=sum(scored.values()),
        ),
        network=f"{digits.inputs}-{HIDDEN}-{CLASSES}",
        epochs=epochs,
        batch_size=BATCH_SIZE,
        seeds=list(options.seeds),
        rows=_rows(found, folds),
        numpy=_baseline(found),
        seconds=clock.seconds | {"total": clock.total()},
    )
    if options.page is not None:
        from qcore.demo.page import write_page

        write_page(options.page, report, stored, options.command)
    if options.save is not None:
        write_json(options.save, report)
    return report


@dataclass(frozen=True)
class _Bench:
    """What all seeds share."""

    digits: Digits
    options: Options
    epochs: int
    folder: Path
    clock: Clock
    advance: Callable[[str], Tick]

    def path(self, name: str, seed: int) -> Path:
        """Return where a row's network is saved."""
        mark = f"-seed{seed}" if len(self.options.seeds) > 1 else ""
        return self.folder / f"{name}{mark}.safetensors"


def _run_seed(found: dict[str, _Found], bench: _Bench, seed: int) -> dict[str, qc.nn.Sequential]:
    """Run every recipe with one seed; return the networks as they come back from their files."""
    digits, clock = bench.digits, bench.clock
    baseline = NumpyNetwork((digits.inputs, HIDDEN, CLASSES), seed)
    tick = bench.advance(f"seed {seed}: plain NumPy")
    with clock.phase("baseline"):
        before = clock.total()
        # With the threads that `Sequential.fit` has for products of this size.
        with blas_threads(threads_that_pay(BATCH_SIZE * digits.inputs * HIDDEN)):
            baseline.fit(
                digits.X_train, digits.y_train,
                epochs=bench.epochs, batch_size=BATCH_SIZE, tick=tick,
            )  # fmt: skip
        found[NUMPY].train_seconds.append(clock.total() - before)
        found[NUMPY].accuracies.append(100 * baseline.score(digits.X_test, digits.y_test))
    trial = Trial(digits, bench.epochs, seed, clock, tick)
    stored = {}
    for recipe in RECIPES:
        trial.tick = bench.advance(f"seed {seed}: {recipe.title}")
        stored[recipe.name] = _run_recipe(found[recipe.name], recipe, trial, bench)
    bench.advance(f"seed {seed}: measuring")
    with clock.phase("measure"):
        predictors = {name: net.predict_proba for name, net in stored.items()}
        latencies = measure_latency(
            predictors | {NUMPY: baseline.predict_proba},
            digits.X_test,
            seconds=_MEASURE / len(bench.options.seeds),
        )
    for name, latency in latencies.items():
        found[name].latency.extend(latency)
    return stored


def _run_recipe(found: _Found, recipe: Recipe, trial: Trial, bench: _Bench) -> qc.nn.Sequential:
    """Make a row's network; return it as it comes back from its file."""
    digits, clock = trial.digits, trial.clock
    before = _making(clock)
    net = trial.nets[recipe.name] = recipe.make(trial)
    found.train_seconds.append(_making(clock) - before)
    path = bench.path(recipe.name, trial.seed)
    with clock.phase("save"):
        net.save(path)
        stored: qc.nn.Sequential = qc.load(path)
    if bench.options.out is not None:
        found.files.append(str(path))
    with clock.phase("measure"):
        answers = stored.predict(digits.X_test)
        found.right.append(answers == digits.y_test)
        found.accuracies.append(100 * float(np.mean(found.right[-1])))
        np.add.at(found.confusion, (digits.y_test, answers), 1)
    found.sizes.append(path.stat().st_size)
    found.kernels = stored.kernels
    widths = [stored.layers[0].in_features, *(layer.out_features for layer in stored.layers)]
    found.network = "-".join(map(str, widths))
    return stored


def _making(clock: Clock) -> float:
    return clock.seconds.get("train", 0.0) + clock.seconds.get("calibrate", 0.0)


def _right_by_image(found: _Found, folds: Sequence[int]) -> NDArray[np.float64]:
    """Return how right a row is on each image: (seeds, n), or (n,) where folds are others' images.

    `folds` names the part that each seed judged.
    """
    if len(set(folds)) == 1:
        return np.stack(found.right).astype(np.float64)
    parts = [
        np.mean(
            [right for right, own in zip(found.right, folds, strict=True) if own == fold], axis=0
        )
        for fold in sorted(set(folds))
    ]
    return np.concatenate(parts)


def _rows(found: dict[str, _Found], folds: Sequence[int]) -> list[Row]:
    reference, plain = found["float"], found[NUMPY]
    accuracies = [float(np.mean(found[recipe.name].accuracies)) for recipe in RECIPES]
    sizes = [round(float(np.mean(found[recipe.name].sizes))) for recipe in RECIPES]
    singles = [float(np.median(found[recipe.name].latency.single)) for recipe in RECIPES]
    batches = [float(np.median(found[recipe.name].latency.batch)) for recipe in RECIPES]
    right = [_right_by_image(found[recipe.name], folds) for recipe in RECIPES]
    errors = [[100 * difference_error(one, other) for other in right] for one in right]
    ties = [
        [is_tie((accuracies[i] - accuracies[j]) / 100, error / 100) for j, error in enumerate(line)]
        for i, line in enumerate(errors)
    ]
    by_bytes = pareto_front(accuracies, sizes, ties)
    by_time = pareto_front(accuracies, singles, ties, TIME_TIE)
    rows = []
    for index, recipe in enumerate(RECIPES):
        row = found[recipe.name]
        seconds = float(np.mean(row.train_seconds))
        rows.append(
            Row(
                name=recipe.name,
                title=recipe.title,
                recipe=recipe.recipe,
                starts_from=recipe.starts_from,
                network=row.network,
                accuracy_percent=spread(row.accuracies),
                drop_points=float(np.mean(reference.accuracies)) - accuracies[index],
                drop_error_points=errors[0][index],
                ties=[RECIPES[i].name for i, tie in enumerate(ties[index]) if tie and i != index],
                train_seconds=seconds,
                train_ratio=seconds / float(np.mean(plain.train_seconds)),
                bytes=sizes[index],
                ratio=float(np.mean(reference.sizes)) / sizes[index],
                batch1_p50_us=singles[index],
                batch1_p99_us=float(np.percentile(row.latency.single, 99)),
                batch1024_us=batches[index],
                speedup_batch1=singles[0] / singles[index],
                speedup_batch1024=batches[0] / batches[index],
                kernels=row.kernels,
                confusion=row.confusion.tolist(),
                pareto_bytes=by_bytes[index],
                pareto_time=by_time[index],
                files=row.files,
            )
        )
    return rows


def _baseline(found: dict[str, _Found]) -> Baseline:
    plain, reference = found[NUMPY], found["float"]
    single, batch = np.median(plain.latency.single), np.median(plain.latency.batch)
    return Baseline(
        accuracy_percent=spread(plain.accuracies),
        train_seconds=float(np.mean(plain.train_seconds)),
        batch1_p50_us=float(single),
        batch1_p99_us=float(np.percentile(plain.latency.single, 99)),
        batch1024_us=float(batch),
        speedup_batch1=float(np.median(reference.latency.single) / single),
        speedup_batch1024=float(np.median(reference.latency.batch) / batch),
    )


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], Tick]]:
    """Yield what starts the next step; a bar on standard error, where that is a terminal."""
    with EpochProgress("auto", steps, "demo") as shown:
        started = 0

        def advance(text: str) -> Tick:
            nonlocal started
            done = started
            started += 1
            shown.update(done, text)
            return lambda share: shown.update(done + share, text)

        yield advance
