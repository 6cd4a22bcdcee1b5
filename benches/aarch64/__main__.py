"""The share of a core's peak that each loop of the ARM kernels can reach: computed, not measured.

``python -m benches.aarch64 | python docs/splice.py docs/arm.md loops`` compiles the kernels for
AArch64 and counts the instructions of one turn of each inner loop. A turn takes as many cycles as
the busiest of a core's parts needs for its own instructions: decoding, the vector pipes, those of
them that take only some instructions, and the load pipes. A cell is the share of that which no loop
could do without; where products alone are less, it says which share they have, of which share they
could have. ``--assembly FILE`` reads what was compiled before.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benches.aarch64.assembly import compile_kernels, functions, loops
from benches.aarch64.cores import CORES, Core, Loop

REGISTERS = 32


@dataclass(frozen=True)
class Kernel:
    """A row of the table: where its loop is, and what a turn has to do beside products."""

    isa: str
    what: str
    # Parts of the mangled name, all of which it has.
    symbol: tuple[str, ...]
    # What multiplies in the loop.
    word: str
    # Registers of 16 bytes that a turn cannot do without reading.
    reads: float = 0
    # How many multiply, where a function has loops of several sizes.
    multiplies: int = 0
    # Whether it is for cores that run in order, or not for these; None: for all.
    in_order: bool | None = None
    # What starts a sum beside the vector pipes: moves from general registers, of values two, of 0
    # one; 0 where a loop starts none.
    moves: int = 0


def tile(module: str, rows: int, units: int) -> tuple[str, ...]:
    """Return the parts of the name of a tile of so many rows and units."""
    number = {0: "Kj0_", 1: "Kj1_"}
    first, second = (number.get(value, f"Kj{value:x}_") for value in (rows, units))
    # A constant that was written before is named by its place, but for one digit.
    return (f"{len(module)}{module}4tile{first}", second if first != second else "_EB")


# Registers that floats read for a product, by the shape of a tile that has fewest: its sums, inputs
# of its rows and a register of its columns are all registers there are.
FLOAT_READS = min(
    (columns + rows / 4) / (rows * columns)
    for rows in range(1, 31)
    for columns in range(1, 31)
    if rows * columns + rows + 1 <= REGISTERS
)
# The same of pixels, for windows of 3 x 3: of two rows of places, of which the second is three
# places behind, each pixel is read once, while 18 sums, nine weights and four pixels are in
# registers.
PIXEL_READS = 4 / 18
CHANNELS = ("conv9depthwise",)
DEPTHWISE = ("dispatch_dot", "conv4int89depthwise")

KERNELS = (
    Kernel("neon", "product, 3 rows", ("4neon16three_by_sixteen",), "smull", 4, in_order=False),
    Kernel(
        "neon", "product, 3 rows", ("4neon25three_by_sixteen_in_order",), "smull", 4, in_order=True
    ),
    Kernel("neon", "product, 1 row", ("4neon", *tile("plain", 1, 8)), "smull", 32, in_order=False),
    Kernel("neon", "product, 1 row", ("8neon_row8products",), "smull", 32, in_order=True),
    Kernel(
        "neon", "int4, 2 rows", ("int45micro", *tile("plain", 2, 1)), "smull", 4, in_order=False
    ),
    Kernel(
        "neon", "int4, 1 row", ("int45micro", *tile("plain", 1, 4)), "smull", 16, in_order=False
    ),
    Kernel("neon", "int4, 1 row", ("10neon_lines7one_row",), "smlal", 16, in_order=True),
    Kernel(
        "neon",
        "float, 5 rows",
        ("gemm5float5drive4Part",),
        "fmla",
        80 * FLOAT_READS,
        multiplies=80,
        in_order=False,
    ),
    Kernel(
        "neon",
        "float, 5 rows",
        ("gemm5float8in_order9five_rows",),
        "fmla",
        160 * FLOAT_READS,
        in_order=True,
    ),
    Kernel(
        "neon",
        "depthwise float, 3 x 3",
        ("9depthwise5slide",),
        "fmla",
        72 * PIXEL_READS,
        72,
        in_order=False,
        moves=1,
    ),
    Kernel(
        "neon",
        "depthwise float, 3 x 3",
        ("5slide8in_order8two_rows",),
        "fmla",
        144 * PIXEL_READS,
        in_order=True,
        moves=1,
    ),
    Kernel("neon", "depthwise float, any", CHANNELS, "fmla", 16, 16, in_order=False),
    Kernel(
        "neon", "depthwise float, any", ("5slide3any14sixteen_places",), "fmla", 16, in_order=True
    ),
    Kernel("neon", "depthwise int8, 3 x 3", DEPTHWISE, "smlal", 4, 24, in_order=False, moves=2),
    Kernel("neon", "depthwise int8, 3 x 3", DEPTHWISE, "smlal", 4, 24, in_order=True, moves=2),
    Kernel("neon", "depthwise int8, 5 x 5", DEPTHWISE, "smlal", 4, 40, in_order=False),
    Kernel(
        "neon", "depthwise int8, 5 x 5", ("5pairs9five_wide",), "smlal", 10, in_order=True, moves=2
    ),
    Kernel(
        "neon_dot", "product, 6 rows", ("8neon_dot14six_by_sixteen",), "sdot", 22, in_order=False
    ),
    Kernel(
        "neon_dot",
        "product, 6 rows",
        ("8neon_dot23six_by_sixteen_in_order",),
        "sdot",
        11,
        in_order=True,
    ),
    Kernel(
        "neon_dot",
        "product, 1 row",
        ("8neon_dot", *tile("plain", 1, 8)),
        "sdot",
        32,
        in_order=False,
    ),
    Kernel("neon_dot", "product, 1 row", ("8neon_row4dots",), "sdot", 32, in_order=True),
    Kernel(
        "neon_dot", "int4, 6 rows", ("int45micro", *tile("dot", 6, 1)), "sdot", 7, in_order=False
    ),
    Kernel(
        "neon_dot",
        "int4, 6 rows",
        ("int45micro", *tile("in_order", 6, 1)),
        "sdot",
        7,
        in_order=True,
    ),
    Kernel(
        "neon_dot", "int4, 1 row", ("int45micro", *tile("dot", 1, 4)), "sdot", 16, in_order=False
    ),
    Kernel(
        "neon_dot",
        "int4, 1 row",
        ("int45micro", *tile("in_order", 1, 4)),
        "sdot",
        16,
        in_order=True,
    ),
    Kernel("neon_dot", "depthwise int8, 3 x 3", DEPTHWISE, "sdot", 8, 24, in_order=False, moves=2),
    Kernel(
        "neon_dot",
        "depthwise int8, 3 x 3",
        DEPTHWISE,
        "sdot",
        8,
        24,
        in_order=True,
        moves=2,
    ),
    Kernel("neon_dot", "depthwise int8, 5 x 5", DEPTHWISE, "sdot", 4, 20, in_order=False),
    Kernel(
        "neon_dot",
        "depthwise int8, 5 x 5",
        DEPTHWISE,
        "sdot",
        12,
        60,
        in_order=True,
        moves=2,
    ),
    Kernel("neon_i8mm", "product, int8, 6 rows", ("5micro9neon_i8mm",), "smmla", 22, 48),
    Kernel("neon_i8mm", "product, uint8, 6 rows", ("5micro9neon_i8mm",), "usmmla", 22, 48),
    Kernel("neon_i8mm", "product, int8, 1 row", tile("neon_i8mm", 1, 8), "smmla", 32),
    Kernel("neon_i8mm", "product, uint8, 1 row", tile("neon_i8mm", 1, 8), "usmmla", 32),
    Kernel("neon_i8mm", "depthwise int8, 3 x 3", DEPTHWISE, "usdot", 8, 24, moves=2),
    Kernel("neon_i8mm", "depthwise int8, 5 x 5", DEPTHWISE, "usdot", 4, 20),
)


def find(kernel: Kernel, code: dict[str, list[str]]) -> Loop:
    """Return the loop of a kernel that multiplies most."""
    found = [
        Loop(lines)
        for name, body in code.items()
        if all(part in name for part in kernel.symbol)
        for lines in loops(body)
    ]
    found = [
        loop
        for loop in found
        if loop.counts[kernel.word]
        and kernel.multiplies in (0, loop.multiplies)
        # Only those for cores that run in order load halves.
        and kernel.in_order in (None, loop.transfers > 0)
    ]
    if not found:
        raise SystemExit(f"no loop of {kernel.isa} {kernel.what} in the assembly")
    return max(found, key=lambda loop: (loop.multiplies, -loop.vectors))


def runs(core: Core, kernel: Kernel) -> bool:
    """Return whether a core runs a kernel: the best of its kind that it has instructions for."""
    if kernel.in_order not in (None, core.in_order):
        return False
    order = ["neon", "neon_dot", "neon_i8mm"]
    kind = kernel.what.split(",")[0]
    isas = {each.isa for each in KERNELS if each.what.split(",")[0] == kind}
    best = max((isa for isa in isas if order.index(isa) <= order.index(core.isa)), key=order.index)
    return kernel.isa == best


def table(code: dict[str, list[str]]) -> str:
    """Return the table in Markdown."""
    head = ["Instructions", "Loop", "Multiplies", "Other vector", "Loads", "All"]
    head += [core.name for core in CORES]
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + " --- |" * 2 + " ---: |" * (len(head) - 2))
    for kernel in KERNELS:
        loop = find(kernel, code)
        what = f"{kernel.what}, in halves" if kernel.in_order else kernel.what
        cells = [f"`{kernel.isa}`", what, f"{loop.multiplies}"]
        cells += [f"{loop.vectors - loop.multiplies}", f"{loop.loads}", f"{loop.slots}"]
        for core in CORES:
            if not runs(core, kernel):
                cells.append("")
                continue
            cycles = core.cycles(loop)
            bound = core.bound(loop, kernel.reads, kernel.moves)
            products = core.products(loop)
            cell = f"{100 * bound / cycles:.0f} %"
            if products < 0.995 * bound:
                cell += f" ({100 * products / cycles:.0f} of {100 * products / bound:.0f})"
            cells.append(cell)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assembly", type=Path, help="what rustc wrote before")
    options = parser.parse_args()
    print(table(functions(options.assembly or compile_kernels())))


if __name__ == "__main__":
    main()
