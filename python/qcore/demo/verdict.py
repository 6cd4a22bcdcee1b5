"""What the table comes to: which rows pay, in which order they stand, and one sentence on top."""

from __future__ import annotations

from qcore.demo.report import Report, Row
from qcore.report.compare.chance import is_chance
from qcore.report.compare.pareto import TIME_TIE

__all__ = ["best_row", "drop_text", "headline", "is_tie", "ordered", "runs_text", "why_not"]

#: The accuracy, in points, that a row may cost and still be named on top.
_WORTH = 0.5


def is_tie(row: Row) -> bool:
    """Whether a row's drop is no more than chance: within twice its standard error."""
    return is_chance(row["drop_points"], row["drop_error_points"])


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
        faster = other["batch1_p50_us"] <= row["batch1_p50_us"] * (1 + TIME_TIE)
        if other is row or not smaller or not faster:
            continue
        if other["accuracy_percent"]["mean"] >= row["accuracy_percent"]["mean"]:
            return f"“{other['title']}” is smaller, no slower and no less accurate"
        if other["name"] in row["ties"]:
            return f"“{other['title']}” is smaller, no slower and, but for chance, as accurate"
    if row["speedup_batch1"] < 1:
        return "smaller, but slower than float32: its weights are looked up"
    if row["drop_points"] > _WORTH:
        return f"it costs {drop_text(row)} points: for where bytes count more than that"
    return None


def best_row(report: Report) -> Row | None:
    """Return the smallest row that pays."""
    rows = [row for row in report["rows"][1:] if why_not(report, row) is None]
    return max(rows, key=lambda row: row["ratio"], default=None)


def headline(report: Report) -> str:
    """Return what was gained and what it cost, in one sentence."""
    best = best_row(report)
    if best is None:
        return "No row is smaller and faster than the float network at half a point or less."
    drop, error = best["drop_points"], best["drop_error_points"]
    cost = (
        "it answers every image as rightly" if drop == error == 0
        else f"its accuracy differs by no more than chance ({_signed(-drop)} ± {error:.2f} points)"
        if is_tie(best)
        else f"it costs {drop_text(best)} points of accuracy" if drop > 0
        else f"and it is more accurate by {-drop:.2f} ± {error:.2f} points"
    )  # fmt: skip
    return (
        f"“{best['title']}” is {best['ratio']:.1f} times smaller than the float network and "
        f"{best['speedup_batch1']:.1f} times faster on one sample; {cost}."
    )


def drop_text(row: Row) -> str:
    """Return a row's drop with its standard error."""
    return f"{_signed(row['drop_points']).lstrip('+')} ± {row['drop_error_points']:.2f}"


def runs_text(report: Report, folds: int) -> str:
    """Return which images were judged by how many networks."""
    data, seeds = report["data"], report["seeds"]
    part = "test" if data["split"] == "test" else "validation"
    images = f"{data['scored_images']:,} {part} images"
    if len(seeds) == 1:
        return f"{images}, one seed: {seeds[0]}"
    runs = f"{images}, means over {len(seeds)} seeds"
    parts = data["name"] != "MNIST" and part == "test"
    return runs + (f", of which each judges a part of {folds}" if parts else "")


def _signed(points: float) -> str:
    return "0.00" if round(points, 2) == 0 else f"{points:+.2f}"
