"""The cores that loops are computed for, and what their pipes take.

Widths and pipes of the N1 (and the A76, which it is made of), N2 and V1 are those of LLVM's models
of these cores, which follow Arm's Software Optimization Guides (AArch64SchedNeoverseN1.td and its
neighbours); those of the A72 are LLVM's model of the A57, which it also takes for the A72. What the
cores that run in order issue together was measured by others: ncnn's page arm-a53-a55-dual-issue,
and ONNX Runtime's change 10754.
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
ADDITIONS = re.compile(r"([su]adalp|[su]addlp|addp)$")
# What parts a byte into two codes of four bits.
PARTS = re.compile(r"(and\tv\d+\.16b|ushr\tv\d+\.16b)")
# What moves 8 bytes from a general register, beside which a core that runs in order multiplies.
TRANSFERS = re.compile(r"(ins|mov|fmov)\t(v\d+\.d\[1\]|d\d+), x\d+$")
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
    # What storing 16 bytes takes of the vector pipes, by themselves and in pairs, and of those that
    # load.
    store_vectors: int = 0
    paired_vectors: int = 0
    store_loads: int = 0
    # In order, with loads of 8 bytes: one of 16 lets nothing else issue for two cycles.
    in_order: bool = False
    # Whether vector loads of 8 bytes issue beside transfers alone, not beside products.
    alone: bool = False

    def cycles(self, loop: Loop) -> float:
        """Return the least cycles of one turn of a loop, were nothing ever waited for."""
        if self.in_order:
            vectors = loop.vectors - loop.transfers + 2 * loop.wide_loads
            if self.alone:
                vectors += max(loop.half_loads, loop.transfers)
            loads = loop.loads + loop.wide_loads + loop.stores
            return max(loop.slots / self.width, vectors, loads / self.loads)
        alone = loop.stores - loop.paired
        stores = self.store_vectors * alone + self.paired_vectors * loop.paired
        vectors = max(
            (loop.vectors + stores) / self.vectors,
            loop.longs / self.longs,
            loop.shifts / self.shifts,
        )
        loads = loop.loads + self.store_loads * loop.stores
        return max(loop.slots / self.width, vectors, loads / self.loads)

    def products(self, loop: Loop) -> float:
        """Return the cycles that products alone take."""
        return max(loop.multiplies / self.vectors, loop.longs / self.longs)

    def bound(self, loop: Loop, reads: float, moves: int) -> float:
        """Return the least cycles that any loop takes for the same: what it cannot do without.

        These are products; their additions, where a product does not add; parting two codes of a
        byte; reading ``reads`` registers of 16 bytes; storing results, and starting the sums that
        they are of: in a vector pipe, or beside it, by ``moves`` from general registers or by a
        load, whichever is better for how many of them. Not what counts turns, computes addresses,
        or copies registers.
        """
        starts = loop.stores if moves else 0
        if not self.in_order:
            moves = 1
        return min(self._least(loop, reads, by, moves * (starts - by)) for by in range(starts + 1))

    def _least(self, loop: Loop, reads: float, copies: int, moves: int) -> float:
        work = loop.multiplies + loop.additions + loop.parted + copies
        if self.in_order:
            # A register is read by two loads, and put together by a third instruction, which
            # issues beside the next of them.
            slots = work + moves + 3 * reads + loop.stores - loop.paired / 2
            vectors = work + (reads + moves if self.alone else 0)
            return max(slots / self.width, vectors, (2 * reads + loop.stores) / self.loads)
        work += self.paired_vectors * loop.stores
        loads = reads + moves + self.store_loads * loop.stores
        return max(work / self.vectors, loop.longs / self.longs, loads / self.loads)


CORES = (
    Core("Cortex-A53", "neon", 2, 1, 1, 1, 1, in_order=True, alone=True),
    Core("Cortex-A72", "neon", 3, 2, 1, 1, 1),
    Core("Cortex-A55", "neon_dot", 2, 1, 1, 1, 1, in_order=True),
    Core("Cortex-A76, Neoverse N1", "neon_dot", 4, 2, 1, 1, 2, 2, 1, 2),
    Core("Neoverse N2", "neon_i8mm", 5, 2, 1, 1, 3, 1, 1, 1),
    Core("Neoverse V1", "neon_i8mm", 8, 4, 2, 2, 3, 1, 1, 1),
)


class Loop:
    """The instructions of one turn of a loop, counted by what they need."""

    def __init__(self, lines: list[str]) -> None:
        self.counts = Counter(line.split()[0] for line in lines)
        self.slots = self.loads = self.wide_loads = self.half_loads = self.vectors = 0
        self.stores = self.paired = self.transfers = 0
        self.longs = self.shifts = self.multiplies = self.additions = self.parted = 0
        for line in lines:
            word, _, operands = line.partition("\t")
            word = word.strip()
            registers = 2 if word in ("ldp", "stp", "ldnp") else 1
            # What loads or stores a pair is one until it reaches the pipes.
            self.slots += 1
            if word.startswith("st"):
                self.stores += registers
                self.paired += registers if registers == 2 else 0
                continue
            if re.match(r"ld|prfm", word):
                self.loads += registers
                if re.match(r"\s*q", operands):
                    self.wide_loads += registers
                if re.match(r"\s*d\d", operands):
                    self.half_loads += registers
                # A copy to every lane, or to one, is made in a vector pipe.
                self.vectors += word.startswith("ld1")
                continue
            if not VECTOR.search(operands):
                continue
            self.vectors += 1
            self.transfers += bool(TRANSFERS.match(f"{word}\t{operands.strip()}"))
            self.longs += bool(MULTIPLIES_LONG.match(word))
            self.shifts += bool(SHIFTS.match(word))
            self.multiplies += bool(MULTIPLIES.match(word))
            self.additions += bool(ADDITIONS.match(word))
            self.parted += bool(PARTS.match(f"{word}\t{operands.strip()}"))
