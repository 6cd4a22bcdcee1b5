"""Put the output of a command between its marks in a page: how tables get into the documentation.

``python docs/splice.py README.md demo < table.md`` replaces what stands between
``<!-- demo -->`` and ``<!-- /demo -->``.
"""

import sys
from pathlib import Path


def splice(page: str, mark: str, text: str) -> str:
    """Return the page with the text between the marks replaced."""
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = page.partition(opening)
    _, ended, after = rest.partition(closing)
    if not found or not ended:
        raise SystemExit(f"the page has no {opening} … {closing}")
    return f"{before}{opening}\n{text.strip()}\n{closing}{after}"


if __name__ == "__main__":
    path, mark = Path(sys.argv[1]), sys.argv[2]
    text = sys.stdin.read()
    path.write_text(splice(path.read_text("utf-8"), mark, text), "utf-8")
