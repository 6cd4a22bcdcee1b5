"""A line for each case, printed as the documentation has it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PEERS", "line", "print_heads"]

PEERS = ("ORT float", "ORT dynamic", "ORT static", "OpenVINO int8")
_INT8 = PEERS[1:]


def print_heads() -> None:
    """Print the heads of the table of encoders."""
    heads = ("case", "qcore int8", "qcore float", *PEERS, "best int8", "ORT float", "kept")
    print("| " + " | ".join(heads) + " |")
    print("| --- |" + " ---: |" * (len(heads) - 1))


def line(case: str, times: Mapping[str, float], kept: str) -> str:
    """Return a line: microseconds, then how many times faster than the peers' best ours is."""
    ours = times["qcore int8"]
    columns = [case]
    columns += [_micros(times.get(name)) for name in ("qcore int8", "qcore float", *PEERS)]
    best = min((times[name] for name in _INT8 if name in times), default=None)
    columns += ["" if best is None else f"{best / ours:.2f}×"]
    columns += [f"{times['ORT float'] / ours:.2f}×" if "ORT float" in times else "", kept]
    return "| " + " | ".join(columns) + " |"


def _micros(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e6 * seconds:,.0f} µs"
