"""What the demo's table comes to."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.demo import verdict


def row(title: str, accuracy: float, size: int, time: float, error: float = 0.1) -> Any:
    return {
        "name": title, "title": title, "bytes": size, "batch1_p50_us": time, "ratio": 1000 / size,
        "speedup_batch1": 10 / time, "drop_points": 97.0 - accuracy, "drop_error_points": error,
        "accuracy_percent": {"mean": accuracy}, "ties": [],
    }  # fmt: skip


FLOAT = row("float32", 97.0, 1000, 10.0, 0.0)


def report(*rows: Any, seeds: tuple[int, ...] = (0,), name: str = "digits") -> Any:
    data = {"scored_images": 1000, "split": "test", "name": name}
    return {"rows": [FLOAT, *rows], "data": data, "seeds": list(seeds)}


def test_a_difference_within_chance_is_a_tie_and_no_victory() -> None:
    better = row("better by luck", 97.2, 250, 3.0, 0.4)
    assert verdict.is_tie(better)
    sentence = verdict.headline(report(better))
    assert "“better by luck” is 4.0 times smaller" in sentence
    assert "3.3 times faster" in sentence
    assert "no more than chance (+0.20 ± 0.40 points)" in sentence
    assert "more accurate" not in sentence


def test_what_is_surely_lost_is_said() -> None:
    worse = row("worse", 96.51, 100, 2.0, 0.01)
    assert not verdict.is_tie(worse)
    assert "it costs 0.49 ± 0.01 points" in verdict.headline(report(worse))
    assert verdict.headline(report(row("bad", 90.5, 100, 2.0))).startswith("No row is")


def test_equal_answers_are_said_to_be_equal() -> None:
    same = row("same", 97.0, 100, 2.0, 0.0)
    assert verdict.is_tie(same)
    assert verdict.headline(report(same)).endswith("it answers every image as rightly.")


def test_rows_that_pay_come_first_and_the_others_say_why() -> None:
    wide = row("wide", 98.2, 2000, 20.0)
    small = row("small", 96.5, 100, 2.0)
    medium = row("medium", 97.3, 300, 3.0)
    beaten = row("beaten", 96.25, 200, 4.0)
    lucky = row("lucky", 96.6, 120, 4.0) | {"ties": ["small"]}
    slow = row("slow", 98.0, 150, 40.0)
    costly = row("costly", 95.0, 90, 1.0)
    found = report(wide, beaten, medium, small, slow, lucky, costly)
    titles = [one["title"] for one in verdict.ordered(found)]
    assert titles == ["float32", "small", "medium", "costly", "lucky", "slow", "beaten", "wide"]
    reasons = {one["title"]: str(verdict.why_not(found, one)) for one in found["rows"]}
    assert reasons["small"] == "None"
    assert "“small” is smaller, no slower and no less accurate" in reasons["beaten"]
    assert "“small” is smaller, no slower and, but for chance, as accurate" in reasons["lucky"]
    assert "it costs 2.00 ± 0.10 points" in reasons["costly"]
    assert "slower than float32" in reasons["slow"]
    assert "larger" in reasons["wide"]


@pytest.mark.parametrize(
    ("seeds", "name", "text"),
    [
        ((3,), "digits", "1,000 test images, one seed: 3"),
        (
            (0, 1),
            "digits",
            "1,000 test images, means over 2 seeds, of which each judges a part of 5",
        ),
        ((0, 1), "MNIST", "1,000 test images, means over 2 seeds"),
    ],
)
def test_runs_are_named(seeds: tuple[int, ...], name: str, text: str) -> None:
    assert verdict.runs_text(report(seeds=seeds, name=name), 5) == text
