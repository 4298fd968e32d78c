"""Claims with their verdicts, and the numbered notes on a paper, as HTML."""

from collections.abc import Iterable, Sequence

from reidlib.papers.claims import (
    TRAININGS,
    VERDICTS,
    ClaimResult,
    Side,
    count_verdicts,
    expected_by_luck,
)
from reidlib.papers.tables import Note
from reidlib.report import Html, escape
from reidlib.report.tables import scrolling, signed

MARKS = {"reproduced": "✓", "contradicted": "✗", "undecided": "?", "not_run": "–", "failed": "!"}
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
    caption = (
        f"<strong>Claims of the paper, tested {where}:</strong> {summary}."
        "<small>Differences in percentage points, higher side minus lower side. Reproduced: the "
        "interval lies above 0; contradicted: below 0; either needs three trainings on each side. "
        "The interval covers which people the test shows and, from two trainings on, the luck of "
        "a training. Of a claim with several comparisons the weakest one is shown, and all must "
        f"hold. {_luck(results)}</small>"
    )
    table = scrolling("Claims", caption, head + "</tr>", f"<tbody>\n{body}\n</tbody>")
    return Html(f'<div class="reid">{table}</div>')


def _luck(results: Sequence[ClaimResult]) -> str:
    """How much of the verdicts is luck, and what was trained too seldom for one."""
    judged = [result for result in results if result.by_luck > 0]
    seldom = [r for r in results if r.difference is not None and r.seeds < TRAININGS]
    parts = []
    if judged:
        decided = sum(result.verdict in ("reproduced", "contradicted") for result in judged)
        parts.append(
            f"{_claims(len(judged))} could be decided, and {decided} "
            f"{'was' if decided == 1 else 'were'}. If no row were better than another, luck alone "
            f"would decide about {expected_by_luck(results):.1f}, one way or the other."
        )
    if seldom:
        rest = "rests" if len(seldom) == 1 else "rest"
        text = (
            f"{_claims(len(seldom))} {rest} on fewer than three trainings a side, which decide "
            "nothing; they lean where the choice of people alone does not explain the difference."
        )
        if all(result.seeds == 1 for result in seldom):
            text += (
                " With a single training an interval leaves out the luck of training, which can be "
                "the larger part: --seeds 3 covers it."
            )
        parts.append(text)
    return " ".join(parts)


def _claims(number: int) -> str:
    return "1 claim" if number == 1 else f"{number} claims"


def _claim_row(result: ClaimResult) -> str:
    claim = result.claim
    kind = "failed" if result.failed else result.verdict
    word = WORDS.get(kind, kind)
    verdict = f'<span aria-hidden="true">{MARKS[kind]}</span> {word}'
    if result.leans:
        verdict += f'<br><span class="minor">leans {result.leans}</span>'
    text = escape(claim.statement)
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
        f'<tr id="claim-{escape(claim.id)}"><td class="text short {kind}">{verdict}</td>'
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
