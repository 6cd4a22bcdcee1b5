"""The cores that loops are computed for, and what their pipes take.

Widths and pipes are those of Arm's Software Optimization Guides, one public document for each core.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

# Instructions that only some of the vector pipes take.
MULTIPLIES_LONG = re.compile(r"[su](mull|mlal|mlsl)2?$")
SHIFTS = re.compile(r"([su]adalp|[su]?shll?2?|[su]shr|[su]sra|shrn2?|sli|sri)$")
# Instructions that multiply, whichever pipes take them.
MULTIPLIES = re.compile(r"([su](mull|mlal|mlsl)2?|(s|u|us|su)dot|(s|u|us)mmla|fml[as]|fmul)$")
ADDITIONS = re.compile(r"[su]adalp$")
VECTOR = re.compile(r"\b(v\d+\.|[qdsh]\d+\b)")


@dataclass(frozen=True)
class Core:
    """A core: how many instructions it takes in a cycle, and the pipes that they go to."""

    name: str
    isa: str
    width: int
    vectors: int
    # Of the vector pipes, those that multiply into twice the width, and those that shift.
    longs: int
    shifts: int
    loads: int
    # In order, with loads of 8 bytes: one of 16 lets nothing else issue for two cycles.
    in_order: bool = False

    def cycles(self, loop: Loop) -> float:
        """Return the least cycles of one turn of a loop, were nothing ever waited for."""
        vectors = max(
            loop.vectors / self.vectors, loop.longs / self.longs, loop.shifts / self.shifts
        )
        if self.in_order:
            return max(loop.slots / self.width, vectors + 2 * loop.wide_loads)
        return max(loop.slots / self.width, vectors, loop.loads / self.loads)

    def least(self, loop: Loop, weights: int) -> float:
        """Return the cycles that products take, with their additions, or reading the weights."""
        least = max(
            (loop.multiplies + loop.additions) / self.vectors if loop.additions else 0.0,
            loop.multiplies / self.vectors,
            loop.longs / self.longs,
        )
        return max(least, weights / self.loads * (2 if self.in_order else 1))


CORES = (
    Core("Cortex-A53", "neon", 2, 1, 1, 1, 1, in_order=True),
    Core("Cortex-A72", "neon", 3, 2, 1, 1, 1),
    Core("Cortex-A55", "neon_dot", 2, 1, 1, 1, 1, in_order=True),
    Core("Cortex-A76, Neoverse N1", "neon_dot", 4, 2, 1, 1, 2),
    Core("Neoverse N2", "neon_i8mm", 5, 2, 1, 1, 3),
    Core("Neoverse V1", "neon_i8mm", 8, 4, 2, 2, 3),
)


class Loop:
    """The instructions of one turn of a loop, counted by what they need."""

    def __init__(self, lines: list[str]) -> None:
        self.counts = Counter(line.split()[0] for line in lines)
        self.slots = self.loads = self.wide_loads = self.vectors = 0
        self.longs = self.shifts = self.multiplies = self.additions = 0
        for line in lines:
            word, _, operands = line.partition("\t")
            word = word.strip()
            registers = 2 if word in ("ldp", "stp", "ldnp") else 1
            # What loads a pair is one until it reaches the pipes.
            self.slots += 1
            if re.match(r"ld|st|prfm", word):
                self.loads += registers
                if re.match(r"\s*q", operands):
                    self.wide_loads += registers
                # A copy to every lane, or to one, is made in a vector pipe.
                self.vectors += word.startswith("ld1")
                continue
            if not VECTOR.search(operands):
                continue
            self.vectors += 1
            self.longs += bool(MULTIPLIES_LONG.match(word))
            self.shifts += bool(SHIFTS.match(word))
            self.multiplies += bool(MULTIPLIES.match(word))
            self.additions += bool(ADDITIONS.match(word))
