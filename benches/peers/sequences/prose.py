"""Sentences to calibrate on, from texts that every machine with Python and NumPy has.

The language reference that ``help()`` shows, docstrings of the standard library and of NumPy, and
the pages of this repository: none of it was written for these benches, and none is what they judge.
All of it is about programs. So that a network also meets the words of everything else, some
sentences keep their grammar and get other words, of the network's own vocabulary.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import sysconfig
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

__all__ = ["exchanged", "prose"]

ROOT = Path(__file__).resolve().parents[3]
#: Words that a sentence has.
FEWEST, MOST = 5, 40
#: The share of its characters that are letters and spaces.
LETTERS = 0.93

#: Words that carry the grammar, beside all of at most three letters.
GRAMMAR = (
    "about after also because been before between could does each from have into more most must "
    "only other over same should some such than that their then there these they this those "
    "through under very were when where which while will with would"
)

_CODE = re.compile(r"[`*_<>={}\[\]|\\/#~^@+]|::|->|\(\)|\d\.\d|https?:")
_ENDS = re.compile(r"(?<=[a-z0-9)][.?!])\s+(?=[A-Z])")


def prose(count: int, without: frozenset[str] = frozenset()) -> list[str]:
    """Return so many different sentences, the same ones on each call; fewer where there are fewer.

    Parameters
    ----------
    count : int
    without : frozenset of str
        Sentences that are not to be among them.
    """
    found = dict.fromkeys(text for text in _sentences() if text not in without)
    order = np.random.default_rng(0).permutation(len(found))
    texts = list(found)
    return [texts[place] for place in order[:count]]


def exchanged(texts: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return sentences whose words, but for those of grammar, are others, drawn from `words`."""
    rng, kept = np.random.default_rng(1), frozenset(GRAMMAR.split())

    def other(found: re.Match[str]) -> str:
        word = found[0]
        is_grammar = len(word) <= 3 or word.lower() in kept
        return word if is_grammar else words[rng.integers(len(words))]

    return [re.sub(r"[A-Za-z]+", other, text) for text in texts]


def _sentences() -> Iterator[str]:
    for text in _texts():
        for paragraph in re.split(r"\n\s*\n", text):
            joined = " ".join(paragraph.split())
            for sentence in _ENDS.split(joined):
                if _is_prose(sentence):
                    yield sentence


def _is_prose(sentence: str) -> bool:
    words = len(sentence.split())
    whole = sentence[:1].isupper() and sentence[-1:] in ".?!"
    if not whole or not FEWEST <= words <= MOST or _CODE.search(sentence):
        return False
    plain = sum(letter.isalpha() or letter == " " for letter in sentence)
    return plain >= LETTERS * len(sentence)


def _texts() -> Iterator[str]:
    """Yield texts, long and short."""
    with contextlib.suppress(ImportError):  # some systems have it in a package of its own
        yield from import_module("pydoc_data.topics").topics.values()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield from _docstrings(path)
    for path in sorted(Path(np.__file__).parent.rglob("*.py")):
        if "tests" not in path.parts:
            yield from _docstrings(path)
    for name in sorted(dir(np)):
        yield inspect.getdoc(getattr(np, name)) or ""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if "zh" not in path.parts:
            yield path.read_text("utf-8")


def _docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a file of Python."""
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield ast.get_docstring(node) or ""
