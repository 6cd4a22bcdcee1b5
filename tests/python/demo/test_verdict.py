"""What the demo's table comes to."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.demo import verdict


def row(title: str, values: list[float], size: int, time: float, **more: Any) -> Any:
    mean = sum(values) / len(values)
    return {
        "title": title, "bytes": size, "batch1_p50_us": time, "ratio": 1000 / size,
        "speedup_batch1": 10 / time, "drop_points": 97.0 - mean,
        "accuracy_percent": {"mean": mean, "values": values}, **more,
    }  # fmt: skip


FLOAT = row("float32", [96.0, 98.0], 1000, 10.0)


def report(*rows: Any) -> Any:
    return {"rows": [FLOAT, *rows], "data": {"scored_images": 1000}}


def test_a_difference_within_chance_is_a_tie_and_no_victory() -> None:
    better = row("better by luck", [96.6, 97.8], 250, 3.0)  # differences of -0.6 and 0.2
    found = report(better)
    assert verdict.drop_error(found, better) == pytest.approx(0.4)
    assert verdict.is_tie(found, better)
    sentence = verdict.headline(found)
    assert "“better by luck” is 4.0 times smaller" in sentence
    assert "3.3 times faster" in sentence
    assert "no more than chance (+0.20 ± 0.40 points)" in sentence
    assert "more accurate" not in sentence


def test_what_is_surely_lost_is_said() -> None:
    worse = row("worse", [95.52, 97.5], 100, 2.0)
    found = report(worse)
    assert not verdict.is_tie(found, worse)
    assert "it costs 0.49 ± 0.01 points" in verdict.headline(found)
    assert verdict.headline(report(row("bad", [90.0, 91.0], 100, 2.0))).startswith("No row is")


def test_one_run_has_the_error_of_its_images() -> None:
    single = row("single", [96.5], 100, 2.0)
    error = verdict.drop_error(report(single), single)
    assert error == pytest.approx(100 * (2 * 0.965 * 0.035 / 1000) ** 0.5)


def test_rows_that_pay_come_first_and_the_others_say_why() -> None:
    wide = row("wide", [98.0, 98.4], 2000, 20.0)
    small = row("small", [96.0, 97.0], 100, 2.0)
    medium = row("medium", [96.8, 97.8], 300, 3.0)
    beaten = row("beaten", [96.0, 96.5], 200, 4.0)
    slow = row("slow", [97.5, 98.5], 150, 40.0)
    found = report(wide, beaten, medium, small, slow)
    titles = [one["title"] for one in verdict.ordered(found)]
    assert titles == ["float32", "small", "medium", "slow", "beaten", "wide"]
    reasons = {one["title"]: verdict.why_not(found, one) for one in found["rows"]}
    assert reasons["small"] is None
    assert "“small” is smaller, no slower" in str(reasons["beaten"])
    assert "slower than float32" in str(reasons["slow"])
    assert "larger" in str(reasons["wide"])
