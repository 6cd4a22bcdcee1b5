"""What the package weighs, and what importing it takes: ``python -m benches.package [WHEEL]``.

The weight is that of a wheel, or, without one, of the installed files packed as a wheel packs them.
Imports are timed in processes of their own, in turns; the best of each counts.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from time import perf_counter

import qcore

ROUNDS = 15
PROGRAMS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "qcore": "import qcore",
    "used": "import qcore as qc; qc.quantize; qc.compress; qc.load; qc.nn.Sequential; qc.Graph",
}


def packed_bytes() -> int:
    """Return the bytes of the installed package, deflated."""
    home = Path(qcore.__file__).parent
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(home.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(home.parent))
    return len(target.getvalue())


def import_times(rounds: int = ROUNDS) -> dict[str, float]:
    """Return the best milliseconds of a process that imports each."""
    best = dict.fromkeys(PROGRAMS, float("inf"))
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            start = perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603
            best[name] = min(best[name], 1e3 * (perf_counter() - start))
    return best


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", nargs="?", type=Path)
    given = parser.parse_args()
    size = packed_bytes() if given.wheel is None else given.wheel.stat().st_size
    times = import_times()
    numpy, own, used = (times[name] - times["nothing"] for name in ("numpy", "qcore", "used"))
    print(f"wheel: {size / 1e6:.2f} MB")
    print(f"import numpy: {numpy:.0f} ms")
    print(f"import qcore: {own:.0f} ms; names are imported when they are first used")
    print(f"with quantize, compress, load, Sequential and Graph: {used:.0f} ms")


if __name__ == "__main__":
    main()
