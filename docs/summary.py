"""The table of the README: whole networks beside the best peer, from the pages that measured them.

``python docs/summary.py | python docs/splice.py README.md networks`` (``make networks`` does it).
One line for each network, one thread; also where the peer is faster.
"""

import re
from pathlib import Path

HERE = Path(__file__).parent

# The page, the mark of its table, and the unit of its times.
TABLES = (("networks.md", "networks", "µs"), ("networks.md", "large", "ms"))


def rows(page: str, mark: str) -> list[dict[str, str]]:
    """Return the lines of the table between the marks, by its heads."""
    text = (HERE / page).read_text("utf-8")
    found = re.search(rf"<!-- {mark} -->(.*?)<!-- /{mark} -->", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"{page} has no <!-- {mark} -->")
    lines = [line for line in found.group(1).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def main() -> None:
    """Print the table."""
    print("| network | qcore int8 | its best peer | times as fast |\n| --- | ---: | --- | ---: |")
    for page, mark, unit in TABLES:
        for row in rows(page, mark):
            if row["threads"] != "1":
                continue
            ours = row[f"qcore int8, {unit}"] or row.get(f"qcore int8 file, {unit}", "")
            peer = row["best peer"]
            time = row[f"{peer}, {unit}"]
            name = peer.removesuffix(" file")
            print(f"| {row['network']} | {ours} {unit} | {name}, {time} {unit} | {row['ratio']} |")


if __name__ == "__main__":
    main()
