"""Networks, images and measures that all rows share."""

import numpy as np

import qcore as qc
from qcore.files.idx import read_mnist_part

NAMES = ("mlp128", "lenet300")
TITLES = {"mlp128": "784-128-10", "lenet300": "LeNet-300-100"}
#: Images that recipes may be judged on; networks trained without them.
HELD = 10_000


class Bench:
    """The networks of a folder, and the images they are judged on."""

    def __init__(self, weights, data, seeds, validation, names=NAMES):
        self.names = tuple(names)
        self.weights, self.data, self.seeds = weights, data, seeds
        X, y = _read(data, "train")
        if validation:
            self.train, self.train_labels = X[:-HELD], y[:-HELD]
            self.test, self.labels = X[-HELD:], y[-HELD:]
        else:
            self.train, self.train_labels = X, y
            self.test, self.labels = _read(data, "t10k")

    def networks(self, name: str):
        """Yield each seed and its float network."""
        arrays = np.load(self.weights / f"{name}.npz")
        for seed in range(self.seeds):
            depth = sum(key.startswith(f"s{seed}_w") for key in arrays)
            yield (
                seed,
                qc.nn.Sequential.from_arrays(
                    [arrays[f"s{seed}_w{k}"] for k in range(depth)],
                    [arrays[f"s{seed}_b{k}"] for k in range(depth)],
                    layout="out_in",
                ),
            )

    def calibration(self, seed: int, count: int = 1000):
        """Return training images without labels, other ones for each seed."""
        return self.train[np.random.default_rng(seed).permutation(len(self.train))[:count]]

    def judge(self, net, exact):
        """Return accuracy in percent, and the error of the logits against `exact`."""
        logits = net.predict_logits(self.test)
        return accuracy(logits, self.labels), logit_error(logits, exact)


def _read(folder, part):
    images, labels = read_mnist_part(folder, part)
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels


def accuracy(logits, labels):
    """Return the share of right answers, in percent."""
    return 100 * float(np.mean(logits.argmax(axis=1) == labels))


def logit_error(logits, exact):
    """Return the mean square error of logits as a share of their variance."""
    return float(np.mean((logits - exact) ** 2) / exact.var())


def cosine(a, b):
    """Return the cosine of the angle between two arrays."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def spread(values):
    """Return mean and standard deviation as text."""
    return f"{np.mean(values):7.3f} ± {np.std(values):5.3f}"


def table(title, columns, lines):
    """Print a table in Markdown; lines that are still to be measured come as they are made."""
    print(f"{title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for line in lines:
        print("| " + " | ".join(str(cell) for cell in line) + " |", flush=True)
    print(flush=True)
