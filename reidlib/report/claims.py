"""Claims with their verdicts, and the numbered notes on a paper, as HTML."""

from collections.abc import Iterable, Sequence

from reidlib.papers.claims import VERDICTS, ClaimResult, Side, count_verdicts
from reidlib.papers.tables import Note
from reidlib.report import Html, escape
from reidlib.report.tables import scrolling, signed

MARKS = {"reproduced": "✓", "contradicted": "✗", "undecided": "?", "not_run": "–"}
WORDS = {"not_run": "not run"}


def claims_table(results: Sequence[ClaimResult], *, synthetic: bool) -> Html:
    """The claims checklist: verdict, the paper's difference and the measured one."""
    counts = count_verdicts(results)
    summary = ", ".join(f"{counts[v]} {WORDS.get(v, v)}" for v in VERDICTS)
    head = "<tr>" + "".join(
        f'<th scope="col" class="{kind}">{text}</th>'
        for kind, text in (
            ("text", "verdict"),
            ("text", "claim"),
            ("text", "where"),
            ("", "in the paper"),
            ("", "measured"),
            ("", "95 % interval"),
        )
    )
    body = "\n".join(_claim_row(result) for result in results)
    where = "on synthetic data" if synthetic else "on the real data"
    single = any(result.seeds == 1 for result in results)
    luck = (
        " Trained once each, so an interval covers the choice of queries and not the luck of a "
        "training, which can be larger where trainings are short: --seeds 3 covers both."
        if single
        else ""
    )
    caption = (
        f"<strong>Claims of the paper, tested {where}:</strong> {summary}."
        "<small>Differences in percentage points, higher side minus lower side. Reproduced: the "
        "interval (paired bootstrap over queries, and over seeds where there are several) lies "
        "above 0; contradicted: below 0. Of a claim with several comparisons the weakest one is "
        f"shown, and all must hold.{luck}</small>"
    )
    table = scrolling("Claims", caption, head + "</tr>", f"<tbody>\n{body}\n</tbody>")
    return Html(f'<div class="reid">{table}</div>')


def _claim_row(result: ClaimResult) -> str:
    claim = result.claim
    word = WORDS.get(result.verdict, result.verdict)
    verdict = f'<span aria-hidden="true">{MARKS[result.verdict]}</span> {word}'
    text = escape(claim.says)
    if claim.quote:
        text += f' <span class="minor">“{escape(claim.quote)}”</span>'
    if result.reason:
        text += f'<br><span class="minor">{escape(result.reason)}</span>'
    elif len(claim.pairs) > 1:
        sides = f"{_side(result.higher, claim.table)} − {_side(result.lower, claim.table)}"
        text += f'<br><span class="minor">weakest of {len(claim.pairs)}: {escape(sides)}</span>'
    paper, measured = (
        "–" if value is None else signed(value, 2)
        for value in (result.paper_difference, result.difference)
    )
    interval = "–"
    if result.ci_low is not None and result.ci_high is not None:
        interval = f"{signed(result.ci_low, 1)} … {signed(result.ci_high, 1)}"
    return (
        f'<tr id="claim-{escape(claim.id)}"><td class="text short {result.verdict}">{verdict}</td>'
        f'<th scope="row" class="text">{text}</th>'
        f'<td class="text short">{escape(claim.section)}, Table {claim.table}</td>'
        f'<td>{paper}</td><td>{measured}</td><td class="minor">{interval}</td></tr>'
    )


def _side(side: Side, table: int) -> str:
    return side.row if side.table == table else f"{side.row} (Table {side.table})"


def notes_list(notes: Iterable[Note]) -> Html:
    """The numbered list of ambiguities and misprints."""
    items = "\n".join(
        f'<li id="note-{n}"><p><strong>{escape(note.where)}</strong> '
        f'<span class="tag">{escape(note.kind)}</span> {escape(note.what)}</p>'
        f"<p><em>Chosen:</em> {escape(note.chosen)} <em>Why:</em> {escape(note.why)}</p></li>"
        for n, note in enumerate(notes, start=1)
    )
    return Html(f'<div class="reid"><ol class="notes">\n{items}\n</ol></div>')
