"""An executed notebook as one HTML file that opens offline.

The page loads nothing: styles and images are in place, equations are MathML, there is no script,
and its content security policy forbids every request. Markdown and HTML outputs of a notebook are
trusted (they are the suite's own); plain text outputs are escaped.
"""

import base64
import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import mistune
import nbformat
from latex2mathml.converter import convert as latex_to_mathml
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from reidlib.errors import DataError
from reidlib.files import write_atomic
from reidlib.report import Html, escape, template_text
from reidlib.report.style import page_css

HIDE_CELL = "remove-cell"  # cell tags
HIDE_CODE = "remove-input"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Progress bars, and what kernels say about themselves.
_NOISE = re.compile(
    r"\d+%\||\d+(\.\d+)?\s?(s/)?it(/s)?\b|\bit/s\b|over TCP without encryption|IProgress not found"
)
_ACTIVE = re.compile(
    r"<script\b.*?</script\s*>|<(?:link|iframe|object|embed)\b[^>]*>"
    r'|<style data-reidlib="fragments">.*?</style>',
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Banner:
    """What a report is based on; stands at its top."""

    synthetic: bool
    profile: str
    device: str
    date: str
    git: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    selection: str = "model of the last epoch"
    ap_kind: str = ""  # how mAP is computed, where a report has any
    tagger: str = ""  # part-of-speech tagger, where a paper needs one
    more: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> list[tuple[str, str]]:
        """Names and values, those that are known."""
        versions = ", ".join(f"{name} {v}" for name, v in self.versions.items())
        pairs = [
            ("Data", "synthetic" if self.synthetic else "real"),
            ("Profile", self.profile),
            ("Device", self.device),
            ("Date", self.date),
            ("Selection", self.selection),
            ("mAP", self.ap_kind),
            ("Tagger", self.tagger),
            *self.more.items(),
            ("Git", self.git),
            ("Versions", versions),
        ]
        return [(name, value) for name, value in pairs if value]


def write_page(
    notebook: Path,
    out: Path,
    banner: Banner,
    *,
    opening: Html | None = None,
    index_href: str = "index.html",
    failed: str = "",
) -> list[str]:
    """Write an executed notebook as HTML, atomically.

    Args:
        notebook: the executed .ipynb; it may have stopped early.
        out: the HTML file.
        banner: what the report is based on.
        opening: what the page begins with, below its title.
        index_href: link to the page of all reports, "" for none.
        failed: why the notebook failed, shown at the top.

    Returns:
        what `problems` finds in the page: empty if it is in order.

    Raises:
        DataError: the notebook cannot be read.
    """
    page = render_page(notebook, banner, opening=opening, index_href=index_href, failed=failed)
    write_atomic(out, page)
    return problems(page)


def render_page(
    notebook: Path,
    banner: Banner,
    *,
    opening: Html | None = None,
    index_href: str = "index.html",
    failed: str = "",
) -> str:
    """The page of `write_page` as text."""
    content = read_notebook(notebook)
    markdown = _Markdown(Path(notebook).parent)
    body = []
    for number, cell in enumerate(content.cells, start=1):
        if HIDE_CELL not in cell.metadata.get("tags", []):
            body.append(_cell(cell, number, markdown))
    title = next((e["text"] for e in markdown.toc if e["level"] == 1), Path(notebook).stem)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template_text("page.html.j2")).render(
        title=title,
        css=page_css(),
        toc=[entry for entry in markdown.toc if entry["level"] in (2, 3)],
        banner=banner,
        facts=banner.facts(),
        body=_opened("\n".join(part for part in body if part), opening),
        index_href=index_href,
        failed=failed,
    )


def _opened(body: str, opening: Html | None) -> str:
    """The body with the opening below its title."""
    if opening is None:
        return body
    title, end, rest = body.partition("</h1>")
    if not end:
        return f"{opening}\n{body}"
    return f"{title}{end}\n{opening}\n{rest}"


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook in format 4; raises `DataError` if it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    # What is valid JSON but no notebook fails deep inside nbformat.
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a notebook that can be read ({error})") from error


