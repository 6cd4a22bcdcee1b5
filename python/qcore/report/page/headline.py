"""The large numbers at the top of a page: what was saved and what it cost, at one glance."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qcore.report.compare.tensors import is_adjusted
from qcore.report.compare.variants import speed_rows

if TYPE_CHECKING:
    from qcore.report.compare.comparison import Comparison

__all__ = ["Fact", "faster_text", "headline", "micros_text"]

# Decibel of the worst tensor below which a page warns, and below which it warns loudly.
_WARN, _BAD = 20.0, 10.0


@dataclass(frozen=True)
class Fact:
    """One number.

    Attributes
    ----------
    label, value, note : str
    tone : {"", "good", "warn", "bad"}
    share : float or None
        Drawn as a bar: what is left of the whole.
    """

    label: str
    value: str
    note: str = ""
    tone: str = ""
    share: float | None = None

    def html(self) -> str:
        """Return the number as a card."""
        bar = ""
        if self.share is not None:
            width = max(0.6, min(100.0, 100 * self.share))
            bar = f'<div class="left"><i style="width:{width:.1f}%"></i></div>'
        return (
            f'<div class="card fact {self.tone}"><span>{html.escape(self.label)}</span>'
            f"<b>{html.escape(self.value)}</b>{bar}<small>{html.escape(self.note)}</small></div>"
        )


def headline(comparison: Comparison) -> list[Fact]:
    """Return what a reader must know first."""
    share = comparison.after / max(comparison.before, 1)
    ratio = comparison.before / max(comparison.after, 1)
    facts = [
        Fact(
            "size", f"{ratio:.1f}× smaller",
            f"{_bytes(comparison.before)} → {_bytes(comparison.after)}",
            "good" if ratio > 1 else "bad", share,
        )
    ]  # fmt: skip
    facts += _speed(comparison)
    outputs = comparison.outputs
    if outputs is not None and outputs.before is not None and outputs.after is not None:
        scale, unit = (
            (100.0, "\N{NO-BREAK SPACE}%") if outputs.score_name == "accuracy" else (1.0, "")
        )
        lost = scale * (outputs.before - outputs.after)
        word = "points" if unit else ""
        facts.append(
            Fact(
                outputs.score_name, f"{scale * outputs.after:.2f}{unit}",
                f"{_signed(-lost)} {word} from {scale * outputs.before:.2f}{unit}, "
                f"{outputs.samples:,} samples",
                _tone(-lost, -0.5, -2.0) if unit else "",
            )
        )  # fmt: skip
    if outputs is not None and outputs.agreement is not None:
        facts.append(
            Fact("same answer", f"{100 * outputs.agreement:.2f} %",
                 f"outputs {_decibel(outputs.sqnr_db)}")
        )  # fmt: skip
    lossy = [r for r in comparison.report.rows if math.isfinite(r.get("SQNR dB", math.inf))]
    total = comparison.report.totals.get("SQNR dB")
    if total is None and lossy:
        total = _total(comparison)
    if total is not None and lossy:
        worst = min(lossy, key=lambda row: (is_adjusted(row), row["SQNR dB"]))
        facts.append(
            Fact("error of the weights", _error(total),
                 f"SQNR {_decibel(total)}; worst: {worst['tensor']}, {_decibel(worst['SQNR dB'])}",
                 "" if outputs is not None else _tone(worst["SQNR dB"], _WARN, _BAD))
        )  # fmt: skip
    zeros = [row["zeros"] for row in lossy if row.get("zeros")]
    if zeros and max(zeros) > 0.2:
        facts.append(Fact("zeros", f"{100 * max(zeros):.0f} %", "in the sparsest tensor"))
    return facts


def _speed(comparison: Comparison) -> list[Fact]:
    """Return how much faster one sample is, and the large batch in the note."""
    timed = [v for v in comparison.variants if v.batch1_us is not None]
    if len(timed) < 2:
        return []
    one, *more = speed_rows(timed)
    note = f"{micros_text(one['before_us'])} → {micros_text(one['after_us'])} a sample"
    note += "".join(f"; {faster_text(row['speedup'])} for {row['batch']:,}" for row in more)
    return [Fact("speed", faster_text(one["speedup"]), note, _tone(one["speedup"], 1.0, 0.5))]


def micros_text(micros: float) -> str:
    """Return a time with three figures.

    Examples
    --------
    >>> micros_text(3.14159), micros_text(1234.5), micros_text(2.5e6)
    ('3.14 µs', '1.23 ms', '2.5 s')
    """
    for unit in ("µs", "ms"):
        if micros < 999.5:
            return f"{micros:.3g} {unit}"
        micros /= 1000
    return f"{micros:.3g} s"


def faster_text(speedup: float) -> str:
    """Return a ratio of times in words.

    Examples
    --------
    >>> faster_text(4.58), faster_text(0.25)
    ('4.6× faster', '4.0× slower')
    """
    return f"{speedup:.1f}× faster" if speedup >= 1 else f"{1 / speedup:.1f}× slower"


def _total(comparison: Comparison) -> float | None:
    """Return the SQNR of the tensors that were tried, from their own."""
    signal = {tensor.name: tensor.signal for tensor in comparison.precision}
    rows = [row for row in comparison.report.rows if row["tensor"] in signal]
    noise = sum(signal[row["tensor"]] * 10 ** (-row["SQNR dB"] / 10) for row in rows)
    return 10 * math.log10(sum(signal.values()) / noise) if noise > 0 else None


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def _decibel(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _error(sqnr: float) -> str:
    """Return an SQNR as the size of the error beside that of the values."""
    return f"{100 * 10 ** (-sqnr / 20):.2g} %"


def _signed(value: float) -> str:
    return "±0" if round(value, 2) == 0 else f"{value:+.2f}".replace("-", "−")


def _tone(value: float, warn: float, bad: float) -> str:
    return "good" if value >= warn else "warn" if value >= bad else "bad"
