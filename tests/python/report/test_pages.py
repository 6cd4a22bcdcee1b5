"""Reports as pages, pictures and in notebooks."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from browser import Browser, find_chromium
from commands import call
from qcore.report.compare.comparison import Comparison
from qcore.report.page import figures
from qcore.report.page.figure import Figure
from qcore.report.page.gallery import tensor_figures
from qcore.report.page.trade_off import drops, trade_off
from report_parts import RNG, WEIGHTS, samples


@pytest.fixture(scope="module")
def comparison(net: qc.nn.Sequential) -> Comparison:
    X, y = samples()
    return qc.compare(net, qc.compress(net, X, sparsity=0.5, bits=4), X, y)


def page_data(path: Path) -> dict[str, Any]:
    """Return what a page's figures are drawn from."""
    text = path.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_page_has_everything(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    comparison.save(path)
    data = page_data(path)
    names = [figure["id"] for figure in data["figures"]]
    assert names == ["bytes", "sqnr", "layers", "curve", "sensitivity", "size", "speed"]
    tensors = {tensor["name"]: tensor for tensor in data["tensors"]}
    assert set(tensors) == {row["tensor"] for row in comparison.report.rows}
    assert sum(tensors["fc1.weight"]["hist"][0]) == pytest.approx(1, abs=0.05)
    assert "map" in tensors["fc1.weight"]


def test_page_asks_for_nothing(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    comparison.save(path)
    text = path.read_text("utf-8")
    assert "default-src 'none'" in text
    markup = re.sub(r"<script[^>]*>.*?</script>", "<script>", text, flags=re.DOTALL)
    assert not re.search(r"""<(?:script|img|iframe|link)[^>]*(?:src|href)=["'](?!data:)""", markup)


def test_texts_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b>&amp;"
    weights = {evil: WEIGHTS["layers.0.weight"]}
    path = tmp_path / "report.html"
    qc.compare(weights, qc.compress(weights), title=evil, command=evil, recipe=evil).save(path)
    text = path.read_text("utf-8")
    assert "<script>alert(1)" not in text
    assert "<b>&amp;" not in text
    assert html.escape(evil) in text
    assert page_data(path)["tensors"][0]["name"] == evil


def test_page_of_two_hundred_tensors_is_small(tmp_path: Path) -> None:
    weights = {f"w{i}": RNG.standard_normal((64, 64)).astype(np.float32) for i in range(200)}
    path = tmp_path / "report.html"
    qc.compare(weights, qc.compress(weights, sparsity=0.5, bits=4)).save(path)
    assert path.stat().st_size < 3_000_000


def test_figures_as_pictures(comparison: Comparison, tmp_path: Path) -> None:
    for figure in [*comparison.figures, *tensor_figures(comparison, "fc1.weight")]:
        path = tmp_path / f"{figure.name}.png"
        figure.save(path, scale=1.0)
        assert path.read_bytes().startswith(b"\x89PNG")
        figure.save(path.with_suffix(".svg"), theme="dark")
        assert figure.title.split(":")[0] in path.with_suffix(".svg").read_text("utf-8")
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        comparison.figures[0].save(tmp_path / "figure.pdf")


def test_figures_by_command(tmp_path: Path) -> None:
    qc.save(tmp_path / "model.safetensors", WEIGHTS)
    words = ("compress", tmp_path / "model.safetensors", "-o", tmp_path / "small.safetensors")
    assert call(*words, "--figures", tmp_path / "figures").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["bytes.png", "curve.png", "sensitivity.png", "sqnr.png"]


def test_missing_extra(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ImportError, match=r"qcore-cpu\[report\]"):
        comparison.figures[0].svg()
    assert "smaller" in comparison._repr_html_()


needs_browser = pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, made by the commands."""
    folder = tmp_path_factory.mktemp("pages")
    many = {
        f"layers.{i}.weight": RNG.standard_normal((32, 48)).astype(np.float32) for i in range(60)
    }
    qc.save(folder / "many.safetensors", many)
    few = folder / "few.safetensors"
    qc.save(few, WEIGHTS)
    write_network(folder)
    files = [folder / f"{name}.safetensors" for name in ("net", "int8", "int4")]
    data = ("--data", folder / "X.npy", "--labels", folder / "y.npy")
    words = ("-o", folder / "small.safetensors", "--report")
    results = [
        call("compress", folder / "many.safetensors", *words, folder / "many.html", "--bits", "4"),
        call("compress", few, *words, folder / "few.html", "--sparsity", "0.6"),
        call("compare", few, folder / "small.safetensors", "--report", folder / "compare.html"),
        call("compress", files[0], "-o", files[1]),
        call("compress", files[0], "-o", files[2], "--bits", "4", *data),
        call("compare", *files[:2], "--also", files[2], *data, "--report", folder / "net.html"),
        call("demo", "--epochs", "1", "--seeds", "2", "--report", folder / "demo.html"),
    ]
    for result in results:
        assert result.exit_code == 0, result.output
    return {path.stem: path for path in folder.glob("*.html")}


def write_network(folder: Path) -> None:
    X, y = samples()
    layers = [qc.nn.Dense(10, 24, "relu"), qc.nn.Dense(24, 3, "softmax")]
    qc.nn.Sequential(layers).fit(X, y, epochs=5, random_state=0).save(folder / "net.safetensors")
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)


@needs_browser
@pytest.mark.parametrize("name", ["many", "few", "compare", "net", "demo"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 390])
def test_page_in_a_browser(pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    drawn = len(page_data(pages[name])["figures"])
    with Browser(width, dark=dark) as browser:
        browser.open(pages[name])
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert (
            browser.evaluate("document.querySelectorAll('figure .plot svg.marks').length") == drawn
        )
        rows = browser.evaluate("document.querySelectorAll('#tensors tbody tr').length")
        assert rows == len(page_data(pages[name])["tensors"])
        browser.evaluate("document.querySelector('#tensors tbody tr:last-child').click()")
        browser.evaluate("document.querySelector('th[data-key=bytes]').click()")
        browser.evaluate("document.getElementById('theme').click()")
        outside = browser.evaluate(
            "[...document.querySelectorAll('main *:not(.scroll *):not(pre *)')]"
            ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
        )
        assert outside == 0
        # Nothing is hidden behind a sideways scroll, either.
        hidden = browser.evaluate(
            "[...document.querySelectorAll('.scroll, pre')]"
            ".filter(e => e.scrollWidth > e.clientWidth + 1).length"
        )
        assert hidden == 0
        assert browser.errors == []
        assert browser.requests == []


@needs_browser
def test_browser_would_see_an_error(tmp_path: Path) -> None:
    """The checks above can fail: errors and requests are seen."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<script>console.error('oh'); fetch('http://127.0.0.1:9/x').catch(() => 0);"
        "document.documentElement.dataset.ready = 'yes'; missing()</script>"
    )
    with Browser(800) as browser:
        browser.open(page)
        for _ in range(50):
            browser.evaluate("new Promise(done => setTimeout(done, 20))")
            if len(browser.errors) > 1 and browser.requests:
                break
        assert any("oh" in error for error in browser.errors)
        assert any("missing" in error for error in browser.errors)
        assert browser.requests == ["http://127.0.0.1:9/x"]


def test_things_show_themselves(net: qc.nn.Sequential, comparison: Comparison) -> None:
    q = qc.quantize(WEIGHTS["layers.0.weight"], bits=4, group_size=8)
    for shown, words in [
        (q, ["int4 affine, groups of 8", "24 × 40", "<svg"]),
        (net, ["fc1", "10 → 24", "relu", "softmax"]),
        (qc.CsrMatrix.from_dense(np.eye(30)), ["CsrMatrix", "30 × 30", "3.3 %", "<rect"]),
        (qc.CsrMatrix.from_dense(np.zeros((2, 0))), ["CsrMatrix"]),
        (comparison.report, ["fc1.weight", "SQNR dB"]),
        (comparison, ["smaller", "<svg", "fc1.weight"]),
        (comparison.figures[0], ["<svg"]),
        (qc.quantize(np.zeros(0)), ["QTensor"]),
        (qc.nn.Sequential([qc.nn.Dense(2, 3)]), ["not trained"]),
    ]:
        text = shown._repr_html_()
        for word in words:
            assert word in text


def test_names_in_notebooks_are_escaped() -> None:
    report = qc.Report("<i>", [{"tensor": "<script>"}])
    assert "<script>" not in report._repr_html_()
    assert "&lt;script&gt;" in report._repr_html_()


def test_figure_of_confusion_and_trade_off() -> None:
    variants = [
        {"title": f"v{i}", "accuracy": 90.0 + i, "bytes": 100 * (i + 1), "spread": 0.5,
         "front_bytes": True}
        for i in range(3)
    ]  # fmt: skip
    for spec in (
        trade_off(variants, "bytes", "bytes"),
        trade_off(variants[:1], "bytes", "bytes"),
        drops([{"title": "v", "drop": 0.5, "error": 0.1, "tie": False}], "points"),
        figures.confusion({"a": [[3, 0], [1, 2]]}, ["0", "1"]),
    ):
        assert Figure("f", "title", "caption", spec).svg().startswith("<svg")