# ------------------------------------------------------------------ markdown and equations


# Equations inside a line, $…$ or $$…$$. Amounts ("$5 and $6") and code are no equations: no space
# inside the dollars, no digit after the last one, no backtick between them.
_INLINE_MATH = (
    r"\$\$(?P<displayed>(?:[^$\\`]|\\.)+?)\$\$"
    r"|\$(?![\s$])(?P<in_line>(?:[^$\\\n`]|\\.)+?)(?<!\s)\$(?!\d)"
)


def _parse_inline_math(_: Any, match: re.Match, state: Any) -> int:
    display = match["displayed"]
    kind = "inline_math" if display is None else "block_math"
    state.append_token({"type": kind, "raw": match["in_line"] if display is None else display})
    return match.end()


class _Markdown:
    """Markdown to HTML; collects the headings of all cells."""

    def __init__(self, folder: Path) -> None:
        self.toc: list[dict[str, Any]] = []
        self._ids: set[str] = {"main"}
        renderer = _Renderer(self, folder)
        self._convert = mistune.create_markdown(
            renderer=renderer, plugins=["math", "table", "strikethrough", "url"]
        )
        self._convert.inline.register(
            "inline_math", _INLINE_MATH, _parse_inline_math, before="codespan"
        )
        renderer.register("inline_math", lambda _, text: mathml(text, block=False))
        renderer.register("block_math", lambda _, text: mathml(text, block=True))
        renderer.register("table", _table)
        renderer.register("table_cell", _table_cell)

    def __call__(self, text: str) -> str:
        return str(self._convert(text))

    def heading(self, html: str, level: int) -> str:
        text = unescape(re.sub(r"<[^>]+>", "", html)).strip()
        base = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFKC", text).lower()).strip("-")
        name, n = base or "section", 2
        while name in self._ids:
            name, n = f"{base}-{n}", n + 1
        self._ids.add(name)
        self.toc.append({"id": name, "text": text, "level": level})
        return f'<h{level} id="{escape(name)}">{html}</h{level}>\n'


class _Renderer(mistune.HTMLRenderer):
    def __init__(self, markdown: _Markdown, folder: Path) -> None:
        super().__init__(escape=False)
        self._markdown, self._folder = markdown, folder

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        return self._markdown.heading(text, level)

    def block_code(self, code: str, info: str | None = None) -> str:
        if (info or "").split(" ")[0] in ("python", "py"):
            return _highlighted(code)
        return f'<pre tabindex="0"><code>{escape(code)}</code></pre>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Local images are put in place; others would be requests and become links."""
        path = self._folder / url
        if not url.startswith("data:") and path.is_file():
            kind = mimetypes.guess_type(path.name)[0] or "image/png"
            url = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        if not url.startswith("data:"):
            return f'<a href="{escape(url)}">{escape(text or url)}</a>'
        return f'<img alt="{escape(text)}" src="{url}">'


def _table(_: Any, text: str) -> str:
    box = 'class="wide-table" role="group" aria-label="table" tabindex="0"'
    return f'<div {box}><table class="plain">\n{text}</table></div>\n'


def _table_cell(_: Any, text: str, align: str | None = None, head: bool = False) -> str:
    # A corner without words is the head of nothing.
    tag, scope = ("th", ' scope="col"') if head and text.strip() else ("td", "")
    style = f' style="text-align:{align}"' if align else ""
    return f"  <{tag}{scope}{style}>{text}</{tag}>\n"


# A function's name, whose argument has no brackets: "exp cos" must not become one word.
_FUNCTION = re.compile(r"(<mi>(?:exp|log|ln|cos|sin|tan)</mi>)(?=<m(?!o\b|space))")


