"""A notebook's page, the index, and running notebooks."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reidlib.errors import DataError, StoreError, UsageError
from reidlib.papers.claims import VERDICTS, Claim, ClaimResult, Side
from reidlib.papers.tables import Measurement, fill, load_tables
from reidlib.report import Html, style

matplotlib = pytest.importorskip("matplotlib")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("papermill")

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output  # noqa: E402

from reidlib.report import figures  # noqa: E402
from reidlib.report.claims import claims_table  # noqa: E402
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
    ThisInterpreter,
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
    history = [{"epoch": n, "lr": 0.1, "loss": 3.0 - n} for n in range(3)]
    pictures = [
        str(figures.curves(history)),
        str(figures.contact_sheet([np.zeros((8, 4, 3), np.uint8)], ["one"], caption="c")),
        str(claims_table([result("reproduced", 3)], synthetic=True)),
    ]
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


def test_page_begins_with_its_opening_below_the_title(tmp_path: Path) -> None:
    page = page_of(tmp_path, new_markdown_cell("## Part"), opening=Html("<p>the verdict</p>"))
    assert re.search(r"Title</h1>\s*<p>the verdict</p>", page)
    untitled = notebook(tmp_path / "u.ipynb", new_markdown_cell("text"))
    assert "<p>the verdict</p>" in render_page(untitled, BANNER, opening=Html("<p>the verdict</p>"))


def test_a_smoke_page_says_that_its_numbers_mean_nothing(tmp_path: Path) -> None:
    assert "The numbers mean nothing." in page_of(tmp_path)
    path = notebook(tmp_path / "n.ipynb", new_markdown_cell("# T"))
    demo = Banner(synthetic=True, profile="demo", device="cpu", date="d")
    assert "mean nothing" not in render_page(path, demo)


def test_printed_tables_scroll_and_texts_wrap(tmp_path: Path) -> None:
    aligned = "name    value\na         1.0\nb        12.0\n"
    outputs = [
        new_output("stream", name="stdout", text=aligned),
        new_output("stream", name="stderr", text="a warning that may be long\n"),
    ]
    page = page_of(tmp_path, new_code_cell("x", outputs=outputs))
    assert re.search(r'<pre class="stream columns" tabindex="0"[^>]*>name    value', page)
    assert '<pre class="stream">a warning' in page


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


def test_functions_without_brackets_stand_apart_from_their_argument() -> None:
    space = '<mspace width="0.17em"/>'
    assert f"<mi>exp</mi>{space}<mi>cos</mi><mo" in mathml(r"\exp \cos(x)", block=False)
    assert f"<mi>log</mi>{space}<mi>x</mi>" in mathml(r"\log x", block=False)
    assert space not in mathml(r"\exp(x) + \cos(y)", block=False)


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
    assert "&lt;object&gt;" in page
    assert '<pre class="error" tabindex="0">E&lt;x&gt;: v</pre>' in page


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


def result(
    verdict: str, difference: float | None, says: str = "a claim $x$", reason: str = ""
) -> ClaimResult:
    side = Side(1, "a", "Top-1")
    claim = Claim("c", "4", 1, says, "", "Top-1", ((side, side),))
    if difference is None:
        return ClaimResult(claim, verdict, side, side, 1.0, reason="because")
    return ClaimResult(
        claim, verdict, side, side, 1.0, difference, difference - 2, difference + 2, 1, 9, reason
    )


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
    page = write_index(tmp_path, expected={"ssan": "SSAN"}, run_now=["ssan"]).read_text()
    assert page.index('href="imgnet.html"') < page.index('href="ssan.html"')  # the suite's order
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


def text_of_html(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_index_leads_with_the_answer(tmp_path: Path) -> None:
    """The picture with the links first, then what was contradicted and why; the rest is folded."""
    side = Side(1, "a", "Top-1")
    claim = Claim("worse", "4", 1, "says worse <x>", "", "Top-1", ((side, side),))
    worse = ClaimResult(
        claim, "contradicted", side, side, 1.0, -3.0, -5.0, -1.0, likely="a branch <never> learns"
    )
    claims = [result(v, None if v == "not_run" else 1.0, f"says {v} <x>") for v in VERDICTS]
    tables = load_tables("imgnet")
    filled = [fill(tables[6], lambda *_: [Measurement(None, value=1.0)]), fill(tables[7], _none)]
    update_summary(
        tmp_path,
        HEADER,
        {
            "imgnet": paper_entry("ok", 61, filled, [worse, *claims], title="IMG-Net"),
            "ssan": paper_entry("failed", 3, title="SSAN", error="cell <3> broke"),
        },
    )
    (tmp_path / "imgnet.html").write_text("x")
    (tmp_path / "imgnet").mkdir()
    (tmp_path / "imgnet" / "table_6.csv").write_text("x")
    page = write_index(tmp_path, expected={"imgnet": "IMG-Net", "gla": "GLA"}).read_text()
    assert problems(page) == []
    answer, rest = page.split('id="contradicted"')
    contradicted, folded = rest.split('id="rest"')
    assert "5 claims: 1 reproduced, 2 contradicted, 1 undecided, 1 not run." in answer
    said = "1 reproduced, 2 contradicted, 1 undecided, 1 not run"
    assert answer.count(f'aria-label="{said}"') == 2  # of all papers and of the one
    assert said in text_of_html(answer)
    assert 'href="imgnet.html"' in answer and 'href="ssan.html"' not in page
    assert "cell &lt;3&gt; broke" in answer and "GLA not" in text_of_html(answer).replace("– ", "")
    assert 'class="trouble failed"' in answer and "contradicted" not in re.findall(
        r'class="trouble (\w+)"', answer
    )
    assert "Synthetic data." in answer
    assert 'href="imgnet.html#claim-worse">says worse &lt;x&gt;</a>' in contradicted
    assert (
        text_of_html(contradicted).count(
            "Likely reason , measured in profile study: a branch &lt;never&gt; learns"
        )
        == 1
    )
    # What has a reason stands before what has none, whatever the paper's order.
    assert contradicted.index("a branch") < contradicted.index("says contradicted")
    assert "measured −3.0 points, interval −5.0 to −1.0" in contradicted
    assert "says undecided" not in contradicted and "says reproduced" not in contradicted
    for kind in ("undecided", "reproduced", "not_run"):
        (fold,) = re.findall(rf'<details id="{kind}">.*?</details>', folded, re.DOTALL)
        assert f"says {kind} &lt;x&gt;" in fold
    assert "Table 7: 2 of 2" in folded and "Table 6:" not in folded
    assert 'href="imgnet/table_6.csv"' in folded and 'href="imgnet/table_7.csv"' not in folded


def test_index_of_a_smoke_run_hands_out_no_verdicts(tmp_path: Path) -> None:
    verdicts = ["reproduced", "contradicted", "undecided", "not_run"]
    entries = {name: entry(verdicts=verdicts, title=name.upper()) for name in ("imgnet", "ssan")}
    update_summary(tmp_path, HEADER | {"profile": "smoke"}, entries)
    for name in entries:
        (tmp_path / f"{name}.html").touch()
    page = write_index(tmp_path).read_text()
    assert problems(page) == []
    text = text_of_html(page.split("</head>")[1])
    assert "The numbers mean nothing" in text and "no claim is judged" in text
    for word in ("reproduced", "contradicted", "undecided"):
        assert word not in text
    assert 'href="imgnet.html"' in page and "3 of 4 claims have numbers" in text


def test_index_reads_summaries_of_earlier_versions(tmp_path: Path) -> None:
    """Claims had seven keys; new ones (leans, reason) may be missing."""
    old = {"id": "c", "table": 1, "says": "s", "verdict": "undecided"}
    old |= {"difference": 1.0, "ci_low": None, "ci_high": None}
    new = old | {"id": "d", "leans": "contradicted"}
    update_summary(tmp_path, HEADER, {"imgnet": entry() | {"claims": [old, new]}})
    page = write_index(tmp_path).read_text()
    assert page.count("measured +1.0 points") == 2
    assert page.count("leans to contradicted") == 1


def test_index_notices_a_missing_report(tmp_path: Path) -> None:
    update_summary(tmp_path, HEADER, {"imgnet": entry(verdicts=["reproduced"])})
    assert "the report imgnet.html is missing" in write_index(tmp_path).read_text()


def test_index_of_nothing_left_open(tmp_path: Path) -> None:
    done = paper_entry("ok", 1, [], [result("reproduced", 3)], title="P")
    update_summary(tmp_path, HEADER, {"imgnet": done})
    (tmp_path / "imgnet.html").touch()
    text = text_of_html(write_index(tmp_path).read_text())
    assert "What was contradicted Nothing that was tested." in text
    assert "1 claims: 1 reproduced, 0 contradicted" in text


def test_writing_a_report_again_keeps_the_time_of_the_training(tmp_path: Path) -> None:
    trained = entry() | {"wall_s": 249.0}
    again = entry() | {"wall_s": 12.0, "finished": "later"}
    update_summary(tmp_path, HEADER, {"imgnet": trained, "ssan": trained})
    summary = update_summary(
        tmp_path,
        HEADER,
        {"imgnet": again, "ssan": again, "gla": again},
        untrained=["imgnet", "gla"],
    )
    walls = {name: paper["wall_s"] for name, paper in summary["papers"].items()}
    assert walls == {"imgnet": 249.0, "ssan": 12.0, "gla": 12.0}
    assert summary["wall_s"] == 273.0
    assert summary["papers"]["imgnet"]["finished"] == "later"


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
    real = ThisInterpreter.kernel_spec.fget

    def spec(self: ThisInterpreter, broken: int) -> Any:
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
            ThisInterpreter, "kernel_spec", property(lambda self, n=broken: spec(self, n))
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
        "import reidlib.report.index, reidlib.report.tables, reidlib.report.opening\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
