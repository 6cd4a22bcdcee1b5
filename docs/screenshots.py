"""Make the pictures in docs/images: reports by the commands in docs/command-line.md, in Chromium.

``make screenshots``, or ``python docs/screenshots.py [FOLDER]``. Chromium must be there.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "python"))

from browser import Browser  # noqa: E402 - it lies beside the tests that use it

COMMANDS = """\
qcore compress mlp.npz --layout in_out --bits 4 --sparsity 0.5 --data X_train.npy -o small.safetensors
qcore compress mlp.npz --layout in_out --bits 8 --data X_train.npy -o int8.safetensors
qcore compress mlp.npz --layout in_out --bits 3 --sparsity 0.7 --data X_train.npy -o int3.safetensors
qcore compare mlp.npz small.safetensors --also int8.safetensors --also int3.safetensors --data X_test.npy --labels y_test.npy --report report.html
qcore demo --report demo.html
"""  # noqa: E501 - as they are typed

# Page, width of the window, dark or light, how many pixels of its height.
SHOTS = (
    ("report", 1440, False, None), ("report", 390, True, 1900),
    ("demo", 1440, True, 1240), ("demo", 390, False, 1900),
)  # fmt: skip


def write_model(folder: Path) -> None:
    """Train scikit-learn's network on its digits, and save its arrays, and the data."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        (X / 16).astype(np.float32), y, random_state=0, stratify=y
    )
    model = MLPClassifier((128, 64), max_iter=60, early_stopping=True, random_state=0)
    model.fit(X_train, y_train)
    arrays = {f"coefs_{i}": array for i, array in enumerate(model.coefs_)}
    arrays |= {f"intercepts_{i}": array for i, array in enumerate(model.intercepts_)}
    np.savez(folder / "mlp.npz", **{name: a.astype(np.float32) for name, a in arrays.items()})
    for name, array in (("X_train", X_train), ("X_test", X_test), ("y_test", y_test)):
        np.save(folder / f"{name}.npy", array)


def main() -> None:
    """Make the reports and their pictures."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images"
    target.mkdir(exist_ok=True)
    qcore = Path(sys.executable).with_name("qcore")
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        for line in COMMANDS.splitlines():
            print(f"$ {line}", flush=True)
            subprocess.run([qcore, *line.split()[1:]], cwd=folder, check=True)  # noqa: S603
        for page, width, dark, most in SHOTS:
            picture = target / f"{page}-{width}{'-dark' if dark else ''}.png"
            with Browser(width, dark=dark) as browser:
                browser.open(folder / f"{page}.html")
                browser.screenshot(picture, most)
                if browser.errors or browser.requests:
                    raise SystemExit(f"{page}: {browser.errors} {browser.requests}")
            print(picture)


if __name__ == "__main__":
    main()
