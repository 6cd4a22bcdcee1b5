"""What a measurement was taken on: versions, CPU, instruction set, threads."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TypedDict

import numpy as np

from qcore import _core
from qcore._runtime.blas import blas_thread_count

__all__ = ["Environment", "environment"]


class Environment(TypedDict):
    """Where a figure comes from.

    Attributes
    ----------
    qcore, python, numpy : str
        Versions.
    blas : str
        The BLAS that NumPy was built with: what "float32 BLAS" means in a report.
    build : str
        The profile of the extension, "release" or "debug"; a debug build is slow.
    system : str
        Operating system and machine.
    cpu : str
        The CPU's own name, or its architecture where it has none.
    cpus : int
        How many CPUs this process may use.
    isa : str
        The instruction set in force.
    isas : list of str
        Those that the CPU has, the plainest first.
    threads : int
        How many threads qcore's operations may use.
    blas_threads : int or None
        How many NumPy's BLAS may use; training and timings set it to what pays, and to `threads`.
    """

    qcore: str
    python: str
    numpy: str
    blas: str
    build: str
    system: str
    cpu: str
    cpus: int
    isa: str
    isas: list[str]
    threads: int
    blas_threads: int | None


def environment() -> Environment:
    """Return what figures measured by this process depend on.

    Raises
    ------
    ValueError
        If ``QCORE_ISA`` or ``QCORE_NUM_THREADS`` asks for what there is not.
    """
    return Environment(
        qcore=_core.__version__,
        python=platform.python_version(),
        numpy=np.__version__,
        blas=_blas_name(),
        build=_core.build_profile,
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_name(),
        cpus=_usable_cpus(),
        isa=_core.active_isa(),
        isas=_core.available_isas(),
        threads=_core.num_threads(),
        blas_threads=blas_thread_count(),
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blas_name() -> str:
    try:
        config = np.show_config(mode="dicts")
        blas = config["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):
        return "unknown"
