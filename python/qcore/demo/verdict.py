"""What the table comes to: which rows pay, in which order they stand, and one sentence on top."""

from __future__ import annotations

from math import sqrt

import numpy as np

from qcore.demo.report import Report, Row

__all__ = ["drop_error", "headline", "is_tie", "ordered", "why_not"]

#: The accuracy, in points, that a row may cost and still be named on top.
_WORTH = 0.5


def drop_error(report: Report, row: Row) -> float:
    """Return the standard error of a row's drop, in points.

    Of several runs it is that of their differences, run by run; of one, that of two networks that
    are right on so many images, independently.
    """
    first = np.array(report["rows"][0]["accuracy_percent"]["values"])
    own = np.array(row["accuracy_percent"]["values"])
    if len(own) > 1:
        return float(np.std(first - own, ddof=1) / sqrt(len(own)))
    share = float(own[0]) / 100
    return 100 * sqrt(2 * share * (1 - share) / report["data"]["scored_images"])


def is_tie(report: Report, row: Row) -> bool:
    """Whether a row's drop is no more than chance: within twice its standard error."""
    return abs(row["drop_points"]) <= 2 * drop_error(report, row)


def ordered(report: Report) -> list[Row]:
    """Return the rows: the float network, those that pay, smallest first, then the others."""
    first, *rest = report["rows"]
    return [first, *sorted(rest, key=lambda row: (why_not(report, row) is not None, row["bytes"]))]


def why_not(report: Report, row: Row) -> str | None:
    """Return why a row does not pay beside the others; None if it does."""
    if row["ratio"] < 1:
        return "larger and slower: it is there to teach the small ones"
    for other in report["rows"]:
        smaller = other["bytes"] < row["bytes"]
        if other is row or not smaller or other["batch1_p50_us"] > row["batch1_p50_us"]:
            continue
        if other["accuracy_percent"]["mean"] >= row["accuracy_percent"]["mean"]:
            return f"“{other['title']}” is smaller, no slower and no less accurate"
    if row["speedup_batch1"] < 1:
        return "smaller, but slower than float32: its weights are looked up"
    return None


def headline(report: Report) -> str:
    """Return what was gained and what it cost, in one sentence."""
    rows = [
        row
        for row in report["rows"][1:]
        if row["ratio"] > 1 and row["speedup_batch1"] > 1 and row["drop_points"] <= _WORTH
    ]
    if not rows:
        return "No row is smaller and faster than the float network at half a point or less."
    best = max(rows, key=lambda row: row["ratio"])
    drop, error = best["drop_points"], drop_error(report, best)
    cost = (
        f"its accuracy differs by no more than chance ({-drop:+.2f} ± {error:.2f} points)"
        if is_tie(report, best)
        else f"it costs {drop:.2f} ± {error:.2f} points of accuracy"
        if drop > 0
        else f"and it is more accurate by {-drop:.2f} ± {error:.2f} points"
    )
    return (
        f"“{best['title']}” is {best['ratio']:.1f} times smaller than the float network and "
        f"{best['speedup_batch1']:.1f} times faster on one sample; {cost}."
    )