def mathml(latex: str, *, block: bool) -> str:
    """An equation as MathML; as code, marked, if the converter does not understand it."""
    source = latex.strip()
    # The converter knows the outer environment only.
    known = re.sub(r"\\(begin|end)\{(?:aligned|split|gathered)\}", r"\\\1{align*}", source)
    try:
        result = latex_to_mathml(known, display="block" if block else "inline")
        result = _FUNCTION.sub(r'\1<mspace width="0.17em"/>', result)
    except Exception as error:  # it raises whatever its tables raise
        result = f'<code class="math-error" title="{escape(repr(error))}">{escape(source)}</code>'
    if not block:
        return result
    return f'<div class="math" role="group" aria-label="equation" tabindex="0">{result}</div>\n'


# ------------------------------------------------------------------ cells and outputs


def _cell(cell: Any, number: int, markdown: _Markdown) -> str:
    if cell.cell_type == "markdown":
        return _drop_active(markdown(cell.source))
    if cell.cell_type != "code":
        return ""
    parts = []
    if cell.source.strip() and HIDE_CODE not in cell.metadata.get("tags", []):
        first = cell.source.strip().splitlines()[0]
        what = f": {first.lstrip('#').strip()}" if first.startswith("#") else ""
        parts.append(
            f'<details class="code"><summary>Code{escape(what)}</summary>'
            f"{_highlighted(cell.source)}</details>"
        )
    outputs = [_output(output, number, markdown) for output in cell.outputs]
    shown = "\n".join(text for text in outputs if text)
    if shown:
        parts.append(f'<div class="output">{shown}</div>')
    return "\n".join(parts)


def _highlighted(code: str) -> str:
    formatted = highlight(code, PythonLexer(), HtmlFormatter(nowrap=True))
    return f'<pre tabindex="0"><code>{formatted}</code></pre>\n'  # scrolls, with keys too


def _output(output: Any, number: int, markdown: _Markdown) -> str:
    if output.output_type == "stream":
        text = _terminal(output.text, drop_noise=output.name == "stderr")
        if not text.strip():
            return ""
        if output.name == "stderr":
            return f'<details class="code"><summary>Messages</summary>{_stream(text)}</details>'
        return _stream(text)
    if output.output_type == "error":
        trace = _terminal("\n".join(output.traceback)) or f"{output.ename}: {output.evalue}"
        return f'<pre class="error" tabindex="0">{escape(trace)}</pre>'
    return _rich(output, number, markdown)


def _rich(output: Any, number: int, markdown: _Markdown) -> str:
    data = output.data
    plain = _terminal(data.get("text/plain", ""), drop_noise=True)
    if "application/vnd.jupyter.widget-view+json" in data:
        # A widget needs a script, and progress bars leave nothing worth showing. What stands for
        # the widget without one is shown instead, where there is such a thing.
        if "text/html" in data:
            return _drop_active(data["text/html"])
        bare = not plain.strip() or re.match(r"\s*\w+\(.*(children|value)=", plain, re.DOTALL)
        return "" if bare else _stream(plain)
    if "text/html" in data:
        return _drop_active(data["text/html"])
    for kind in ("image/svg+xml", "image/png", "image/jpeg"):
        if kind in data:
            content = data[kind].strip()
            if kind == "image/svg+xml":
                content = base64.b64encode(content.encode()).decode()
            alt = output.metadata.get("alt") or output.metadata.get(kind, {}).get("alt")
            alt = alt or f"{_NO_ALT} {number})"
            encoded = content.replace("\n", "")
            return f'<p><img alt="{escape(alt)}" src="data:{kind};base64,{encoded}"></p>'
    if "text/markdown" in data:
        return _drop_active(markdown(data["text/markdown"]))
    if "text/latex" in data:
        return mathml(data["text/latex"].strip().strip("$"), block=True)
    return _stream(plain) if plain.strip() else ""


_COLUMNS = re.compile(r"\S {2,}\S")


