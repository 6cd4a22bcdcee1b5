"""``qcore doctor``: what this machine offers and what qcore makes of it."""

from __future__ import annotations

import os

import click

from qcore.cli.params import example, json_option

__all__ = ["doctor"]

_LABELS = {
    "qcore": "qcore",
    "build": "build",
    "python": "Python",
    "numpy": "NumPy",
    "blas": "NumPy's BLAS",
    "system": "system",
    "cpu": "CPU",
    "cpus": "usable CPUs",
    "threads": "threads",
    "blas_threads": "BLAS threads",
    "isas": "instruction sets",
    "isa": "in force",
}


@click.command(epilog=example("qcore doctor", "QCORE_ISA=avx2 qcore doctor"))
@json_option
def doctor(as_json: bool) -> None:
    """Show the CPU, its instruction sets, the kernels that they give, and where they pay."""
    from qcore._runtime.environment import environment

    facts = environment()
    found = (
        {"why that one": _why()}
        | _unverified()
        | _hardware()
        | _kernels()
        | _limits()
        | _crossover()
    )
    if as_json:
        from qcore.cli.tables import print_json

        print_json(facts | found)
        return
    lines = {}
    for key, label in _LABELS.items():
        value = facts[key]  # type: ignore[literal-required]
        lines[label] = ", ".join(value) if isinstance(value, list) else str(value)
    lines |= found
    width = max(map(len, lines))
    for label, text in lines.items():
        click.echo(f"{label:<{width}}  {text}")
    if facts["build"] != "release":
        click.echo("this is a debug build: nothing measured with it counts", err=True)


def _why() -> str:
    if os.environ.get("QCORE_ISA"):
        return "QCORE_ISA asks for it"
    return "the best that this CPU has; QCORE_ISA forces another"


def _unverified() -> dict[str, str]:
    """Return what the CPU has and qcore does not select: kernels that no such CPU has run yet."""
    from qcore import _core

    return {
        f"{isa} kernels": "present, never run on hardware, "
        + ("in force as asked" if isa == _core.active_isa() else "not selected; QCORE_ISA forces")
        for isa in _core.unverified_isas()
    }


def _hardware() -> dict[str, str]:
    from qcore._runtime.machine import cache_sizes, separate_cores

    apart = {True: "yes", False: "no: two threads share a core", None: "not known"}
    return {
        "caches": ", ".join(cache_sizes()) or "not known",
        "CPUs are separate cores": apart[separate_cores()],
    }


def _kernels() -> dict[str, str]:
    """Return the kernel of each operation, and why it is that one."""
    from qcore import _core

    isa = _core.active_isa()
    wide = isa.startswith("avx512") or isa == "amx"
    vectors = "avx512" if wide else "avx2" if isa.startswith("avx") else "scalar"
    nibbles = (
        "avx512_vnni"
        if isa in ("avx512_vnni", "amx")
        else "avx2"
        if vectors != "scalar"
        else "scalar"
    )
    peak = _core.peak_rate()
    rate = f"; its dot instruction does {peak / 1e9:.0f} GOPS a core" if peak else ""
    return {
        "int8 products": f"{_core.kernel_id()}: the best that {isa} includes{rate}",
        "int4 products": f"{nibbles}: the best that {isa} includes",
        "float32 products, quantize, epilogues": f"{vectors}: the widest vectors of {isa}",
        "float networks": "NumPy's BLAS, while every layer is float and dense",
    }


def _limits() -> dict[str, str]:
    """Return what int8 products decide by, as measured for the instruction set in force."""
    from qcore import _core
    from qcore.arrays.products.crossover import crossover

    block, _, many, few, columns, grain = _core.product_limits()
    found = [(share, crossover("csr int8", share)) for share in (0.05, 0.1, 0.2)]
    sparse = ", ".join(
        f"{entry.rows} rows on at {share:.0%} stored" for share, entry in found if entry
    )
    widened = f"; widened to 16 bits once from {many} rows on" if many < 1 << 31 else ""
    return {
        "int8 products, B packed": f"as this instruction set reads it{widened}",
        "int8 products, B not packed": f"read where it lies up to {few} rows ({columns} of a "
        "transposed B), packed strip by strip from there on",
        "int8 products, sparse": f"layers run on CSR from {sparse}; dense below",
        "int8 products, blocks": f"{block >> 10} KB of A; another thread from {grain:,} "
        "multiply-adds on",
    }


def _crossover() -> dict[str, str]:
    """Return from which width on a square int8 layer is faster than float32 BLAS, measured now."""
    from qcore.bench.crossover import crossover

    found = {}
    for batch in (1, 64):
        width = crossover(batch)
        text = f"from {width} x {width} on" if width else "at none of the widths tried"
        found[f"int8 layer faster, batch {batch}"] = f"{text} (linear beside NumPy float32)"
    return found
