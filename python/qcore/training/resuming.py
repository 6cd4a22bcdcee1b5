"""Stop a training and go on later: its whole state in a file, after every epoch."""

from __future__ import annotations

import json
import zlib
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import FormatError

if TYPE_CHECKING:
    from qcore.training.training import Training

__all__ = ["Checkpoint"]

_KIND = "checkpoint"


class Checkpoint:
    """The file of one training.

    Parameters
    ----------
    path : path-like
        The file; it need not be there yet.
    training : Training
        Set up and not begun.
    """

    def __init__(self, path: str | PathLike[str], training: Training) -> None:
        self.path = Path(path)
        self.training = training
        self._which = _fingerprint(training)

    def save(self, epoch: int) -> None:
        """Write the state after an epoch, atomically."""
        from qcore.files.qcore_format import container

        training = self.training
        tensors: dict[str, Any] = {"params": training.params}
        tensors |= {f"state{index}": part for index, part in enumerate(training.state)}
        if training.mask is not None:
            tensors["mask"] = training.mask.astype(np.bool_)
        if training.early is not None:
            tensors["early"] = training.early
        if training.best is not None:
            tensors["best"] = training.best[2]
        if training.hints is not None:
            tensors["hints"] = training.hints.params
            tensors |= {f"hints{index}": p for index, p in enumerate(training.hints.state)}
        if training.fake is not None:
            tensors |= {f"fake:{key}": value for key, value in training.fake.state().items()}
        about = {
            "training": self._which,
            "epoch": epoch,
            "restart": training.restart,
            "history": training.history,
            "rng": training.rng.bit_generator.state,
            "ranges": _ranges(training),
            "best": None if training.best is None else [*training.best[:2], training.best[3]],
        }
        container.write(self.path, _KIND, tensors, state=json.dumps(about))

    def restore(self) -> int:
        """Put the state of the file into the training; returns the epochs that are done.

        Raises
        ------
        ValueError
            If the file is of a training with other data or settings.
        FormatError
            If it is corrupt, or no checkpoint.
        """
        from qcore.files.qcore_format import container

        if not self.path.exists():
            return 0
        file = container.Container(self.path)
        with file.checked():
            about = json.loads(file.about.get("state", "{}"))
        if about.get("training") != self._which:
            raise ValueError(
                f"checkpoint '{self.path}' is of a training with other data or settings: remove "
                "it, or name another file"
            )
        try:
            self._restore(dict(file), about)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise FormatError(f"'{self.path}' is corrupt: {error}") from error
        return int(about["epoch"])

    def _restore(self, tensors: dict[str, Any], about: dict[str, Any]) -> None:
        training = self.training
        training.params[...] = tensors["params"]
        for index, part in enumerate(training.state):
            part[...] = tensors[f"state{index}"]
        if "mask" in tensors:
            training.mask = tensors["mask"].astype(np.float32)
        if "early" in tensors:
            training.early = np.array(tensors["early"], np.float32)
        training.restart = int(about["restart"])
        if training.hints is not None:
            training.hints.params[...] = tensors["hints"]
            for index, part in enumerate(training.hints.state):
                part[...] = tensors[f"hints{index}"]
        training.history.update(about["history"])
        training.rng.bit_generator.state = about["rng"]
        if about["best"] is not None:
            score, epoch, ranges = about["best"]
            training.best = (score, epoch, tensors["best"], ranges)
        if training.fake is not None:
            marked = {key for key in tensors if key.startswith("fake:")}
            training.fake.restore(training.net, {key[5:]: tensors[key] for key in marked})
            for observed, bounds in zip(training.fake.ranges, about["ranges"], strict=True):
                observed.low, observed.high = bounds


def _ranges(training: Training) -> list[tuple[float | None, float | None]]:
    return [] if training.fake is None else [(r.low, r.high) for r in training.fake.ranges]


def _fingerprint(training: Training) -> str:
    """Return what tells one training from another: settings, first weights and data."""
    settings = [
        training.batch_size, training.epochs, training.learning_rate, training.schedule,
        training.temperature, training.alpha, training.loss, training.optimizer, training.pruner,
        training.patience, training.steps, training.dropout, training.regularizer,
        training.rng.bit_generator.state,
    ]  # fmt: skip
    arrays: list[NDArray[Any]] = [training.params, training.X]
    if training.target is not None:
        arrays.append(training.target)
    sums = [zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) for array in arrays]
    return f"{settings!r} {sums}"