def _stream(text: str) -> str:
    """Printed text. Lines that are aligned in columns must not wrap: their box scrolls."""
    if sum(bool(_COLUMNS.search(line)) for line in text.split("\n")) < 2:
        return f'<pre class="stream">{escape(text)}</pre>'
    box = 'class="stream columns" tabindex="0" role="group" aria-label="printed table"'
    return f"<pre {box}>{escape(text)}</pre>"


_NO_ALT = "Figure without a description (cell"


def _terminal(text: str, *, drop_noise: bool = False) -> str:
    """What a terminal would show: without color codes, overwritten lines and progress bars."""
    lines = []
    for line in _ANSI.sub("", text).split("\n"):
        kept = [part for part in line.split("\r") if part.strip()]
        lines.append(kept[-1] if kept else "")
    if drop_noise:
        lines = [line for line in lines if not _NOISE.search(line)]
    return "\n".join(lines).strip("\n")


def _drop_active(html: str) -> str:
    """Without scripts, frames and links to style sheets, which the page does not allow anyway."""
    return _ACTIVE.sub("", html)


# ------------------------------------------------------------------ checks


def problems(page: str) -> list[str]:
    """What is wrong with a page: requests it would make, and what readers could not perceive."""
    checker = _Checker()
    checker.feed(page)
    checker.close()
    return checker.found()


class _Checker(HTMLParser):
    _LOADS = frozenset({"img", "script", "link", "iframe", "source", "video", "audio", "object"})

    def __init__(self) -> None:
        super().__init__()
        self._problems: list[str] = []
        self._ids: list[str] = []
        self._targets: list[str] = []
        self._seen: dict[str, int] = {}
        self._tables: list[dict[str, Any]] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._seen[tag] = self._seen.get(tag, 0) + 1
        self._style = tag == "style"
        if "id" in values:
            self._ids.append(values["id"])
        if values.get("href", "").startswith("#"):
            self._targets.append(values["href"][1:])
        if tag == "html" and not values.get("lang"):
            self._problems.append("the page has no language")
        if tag == "script":
            self._problems.append("a script")
        if tag in self._LOADS:
            address = values.get("src") or values.get("data") or ""
            address = values.get("href", "") if tag == "link" else address
            if address and not address.startswith("data:"):
                self._problems.append(f"<{tag}> would load {address}")
        if values.get("class") == "math-error":
            self._problems.append(f"an equation that was not understood: {values.get('title')}")
        self._check_css(values.get("style", ""))
        if tag == "img":
            alt = values.get("alt", "").strip()
            if not alt or alt.startswith(_NO_ALT):
                self._problems.append(f"an image without alternative text {alt}".strip())
        if tag == "table":
            plain = "plain" in values.get("class", "").split()
            self._tables.append({"caption": plain, "scope": True})
        if tag == "caption" and self._tables:
            self._tables[-1]["caption"] = True
        if tag == "th" and self._tables and not values.get("scope"):
            self._tables[-1]["scope"] = False

    def handle_endtag(self, tag: str) -> None:
        self._style = False
        if tag == "table" and self._tables:
            table = self._tables.pop()
            if not table["caption"]:
                self._problems.append("a table without a caption")
            if not table["scope"]:
                self._problems.append("a table with headers without scope")

    def handle_data(self, data: str) -> None:
        if self._style:
            self._check_css(data)

    def _check_css(self, text: str) -> None:
        for match in re.finditer(r"@import[^;]*|url\(\s*['\"]?(?!data:)[^)]*\)", text):
            self._problems.append(f"a style would load {match[0]}")

    def found(self) -> list[str]:
        result = list(self._problems)
        for tag in ("title", "main", "h1"):
            if self._seen.get(tag, 0) != 1:
                result.append(f"{self._seen.get(tag, 0)} <{tag}>, expected 1")
        twice = sorted({name for name in self._ids if self._ids.count(name) > 1})
        result += [f"id {name!r} stands there twice" for name in twice]
        result += [f"link to #{t}, which is not there" for t in self._targets if t not in self._ids]
        return list(dict.fromkeys(result))
