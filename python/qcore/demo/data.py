"""The digits: MNIST from its idx files, or scikit-learn's small ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import FormatError
from qcore.files.idx import read_mnist_part

__all__ = ["FOLDS", "Digits", "load_digits"]

CLASSES = 10
#: In how many parts the bundled digits are split; each is the test set once.
FOLDS = 5
# The share of the training images on which recipes are chosen.
VALIDATION = 0.1


@dataclass(frozen=True)
class Digits:
    """Images as rows of float32 from 0 to 1, and which digit each shows.

    Attributes
    ----------
    name : str
        Of the data set.
    shape : tuple of int
        Rows and columns of an image.
    X_train, y_train
        What networks are trained and calibrated on.
    X_test, y_test
        What they are scored on: the test images, or the validation images.
    """

    name: str
    shape: tuple[int, int]
    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    @property
    def inputs(self) -> int:
        """How many pixels an image has."""
        return int(self.X_train.shape[1])


def load_digits(folder: Path | None, split: str = "test", fold: int = 0) -> Digits:
    """Load MNIST from a folder, or scikit-learn's digits.

    Parameters
    ----------
    folder : path or None
        Holds MNIST's idx files. None: the 1,797 digits that scikit-learn brings, of which one of
        `FOLDS` parts is the test set.
    split : {"test", "validation"}
        What is scored. "validation": the last tenth of the training images, which is then not
        trained on; the test labels are not read.
    fold : int
        Which part of the bundled digits is the test set.

    Returns
    -------
    Digits

    Raises
    ------
    FileNotFoundError, FormatError
        If the files are missing or corrupt.
    ImportError
        If scikit-learn is needed and missing.
    """
    test = split == "test"
    load = partial(_small, fold=fold) if folder is None else partial(_mnist, folder)
    name = "scikit-learn digits" if folder is None else "MNIST"
    images, y = load("train")
    shape = (images.shape[1], images.shape[2])
    X = images.reshape(len(images), -1)
    if test:
        test_images, y_test = load("t10k")
        if test_images.shape[1:] != shape:
            raise FormatError(
                f"'{folder}': training images are {_by(images)}, test images {_by(test_images)}"
            )
        return Digits(name, shape, X, y, test_images.reshape(len(test_images), -1), y_test)
    cut = len(X) - round(len(X) * VALIDATION)
    return Digits(name, shape, X[:cut], y[:cut], X[cut:], y[cut:])


def _by(images: NDArray[np.float32]) -> str:
    return f"{images.shape[1]} x {images.shape[2]}"


def _mnist(folder: Path, part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels = read_mnist_part(folder, part)
    pixels = images.shape[1] * images.shape[2]
    # A tenth of them is the validation set, so fewer than that would leave it empty.
    if len(images) < CLASSES or not pixels:
        raise FormatError(
            f"'{folder}': the {part} part has {len(images)} images of {pixels} pixels; at least "
            f"{CLASSES} images are needed"
        )
    if labels.max() >= CLASSES:
        at = int(np.argmax(labels >= CLASSES))
        raise FormatError(f"'{folder}': {part} label [{at}] is {labels[at]}; digits are 0 to 9")
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _small(part: str, fold: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits as bundled
    except ImportError as error:
        raise ImportError(
            "the bundled digits need scikit-learn: pip install 'qcore-cpu[demo]', or name a folder "
            "with MNIST's files with --data"
        ) from error
    images, labels = _arrays(bundled)
    scaled = images.reshape(-1, 8, 8).astype(np.float32) / np.float32(16)
    # The images come writer by writer; a fixed shuffle gives both parts the same writers.
    order = np.random.default_rng(0).permutation(len(scaled))
    start, stop = (len(scaled) * bound // FOLDS for bound in (fold, fold + 1))
    test = np.arange(start, stop)
    rows = order[test] if part == "t10k" else np.delete(order, test)
    return scaled[rows], labels[rows].astype(np.int64)


def _arrays(bundled: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = bundled(return_X_y=True)
    return images, labels
