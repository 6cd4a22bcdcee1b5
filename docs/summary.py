"""The table of the README: whole networks beside the best peer, from the pages that measured them.

``python docs/summary.py | python docs/splice.py README.md networks`` (``make networks`` does it).
One line for each network, one thread; also where the peer is faster.
"""

import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent

# The page of networks, the mark of its table, and the unit of its times.
NETWORKS = (("networks.md", "networks", "µs"), ("networks.md", "large", "ms"))
# Tables of the page of sequences, whose cells have their units.
SEQUENCES = ("encoders", "rapidocr")


def rows(page: str, mark: str) -> list[list[tuple[str, str]]]:
    """Return the lines of the table between the marks, as pairs of head and cell.

    Heads may repeat.
    """
    text = (HERE / page).read_text("utf-8")
    found = re.search(rf"<!-- {mark} -->(.*?)<!-- /{mark} -->", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"{page} has no <!-- {mark} -->")
    lines = [line for line in found.group(1).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [list(zip(cells[0], line, strict=True)) for line in cells[2:]]


def networks() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield network, our time, its best peer, that peer's time, and the ratio, for one sample."""
    for page, mark, unit in NETWORKS:
        for row in map(dict, rows(page, mark)):
            if row["threads"] != "1":
                continue
            ours = row[f"qcore int8, {unit}"] or row.get(f"qcore int8 file, {unit}", "")
            peer = row["best peer"]
            yield (
                row["network"],
                f"{ours} {unit}",
                peer.removesuffix(" file"),
                f"{row[f'{peer}, {unit}']} {unit}",
                row["ratio"],
            )


def microseconds(cell: str) -> float:
    """Return the time in a cell such as ``4,110 µs``."""
    return float(cell.removesuffix(" µs").replace(",", ""))


def sequences() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the same for networks that read sequences, quantized row by row as they come."""
    for mark in SEQUENCES:
        for row in rows("sequences.md", mark):
            name, ours = row[0][1].removesuffix(".onnx").removesuffix(", dynamic"), row[1][1]
            if name.endswith(", static"):
                continue
            # The heads of ratios repeat those of times; only times end in their unit.
            peers = {head: cell for head, cell in row[3:] if cell.endswith(" µs")}
            best = min(peers, key=lambda head: microseconds(peers[head]))
            ratio = microseconds(peers[best]) / microseconds(ours)
            yield name, ours, best.replace("ORT", "ONNX Runtime"), peers[best], f"{ratio:.2f} ×"


def chunks() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the same for the network that hears chunk by chunk; the middle of its times."""
    times = {row[0][1]: row[1][1] for row in rows("sequences.md", "silero")}
    ours, peer = times["qcore int8"], times["ORT float"]
    ratio = float(peer) / float(ours)
    yield "silero-vad", f"{ours} µs", "ONNX Runtime float", f"{peer} µs", f"{ratio:.2f} ×"


def main() -> None:
    """Print the table."""
    print("| network | qcore int8 | its best peer | times as fast |\n| --- | ---: | --- | ---: |")
    for found in (networks, sequences, chunks):
        for name, ours, peer, time, ratio in found():
            print(f"| {name} | {ours} | {peer}, {time} | {ratio} |")


if __name__ == "__main__":
    main()
