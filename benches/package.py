"""What the package weighs, and what importing it takes: ``python -m benches.package [WHEEL]``.

The weight is that of a wheel, or, without one, of the installed files packed as a wheel packs them.
Imports are timed in processes of their own, in turns; the best of each counts. Resident memory is
what such a process has at its end.
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


def installed_bytes(wheel: Path | None) -> int:
    """Return the bytes of the package's files, as they lie on the disk."""
    if wheel is not None:
        with zipfile.ZipFile(wheel) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    home = Path(qcore.__file__).parent
    files = (path for path in home.rglob("*") if "__pycache__" not in path.parts)
    return sum(path.stat().st_size for path in files if path.is_file())


def resident_bytes(program: str) -> int:
    """Return the greatest resident memory of a process that runs a program."""
    tell = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", f"{program}\n{tell}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return 1024 * int(done.stdout)


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
    print(f"wheel: {size / 1e6:.2f} MB; installed: {installed_bytes(given.wheel) / 1e6:.1f} MB")
    print(f"import numpy: {numpy:.0f} ms")
    print(f"import qcore: {own:.0f} ms; names are imported when they are first used")
    print(f"with quantize, compress, load, Sequential and Graph: {used:.0f} ms")
    memory = {name: resident_bytes(program) / 1e6 for name, program in PROGRAMS.items()}
    print(
        f"resident memory: Python {memory['nothing']:.0f} MB, with NumPy {memory['numpy']:.0f} MB, "
        f"with qcore {memory['qcore']:.0f} MB, with its parts in use {memory['used']:.0f} MB"
    )


if __name__ == "__main__":
    main()
