"""Figures, a notebook's page, the index, and running notebooks."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reidlib.data.batches.masks import LABELS
from reidlib.errors import DataError, StoreError, UsageError
from reidlib.papers.claims import Claim, ClaimResult, Side
from reidlib.papers.tables import Measurement, fill, load_tables
from reidlib.report import Html, style

matplotlib = pytest.importorskip("matplotlib")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("papermill")

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output  # noqa: E402

from reidlib.report import figures  # noqa: E402
from reidlib.report.html import Banner, mathml, problems, render_page, write_page  # noqa: E402
from reidlib.report.index import (  # noqa: E402
    duration,
    paper_entry,
    read_summary,
    update_summary,
    write_index,
)
from reidlib.report.notebook import (  # noqa: E402
    NotebookError,
    _ThisInterpreter,
    parameter_names,
    run_notebook,
)

BANNER = Banner(
    synthetic=True,
    profile="smoke",
    device="cpu",
    date="2030-01-02",
    git="abc1234",
    versions={"torch": "2.11"},
    tagger="the tagger",
)

# ------------------------------------------------------------------ figures


def images(n: int, height: int = 48, width: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(n)]


def png_of(html: Html) -> np.ndarray:
    encoded = re.search(r'base64,([^"]+)"', html.html)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")).astype(int)


def alt_of(html: Html) -> str:
    return re.search(r'alt="([^"]*)"', html.html)[1]


def near(picture: np.ndarray, color: str) -> int:
    """Pixels of a color."""
    target = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture - target).max(-1) < 12).sum())


def result(verdict: str, difference: float | None, says: str = "a claim $x$") -> ClaimResult:
    side = Side(1, "a", "Top-1")
    claim = Claim("c", "4", 1, says, "", "Top-1", ((side, side),))
    if difference is None:
        return ClaimResult(claim, verdict, side, side, 1.0, reason="because")
    return ClaimResult(
        claim, verdict, side, side, 1.0, difference, difference - 2, difference + 2, 1, 9
    )


HISTORY = [
    {"epoch": n, "stage": "1" if n < 2 else "2", "lr": 0.1 / (n + 1), "seconds": 1.0}
    | {"images_per_s": 9.0, "loss": 3.0 - n, "id": 2.0 - n / 2}
    for n in range(3)
]


@cache
def all_figures() -> dict[str, Html]:
    pictures = images(4)
    maps = np.random.default_rng(0).random((4, 6, 2))
    return {
        "curves": figures.curves(HISTORY),
        "gallery": figures.gallery("a $man$ in <red>", pictures, [True, False, False, True]),
        "image query": figures.gallery(pictures[0], pictures, [False] * 4, scores=[4, 3, 2, 1]),
        "attention": figures.attention_grid(pictures, maps, ["a", "b", "$c", "d" * 50]),
        "two maps": figures.attention_grid(pictures, {"off": maps * 0, "on": maps}, columns=2),
        "sheet": figures.contact_sheet(pictures, ["1", "2", "3", "4"], caption="Images & people"),
        "drawn shot": figures.drawn_shot(
            pictures[0],
            np.arange(pictures[0][..., 0].size).reshape(pictures[0].shape[:2]) % 6,
            np.linspace(0, 5, 18 * 3).reshape(18, 3).clip(0, 1),
            LABELS,
            caption="A <red> shot",
        ),
        "lengths": figures.caption_lengths([3, 5, 5, 8], published_mean=23.5),
        "sweep": figures.sweep(
            [2, 4, 6],
            {"VGG-16": [1, 3, 2]},
            {"VGG-16": [5, None, 7]},
            xlabel="k",
            std={"VGG-16": [1, None, 1]},
            synthetic=True,
        ),
        "nothing measured": figures.sweep([2, 4], {"V": [1, 2]}, {"V": [None, None]}, xlabel="k"),
        "forest": figures.forest(
            [result("reproduced", 3), result("contradicted", -3), result("not_run", None)]
        ),
        "empty forest": figures.forest([result("not_run", None)]),
    }


def test_figures_are_complete_html() -> None:
    for name, html in all_figures().items():
        assert len(alt_of(html)) > 20, name
        assert "<figcaption>" in html.html and "<red>" not in html.html
        picture = png_of(html)
        assert picture.shape[0] > 60 and picture.shape[1] > 150, name
        assert picture.std() > 1, name  # not blank
        body = f'<html lang="en"><title>t</title><main><h1>h</h1>{html}</main></html>'
        assert problems(body) == [], name


def test_figures_leave_nothing_open() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figures.curves(HISTORY)
    fig = plt.figure()
    figures.figure(fig, "a figure", "caption")
    assert plt.get_fignums() == before


def test_a_figure_needs_alternative_text() -> None:
    fig, _ = figures.new_figure(2, 2)
    with pytest.raises(ValueError, match="alternative text"):
        figures.figure(fig, " ", "caption")


def test_gallery_marks_by_color_and_says_the_ranks() -> None:
    gray = [np.full((48, 16, 3), 128, np.uint8)] * 3
    mixed = figures.gallery("q", gray, [False, True, False])
    assert "correct at rank 2" in alt_of(mixed)
    green, red = (near(png_of(mixed), c) for c in (figures.GREEN, figures.RED))
    assert green > 500 and red > 500
    wrong = figures.gallery("q", gray, [False] * 3)
    assert near(png_of(wrong), figures.GREEN) == 0 and "none of them correct" in alt_of(wrong)
    # A dashed frame covers less than a solid one.
    right = figures.gallery("q", gray, [True] * 3)
    assert near(png_of(wrong), figures.RED) < near(png_of(right), figures.GREEN)


def test_gallery_and_attention_check_their_lengths() -> None:
    with pytest.raises(ValueError, match="4 images and 3 flags"):
        figures.gallery("q", images(4), [True] * 3)
    with pytest.raises(ValueError, match="4 images and 3 maps"):
        figures.attention_grid(images(4), np.zeros((3, 2, 2)))


def test_attention_is_bright_where_the_weight_is() -> None:
    maps = np.zeros((1, 8, 4))
    maps[0, :4] = 1.0  # upper half
    picture = png_of(figures.attention_grid([np.full((80, 40, 3), 90, np.uint8)], maps))
    height, width = picture.shape[:2]
    overlay = picture[:, width // 2 + 10 : -20].sum(-1)
    assert overlay[height // 4].mean() > overlay[-height // 4].mean() + 100


def test_forest_counts_what_it_leaves_out() -> None:
    html = figures.forest([result("reproduced", 3), result("not_run", None)])
    assert "1 claims were not run" in html.html
    assert "1 reproduced, 0 contradicted" in alt_of(html)


def test_html_fragments() -> None:
    both = Html("<p>a</p>") + Html("<p>b</p>")
    assert both._repr_html_() == "<p>a</p>\n<p>b</p>"
    assert len(repr(Html("x" * 100_000))) < 60
    assert 'data-reidlib="fragments"' in style().html


# ------------------------------------------------------------------ page


def notebook(path: Path, *cells: Any) -> Path:
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def html_output(text: str) -> Any:
    return new_output("display_data", {"text/html": text, "text/plain": "<HTML>"})


def page_of(tmp_path: Path, *cells: Any, **kwargs: Any) -> str:
    path = notebook(tmp_path / "n.ipynb", new_markdown_cell("# Title"), *cells)
    return render_page(path, BANNER, **kwargs)


def test_page_is_complete_and_offline(tmp_path: Path) -> None:
    pictures = [str(html) for html in all_figures().values()]
    path = notebook(
        tmp_path / "n.ipynb",
        new_markdown_cell("# IMG-Net & more\n\nSee [a link](https://example.org)."),
        new_code_cell("# Set up\nx = '<b>'", outputs=[html_output(style().html)]),
        new_markdown_cell("## 1. Claims\n\n$$a_1 = b$$\n\n### Part $x$\n\n## 1. Claims"),
        new_code_cell("f()", outputs=[html_output(text) for text in pictures]),
    )
    found = write_page(path, tmp_path / "n.html", BANNER)
    page = (tmp_path / "n.html").read_text()
    assert found == []
    assert '<html lang="en">' in page and "<title>IMG-Net &amp; more</title>" in page
    assert "<script" not in page and "default-src &#39;none&#39;" not in page
    assert "default-src 'none'" in page
    assert 'href="#1-claims"' in page and 'href="#1-claims-2"' in page
    assert '<a class="skip" href="#main">' in page and '<main id="main">' in page
    assert page.count('data-reidlib="fragments"') == 0  # the page has that style already
    assert "<summary>Code: Set up</summary>" in page
    for text in ("Synthetic data.", "smoke", "cpu", "2030-01-02", "abc1234", "torch 2.11"):
        assert text in page
    assert "the tagger" in page and "model of the last epoch" in page
    assert not [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_banner_tells_real_from_synthetic(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", new_markdown_cell("# T"))
    real = render_page(path, Banner(synthetic=False, profile="paper", device="cuda", date="d"))
    assert "Real data." in real and "Synthetic data." not in real and "mAP" not in real
    failed = render_page(path, BANNER, failed="cell <3> broke")
    assert "cell &lt;3&gt; broke" in failed


def test_equations_become_mathml(tmp_path: Path) -> None:
    page = page_of(
        tmp_path,
        new_markdown_cell(
            "Costs $5 and $6, code `$a$`, inline $\\alpha_i > 1/k$ and\n$$\nx = y\n- z\n$$\nend\n\n"
            "```python\ny = '$b$'\n```\n\n```\n$$c$$\n```\n\n| a | $d$ |\n|---|---|\n| 1 | $e$ |"
        ),
        new_code_cell("z = '$f$'"),
    )
    assert page.count("<math") == 4  # alpha, the block, d, e
    assert page.count('display="block"') == 1
    assert "Costs $5 and $6, code <code>$a$</code>" in page
    assert "$b$" in page and "$$c$$" in page and "$f$" in page
    assert 'scope="col"' in page


@pytest.mark.parametrize(
    "latex",
    [
        r"\alpha_i^V = \frac{\exp(\cos(M_i^V, T^S))}{\sum_{j=1}^{k} \exp(\cos(M_j^V, T^S))}",
        r"A = \sigma(W^A (S * C)), \quad X \in \mathbb{R}^{h \times w \times c}",
        r"\mathcal{L}_{\text{rank}} = \left[\alpha - x\right]_+",
        r"\begin{aligned} a &= b \\ c &= d \end{aligned}",
        r"\lambda = \begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}",
        r"\hat{T}, \bar{\psi}, \overrightarrow{h}_t, \mathrm{ReLU}, \lVert v \rVert_2",
    ],
)
def test_the_papers_equations_are_understood(latex: str) -> None:
    found = mathml(latex, block=True)
    assert "<math" in found and "math-error" not in found
    assert "\\" not in re.sub(r"<[^>]+>", "", found)
    assert ">&<" not in found  # an alignment mark that was taken for text


def test_an_equation_that_is_not_understood_is_shown_as_code() -> None:
    found = mathml(r"\left( <b", block=False)
    assert 'class="math-error"' in found and "&lt;b" in found


def test_noise_is_dropped_and_text_is_escaped(tmp_path: Path) -> None:
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
        "text/plain": "HBox(children=(HTML(value=''), FloatProgress(value=0.0)))",
    }
    bar = {**widget, "text/plain": "  0%|          | 0/10 [00:00<?, ?it/s]"}
    page = page_of(
        tmp_path,
        new_code_cell(
            "x",
            outputs=[
                new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m <b>\n1\r2\rthree\n"),
                new_output(
                    "stream", name="stderr", text=" 10%|█    | 1/10\r100%|█| 10/10 9.1it/s\n"
                ),
                new_output("stream", name="stderr", text="50%|█ |\nUserWarning: look at <this>\n"),
                new_output("display_data", widget),
                new_output("display_data", bar),
                new_output("execute_result", {"text/plain": "<object>"}),
                new_output("error", ename="E", evalue="v", traceback=["\x1b[0;31mE<x>: v\x1b[0m"]),
                html_output("<p>ok</p><script src='https://x.org/a.js'></script>"),
            ],
        ),
    )
    assert "red &lt;b&gt;\nthree" in page
    for noise in ("10/10", "HBox", "0/10", "it/s", "\x1b", "<script", "x.org", "50%"):
        assert noise not in page, noise
    assert "UserWarning: look at &lt;this&gt;" in page
    assert "&lt;object&gt;" in page and '<pre class="error">E&lt;x&gt;: v</pre>' in page


def test_tags_hide_cells(tmp_path: Path) -> None:
    output = [new_output("stream", name="stdout", text="shown")]
    page = page_of(
        tmp_path,
        new_code_cell("secret_1", metadata={"tags": ["remove-input"]}, outputs=output),
        new_code_cell("secret_2", metadata={"tags": ["remove-cell"]}, outputs=output),
    )
    assert "secret" not in page and page.count("shown") == 1


def test_images_need_alternative_text(tmp_path: Path) -> None:
    png = base64.b64encode(b"png").decode()
    bare = new_code_cell("x", outputs=[new_output("display_data", {"image/png": png})])
    found = problems(page_of(tmp_path, bare))
    assert len(found) == 1 and "without alternative text" in found[0] and "cell 2" in found[0]
    said = new_output("display_data", {"image/png": png}, metadata={"alt": "a cat"})
    page = page_of(tmp_path, new_code_cell("x", outputs=[said]))
    assert 'alt="a cat"' in page and problems(page) == []


def test_local_images_are_put_in_place_and_remote_ones_become_links(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    text = "![local](a.png) ![far](https://example.org/b.png)"
    page = page_of(tmp_path, new_markdown_cell(text))
    assert 'alt="local" src="data:image/png;base64,' in page
    assert '<a href="https://example.org/b.png">far</a>' in page
    assert problems(page) == []


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ("<img src='data:x'>", "without alternative text"),
        ("<img alt='' src='data:x'>", "without alternative text"),
        ("<img alt='a' src='https://x.org/i.png'>", "would load"),
        ("<script>1</script>", "script"),
        ("<link rel='stylesheet' href='a.css'>", "would load"),
        ("<style>@import 'a.css';</style>", "@import"),
        ("<p style='background: url(https://x.org/y)'>", "url"),
        ("<table><tr><th scope='col'>a</th></tr></table>", "caption"),
        ("<table><caption>c</caption><tr><th>a</th></tr></table>", "scope"),
        ("<p id='a'></p><p id='a'></p>", "twice"),
        ("<a href='#gone'>x</a>", "#gone"),
        ("<h1>again</h1>", "<h1>"),
        (mathml("x_", block=True), "equation"),
    ],
)
def test_problems_are_found(html: str, message: str) -> None:
    page = f'<html lang="en"><title>t</title><main><h1>h</h1>{html}</main></html>'
    found = problems(page)
    assert len(found) == 1 and message in found[0]


def test_an_unreadable_notebook_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    for text in (None, "{", "[]"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(DataError, match="broken"):
            render_page(path, BANNER)


# ------------------------------------------------------------------ index

HEADER = {
    "profile": "bench",
    "data": "synthetic",
    "device": "cpu",
    "versions": {"torch": "2.11"},
    "git": "abc",
}


def entry(status: str = "ok", verdicts: Sequence[str] = (), **kwargs: Any) -> dict[str, Any]:
    tables = load_tables("imgnet")
    filled = [fill(tables[6], lambda *_: [Measurement(None, value=1.0)]), fill(tables[7], _none)]
    claims = [result(v, None if v == "not_run" else -1.0, f"says {v} <x>") for v in verdicts]
    return paper_entry(status, 61.26, filled, claims, **kwargs)


def _none(*_: Any) -> None:
    return None


def test_summary_follows_its_contract(tmp_path: Path) -> None:
    update_summary(tmp_path, HEADER, {"imgnet": entry(verdicts=["reproduced", "not_run"])})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {*HEADER, "wall_s", "papers"}
    paper = summary["papers"]["imgnet"]
    assert paper["status"] == "ok" and paper["wall_s"] == 61.3 == summary["wall_s"]
    assert paper["tables"] == {
        "6": {"own": 6, "measured": 6, "cited": 0},
        "7": {"own": 2, "measured": 0, "cited": 13},
    }
    keys = {"id", "table", "says", "verdict", "difference", "ci_low", "ci_high"}
    assert [set(claim) for claim in paper["claims"]] == [keys, keys]


def test_summary_keeps_papers_of_earlier_runs(tmp_path: Path) -> None:
    update_summary(tmp_path, HEADER, {"imgnet": entry(), "ssan": entry("failed", error="old")})
    update_summary(tmp_path, HEADER | {"git": "def"}, {"ssan": entry(error="")})
    summary = read_summary(tmp_path)
    assert summary["git"] == "def"
    assert set(summary["papers"]) == {"imgnet", "ssan"}
    assert summary["papers"]["imgnet"]["git"] == "abc"
    assert summary["papers"]["ssan"]["status"] == "ok"
    for name in ("imgnet", "ssan"):
        (tmp_path / f"{name}.html").touch()
    page = write_index(tmp_path, run_now=["ssan"]).read_text()
    assert "From an earlier run on synthetic data, cpu, git abc." in page


def test_no_number_becomes_null(tmp_path: Path) -> None:
    broken = entry() | {"wall_s": 1.0, "extra": [float("nan"), {"x": float("inf")}]}
    update_summary(tmp_path, HEADER, {"imgnet": broken})
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text and "Infinity" not in text


@pytest.mark.parametrize("text", ["{", "[]", '{"papers": {"a": {}}}', '{"papers": 3}'])
def test_a_broken_summary_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"summary\.json"):
        update_summary(tmp_path, HEADER, {"imgnet": entry()})
    assert path.read_text() == text


def test_index_says_first_what_was_not_reproduced(tmp_path: Path) -> None:
    verdicts = ["reproduced", "contradicted", "undecided", "not_run"]
    update_summary(
        tmp_path,
        HEADER,
        {
            "imgnet": entry(verdicts=verdicts, title="IMG-Net"),
            "ssan": paper_entry("failed", 3, title="SSAN", error="cell <3> broke"),
        },
    )
    (tmp_path / "imgnet.html").write_text("x")
    (tmp_path / "imgnet").mkdir()
    (tmp_path / "imgnet" / "table_6.csv").write_text("x")
    page = write_index(tmp_path, expected={"imgnet": "IMG-Net", "gla": "GLA"}).read_text()
    links = [p for p in problems(page) if "link to" in p]
    assert problems(page) == [] and links == []
    first, second = page.split('id="reports"')
    assert "says contradicted &lt;x&gt;" in first and "says undecided" in first
    assert "1 claims were not run" in first and "says not_run" in first
    assert "says reproduced" not in page
    assert "Table 7: 2 of 2" in first and "Table 6:" not in first
    assert "cell &lt;3&gt; broke" in first
    assert re.search(r"GLA:</strong> not run", first)
    assert first.index("contradicted") < page.index("IMG-Net</a>")
    assert "1 reproduced, 1 contradicted, 1 undecided, 1 not run" in second
    assert 'href="imgnet.html"' in second and 'href="imgnet/table_6.csv"' in second
    assert 'href="imgnet/table_7.csv"' not in second and 'href="ssan.html"' not in second
    assert "Synthetic data." in first


def test_index_notices_a_missing_report(tmp_path: Path) -> None:
    update_summary(tmp_path, HEADER, {"imgnet": entry(verdicts=["reproduced"])})
    assert "the report imgnet.html is missing" in write_index(tmp_path).read_text()


def test_index_of_nothing_left_open(tmp_path: Path) -> None:
    done = paper_entry("ok", 1, [], [result("reproduced", 3)], title="P")
    update_summary(tmp_path, HEADER, {"imgnet": done})
    (tmp_path / "imgnet.html").touch()
    page = write_index(tmp_path).read_text()
    assert "Everything that these reports test was reproduced." in page


def test_entry_and_header_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="done"):
        paper_entry("done", 1)
    with pytest.raises(ValueError, match="git"):
        update_summary(tmp_path, {k: v for k, v in HEADER.items() if k != "git"}, {})


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 200, 7500)] == [
        "0 s",
        "59 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


# ------------------------------------------------------------------ running notebooks


def runnable(path: Path, *sources: str) -> Path:
    """A notebook with a parameters cell, and a kernel name that exists nowhere."""
    cells = [new_code_cell("a = 1\nb: str = 'x'", metadata={"tags": ["parameters"]})]
    content = new_notebook(cells=cells + [new_code_cell(s) for s in sources])
    content.metadata.kernelspec = {"name": "nowhere", "display_name": "x", "language": "python"}
    nbformat.write(content, path)
    return path


def text_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def test_notebook_runs_with_this_interpreter(tmp_path: Path) -> None:
    source = runnable(
        tmp_path / "a{b}.ipynb",
        "import os, sys\nprint(a, b, sys.executable, os.environ['REIDLIB_TEST'])",
        "",
        "print(os.path.basename(os.getcwd()))",
    )
    out = tmp_path / "deep" / "o{u}t.ipynb"
    (tmp_path / "cwd").mkdir()
    done = run_notebook(
        source,
        out,
        {"a": 5},
        folder=tmp_path / "cwd",
        environment={"REIDLIB_TEST": "yes"},
    )
    assert text_of(out) == f"5 x {sys.executable} yes\ncwd\n"
    assert done.path == out and done.cells == 4 and done.seconds > 0
    assert [p.name for p in out.parent.iterdir()] == ["o{u}t.ipynb"]
    assert "REIDLIB_TEST" not in os.environ


def test_parameters_are_checked_before_anything_runs(tmp_path: Path) -> None:
    source = runnable(tmp_path / "n.ipynb", "print(1)")
    assert parameter_names(source) == {"a", "b"}
    with pytest.raises(UsageError, match=r"unknown parameter c; .* a, b"):
        run_notebook(source, tmp_path / "out.ipynb", {"a": 1, "c": 2})
    untagged = notebook(tmp_path / "u.ipynb", new_code_cell("a = 1"))
    with pytest.raises(UsageError, match="0 code cells tagged parameters"):
        run_notebook(untagged, tmp_path / "out.ipynb", {})
    with pytest.raises(DataError, match="gone"):
        run_notebook(tmp_path / "gone.ipynb", tmp_path / "out.ipynb", {})
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["1 / 0", "print(2)"], "ZeroDivisionError: division by zero"),
        (["import sys; sys.exit(0)", "print(2)"], "sys.exit"),
        (["import sys; sys.exit(0)"], "sys.exit"),
        (["import os; os.kill(os.getpid(), 9)", "print(2)"], r"kernel died in code cell 2.*memory"),
        (["import time; time.sleep(60)"], r"longer than 2 s in code cell 2 \('import time"),
    ],
)
def test_a_notebook_that_stops_is_an_error(
    tmp_path: Path, sources: list[str], message: str
) -> None:
    source = runnable(tmp_path / "n.ipynb", *sources)
    out = tmp_path / "out.ipynb"
    with pytest.raises(NotebookError, match=message) as caught:
        run_notebook(source, out, {}, cell_timeout=2)
    assert str(source) in str(caught.value) and caught.value.exit_status == 1
    assert out.exists()  # what it wrote until then is evidence
    assert render_page(out, BANNER, failed=str(caught.value))


def test_a_kernel_that_does_not_start_is_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    real = _ThisInterpreter.kernel_spec.fget

    def spec(self: _ThisInterpreter, broken: int) -> Any:
        found = real(self)
        starts.append(1)
        # Papermill asks for the specification once or more per manager; break whole managers.
        managers.setdefault(id(self), len(managers))
        if managers[id(self)] < broken:
            found.argv = [sys.executable, "-c", "raise SystemExit(1)"]
        keep.append(self)
        return found

    for broken in (1, 2):
        managers: dict[int, int] = {}
        keep: list[Any] = []
        monkeypatch.setattr(
            _ThisInterpreter, "kernel_spec", property(lambda self, n=broken: spec(self, n))
        )
        source = runnable(tmp_path / f"n{broken}.ipynb", "print(a)")
        out = tmp_path / f"out{broken}.ipynb"
        if broken == 1:
            run_notebook(source, out, {"a": 7}, start_timeout=20)
            assert text_of(out) == "7\n"
        else:
            with pytest.raises(NotebookError, match="did not start, twice"):
                run_notebook(source, out, {"a": 7}, start_timeout=20)
        assert len(managers) == 2


def test_reports_but_html_and_notebook_need_no_jupyter() -> None:
    code = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('nbformat', 'papermill', 'nbclient', 'mistune',\n"
        "                'jupyter_client', 'IPython', 'pygments', 'latex2mathml'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "import reidlib.papers.claims, reidlib.report.claims, reidlib.report.figures\n"
        "import reidlib.report.index, reidlib.report.tables\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
