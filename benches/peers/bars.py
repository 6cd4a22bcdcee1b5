"""Bars as SVG: one group for each network, one bar for each runtime."""

from __future__ import annotations

from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 260, 90, 16, 18, 34
OURS, PEERS = "#2a7f4f", "#8793a5"

Groups = dict[str, dict[str, float]]


def bars(groups: Groups, title: str, ours: str = "qcore") -> str:
    """Return horizontal bars, how many times as fast as ours each is; ours is 1.

    Parameters
    ----------
    groups : dict of str to dict of str to float
        Times of each contender, by case.
    title : str
    ours : str
        What the names of our own contenders begin with.
    """
    parts: list[str] = []
    y = TOP
    most = max((_own(times, ours) / time for times in groups.values() for time in times.values()),
               default=1.0)  # fmt: skip
    scale = (WIDTH - LEFT - RIGHT) / most
    for case, times in groups.items():
        parts.append(_text(8, y + 12, case, weight="bold"))
        base = _own(times, ours)
        for name, time in sorted(times.items(), key=lambda pair: pair[1]):
            colour = OURS if name.startswith(ours) else PEERS
            length = max(1.0, base / time * scale)
            parts.append(_text(LEFT - 8, y + 12, name, anchor="end"))
            parts.append(
                f'<rect x="{LEFT}" y="{y + 1}" width="{length:.1f}" height="{BAR - 3}" '
                f'fill="{colour}"/>'
            )
            label = f"{time:,.0f} µs" if time >= 10 else f"{time:.1f} µs"
            parts.append(_text(LEFT + length + 5, y + 12, label))
            y += BAR
        y += GAP
    line = LEFT + scale
    parts.append(
        f'<line x1="{line:.1f}" y1="{TOP - 4}" x2="{line:.1f}" y2="{y - GAP}" '
        'stroke="#222" stroke-dasharray="3 3"/>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'font-family="sans-serif" font-size="11" fill="#222">'
    )
    paper = f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'  # legible on a dark page, too
    return "\n".join(
        [head, paper, f"<title>{escape(title)}</title>", _text(8, 16, title), *parts, "</svg>"]
    )


def _own(times: dict[str, float], ours: str) -> float:
    return min(time for name, time in times.items() if name.startswith(ours))


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
