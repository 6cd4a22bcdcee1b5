"""What the system tells of the CPU: caches, and which CPUs are cores of their own."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_sizes", "separate_cores"]

_CPUS = Path("/sys/devices/system/cpu")


def cache_sizes() -> list[str]:
    """Return the caches of the first CPU, such as "L1 data 32K"; nothing where it is not told."""
    found = []
    for folder in sorted(_CPUS.glob("cpu0/cache/index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and size and kind != "Instruction":
            found.append(f"L{level} {size}" + (" data" if kind == "Data" else ""))
    return found


def separate_cores() -> bool | None:
    """Return whether the CPUs that this process may use are cores of their own; None: not told."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = []
    for cpu in os.sched_getaffinity(0):
        siblings = _read(_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list")
        if not siblings:
            return None
        cores.append(siblings)
    return len(set(cores)) == len(cores)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
