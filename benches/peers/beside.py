"""One table for whole networks beside their peers: a line each, a column for each contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["OURS", "heads", "line"]

#: What names of our integers begin with; the fastest of them is compared with the fastest peer.
OURS = "qcore int8"


def heads(names: Sequence[str], unit: str) -> str:
    """Return the two lines that open the table."""
    columns = ("network", "threads", "ratio", "best peer", *(f"{name}, {unit}" for name in names))
    return f"| {' | '.join(columns)} |\n| --- | ---: | ---: | --- |" + " ---: |" * len(names)


def line(network: str, threads: int, times: Mapping[str, float], names: Sequence[str]) -> str:
    """Return the line of a network: how many times as fast as the best peer, then every time."""
    ours = min(time for name, time in times.items() if name.startswith(OURS))
    peers = {name: time for name, time in times.items() if not name.startswith("qcore")}
    best = min(peers, key=peers.__getitem__, default="")
    ratio = f"{peers[best] / ours:.2f} ×" if peers else ""
    cells = [_number(times[name]) if name in times else "" for name in names]
    return f"| {network} | {threads} | {ratio} | {best} | {' | '.join(cells)} |"


def _number(time: float) -> str:
    return f"{time:,.0f}" if time >= 100 else f"{time:.1f}"
