"""What the site does with links that leave the documentation: files of the repository are named."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(
    r"\[(?P<text>[^\]]+)\]\((?:\.\./)+(?P<path>(?:python|rust|benches|examples|tests)/[^)#]*)[^)]*\)"
)
_README = re.compile(r"\((?:\.\./)+README\.md(?P<anchor>#[^)]*)?\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn a link to a source into its path; the site has the pages, not the sources."""
    markdown = _OUTSIDE.sub(lambda found: f"{found['text']} (`{found['path']}`)", markdown)
    return _README.sub("(index.md)", markdown)
