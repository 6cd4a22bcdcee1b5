"""The documentation: examples run, links lead somewhere, every public name is in the reference."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import qcore as qc
from qcore.arrays.layerwise.algorithms import ARRAY_ALGORITHMS, NETWORK_ALGORITHMS
from qcore.arrays.params.ranges import OBSERVERS
from qcore.arrays.pruning.criteria import CRITERIA
from qcore.arrays.pruning.patterns import _NAMED
from qcore.arrays.schemes.table import CHOICES as SCHEMES
from qcore.arrays.tensor.scheme import scheme_names

HOME = Path(__file__).parents[3]
PAGES = sorted([*(HOME / "docs").rglob("*.md"), HOME / "README.md", HOME / "CONTRIBUTING.md"])
NAMES = [str(page.relative_to(HOME)) for page in PAGES]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)|src=\"([^\"]+)\"")


def anchors(page):
    """Return what links into a page may name: its headings, as GitHub and MkDocs spell them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        own = re.search(r"\{ *#([\w-]+) *\}", heading)
        text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(own.group(1) if own else re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-"))
    return found


def shell(command, shown=True, printed=None):
    """Run a command as the page's reader would, and print what it prints."""
    here = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = shlex.split(command, comments=True)
    done = subprocess.run(
        words, text=True, capture_output=True, check=False, env=here, timeout=300
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr}"
    if printed is not None:
        printed.extend(done.stdout.splitlines())
    if shown:
        print(done.stdout)


def with_commands(text):
    """Return the page with the commands of its console blocks as examples of Python.

    What stands below a command is what it prints, ``...`` for the rest; nothing: not looked at.
    """

    def calls(block):
        lines = block.group(1).splitlines()
        for place, line in enumerate(lines):
            if line.startswith("$ qcore "):
                shown = place + 1 < len(lines) and not lines[place + 1].startswith("$ ")
                lines[place] = f">>> shell({line[2:]!r}, {shown})"
        return "```\n" + "\n".join(lines) + "\n\n```"

    return re.sub(r"```console\n(.*?)\n```", calls, text, flags=re.DOTALL)


def differs(shown, printed):
    """Return whether a line differs from what was printed: in words, or in numbers by a tenth."""
    if "µs" in shown:  # another CPU's, or a busy one's
        return shown.partition(":")[0] != printed.partition(":")[0]
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return True
    ours, theirs = (
        [float(number.replace(",", "")) for number in NUMBER.findall(line)]
        for line in (shown, printed)
    )
    return ours != pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_examples_run(page, tmp_path, monkeypatch):
    text = with_commands(page.read_text(encoding="utf-8"))
    if ">>>" not in text:
        pytest.skip("there are none")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    printed = []
    names = {"shell": partial(shell, printed=printed)}
    examples = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    report = []
    found = doctest.DocTestRunner(optionflags=OPTIONS).run(examples, out=report.append)
    assert found.failed == 0, "".join(report)
    if printed:
        for block in re.findall(r"```text\n(.*?)\n```", text, re.DOTALL):
            for line in block.splitlines():
                assert not all(differs(line, other) for other in printed), line


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for groups in LINK.findall(page.read_text(encoding="utf-8")):
        target = next(filter(None, groups))
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = page if not path else (page.parent / path).resolve()
        assert place.exists(), f"{page.name}: {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{page.name}: {target}"


def test_every_public_name_is_in_the_reference():
    pages = "".join(page.read_text() for page in (HOME / "docs" / "api").glob("*.md"))
    named = set(re.findall(r"^::: qcore\.(\w+)$", pages, re.MULTILINE))
    assert named == set(qc.__all__) - {"nn", "sklearn", "__version__"}
    networks = set(re.findall(r"^::: qcore\.nn\.(\w+)$", pages, re.MULTILINE))
    assert networks == set(qc.nn.__all__)


def test_every_method_is_explained():
    names = {
        *SCHEMES, *OBSERVERS, *ARRAY_ALGORITHMS, *NETWORK_ALGORITHMS, *CRITERIA, *_NAMED,
        *qc.nn.__all__, "PolynomialDecay", "ConstantSparsity", "Regrowth", "Rewinding",
    } - {"SGD", "Adam", "Dense", "Sequential"}  # fmt: skip
    page = (HOME / "docs" / "methods.md").read_text(encoding="utf-8")
    assert names <= set(re.findall(r"\w+", page))


def test_docstrings_and_the_file_format_name_every_choice():
    page = (HOME / "docs" / "files.md").read_text(encoding="utf-8")
    assert [name for name in scheme_names() if f'`"{name}"`' not in page] == []
    assert [name for name in SCHEMES if f'"{name}"' not in qc.quantize.__doc__] == []
    for call in (qc.prune, qc.Pruner):
        assert [name for name in CRITERIA if f'"{name}"' not in call.__doc__] == []


def test_every_page_is_in_the_menu():
    menu = (HOME / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (HOME / "docs").rglob("*.md"):
        assert str(page.relative_to(HOME / "docs")) in menu
