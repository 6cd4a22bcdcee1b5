"""Teach a small network more digits than there are: distorted images and a teacher.

``python examples/distil_digits.py --data DIR`` trains a wide network on distorted digits, then
784-32-10 twice: on the labels alone, and on what the wide one answers about distorted digits.
DIR holds MNIST's idx files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import qcore as qc
from qcore.demo.augmentation import Distortions
from qcore.demo.data import load_digits


def network(hidden: int) -> qc.nn.Sequential:
    """Return a network of one hidden layer, not yet trained."""
    return qc.nn.Sequential(
        [qc.nn.Dense(784, hidden, "relu"), qc.nn.Dense(hidden, 10, activation="softmax")]
    )


def main() -> None:
    """Train the three networks and print their scores on the validation images."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="MNIST's idx files")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    digits = load_digits(options.data, "validation")
    X, y = digits.X_train, digits.y_train
    common = {"epochs": options.epochs, "learning_rate_schedule": "cosine", "random_state": 0}
    teacher = network(512).fit(X, y, augment=Distortions(), **common)
    alone = network(32).fit(X, y, **common)
    taught = network(32).fit(X, y, augment=Distortions(), teacher=teacher, **common)
    for name, net in {"teacher": teacher, "alone": alone, "taught": taught}.items():
        print(f"{name:8} {100 * net.score(digits.X_test, digits.y_test):.2f} %")


if __name__ == "__main__":
    main()
