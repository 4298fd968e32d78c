"""Claims with their verdicts, and the numbered notes on a paper, as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from reidlib.papers.claims import DECIDED, TRAININGS, ClaimResult, Side, expected_by_luck
from reidlib.papers.stability import Stability
from reidlib.papers.tables import Note, PublishedTable
from reidlib.report import Html, escape
from reidlib.report.labels import marked, side_label, with_labels
from reidlib.report.tables import ranged, scrolling, signed, td
from reidlib.report.verdicts import (
    by_likely_reason,
    counted,
    counts,
    kind_of,
    label,
    leaning,
    steadiness,
)

_HEADS = (
    ("text short", "verdict"),
    ("text claim", "claim"),
    ("text short", "where"),
    ("", "in the paper"),
    ("", "measured"),
    ("", "95 % interval"),
)


def claims_table(
    results: Sequence[ClaimResult],
    *,
    synthetic: bool,
    tables: Mapping[int, PublishedTable] | None = None,
    stability: Stability | None = None,
    judged: bool = True,
) -> Html:
    """The claims checklist: verdict, the paper's difference and the measured one.

    Args:
        results: claims with their verdicts.
        synthetic: whether the data is the procedural world.
        tables: the paper's tables by number, for the names of the compared rows.
        stability: what fewer trainings would have decided.
        judged: False leaves the verdicts out, for runs whose numbers mean nothing.
    """
    heads = _HEADS if judged else _HEADS[1:]
    head = "".join(td(text, kind, head="col") for kind, text in heads)
    likely = [text for text, _ in by_likely_reason(results, attrgetter("likely")) if text]
    numbers = {text: n for n, text in enumerate(likely, start=1)}
    body = "\n".join(
        _claim_row(result, tables, judged, numbers.get(result.likely)) for result in results
    )
    caption = "Claims of the paper, not judged here."
    if judged:
        caption = _caption(results, synthetic, stability)
    table = scrolling("Claims", caption, f"<tr>{head}</tr>", f"<tbody>\n{body}\n</tbody>")
    return Html(f'<div class="reid">{table}{_likely(likely) if judged else ""}</div>')


def _likely(reasons: Sequence[str]) -> str:
    """The likely reasons that rows refer to by their number."""
    if not reasons:
        return ""
    items = "\n".join(
        f'<li id="likely-{n}">{marked(text)}</li>' for n, text in enumerate(reasons, start=1)
    )
    return (
        "<p><strong>Why some are contradicted</strong>, as far as that was looked for: likely "
        f'reasons, with what was measured in profile study.</p>\n<ol class="notes">\n{items}\n</ol>'
    )


def _caption(results: Sequence[ClaimResult], synthetic: bool, stability: Stability | None) -> str:
    summary = counted(counts(map(kind_of, results)))
    where = "on synthetic data" if synthetic else "on the real data"
    return (
        f"<strong>Claims of the paper, tested {where}:</strong> {summary}."
        "<br><small>Differences in percentage points, higher side minus lower side. Reproduced: "
        "the interval lies above 0; contradicted: below 0; either needs three trainings a side. "
        "The interval covers which people the test shows and, from two trainings on, the luck of "
        "a training. Of a claim with several comparisons the weakest one is shown: all must lie "
        "above 0, and one that lies below contradicts the claim (each at 95 %, not corrected for "
        f"their number). {_luck(results)} {steadiness(stability)}</small>"
    )


def _luck(results: Sequence[ClaimResult]) -> str:
    """How much of the verdicts is luck, and what was trained too seldom for one."""
    judged = [result for result in results if result.by_luck > 0]
    seldom = [r for r in results if r.difference is not None and r.seeds < TRAININGS]
    parts = []
    if judged:
        decided = sum(result.verdict in DECIDED for result in judged)
        parts.append(
            f"{_claims(len(judged))} could be decided, and {decided} "
            f"{'was' if decided == 1 else 'were'}. If no row were better than another, luck alone "
            f"would decide about {expected_by_luck(results):.1f}, one way or the other (rows taken "
            "as independent and equally uncertain)."
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


def _verdict(result: ClaimResult, likely: int | None) -> str:
    """The verdict, where an undecided claim leans, and the number of the likely reason."""
    found = label(kind_of(result))
    if likely is not None:
        found += f'<br><span class="minor"><a href="#likely-{likely}">reason {likely}</a></span>'
    if result.leans:
        found += f'<br><span class="minor">{leaning(result.leans)}</span>'
    return found


def _claim_row(
    result: ClaimResult,
    tables: Mapping[int, PublishedTable] | None,
    judged: bool,
    likely: int | None,
) -> str:
    claim = result.claim
    text = marked(claim.statement)
    if claim.quote:
        text += f' <span class="minor">“{escape(claim.quote)}”</span>'
    if result.reason:
        text += f'<br><span class="minor">{marked(with_labels(result.reason, tables))}</span>'
    if len(claim.pairs) > 1 and (result.difference is not None or not result.reason):
        which = "shown" if result.reason else f"weakest of {len(claim.pairs)}"
        weakest = marked(_weakest(result, tables))
        text += f'<br><span class="minor">{which}: {weakest}</span>'
    paper, measured = (
        "–" if value is None else signed(value, 2)
        for value in (result.paper_difference, result.difference)
    )
    interval = ranged(result.ci_low, result.ci_high) or "–"
    cells = [td(_verdict(result, likely), "text short")] if judged else []
    cells += [
        td(text, "text claim", head="row"),
        td(f"{escape(claim.section)}, Table {claim.table}", "text short"),
        td(paper),
        td(measured),
        td(interval, "minor"),
    ]
    return f'<tr id="claim-{escape(claim.id)}">{"".join(cells)}</tr>'


def _weakest(result: ClaimResult, tables: Mapping[int, PublishedTable] | None) -> str:
    """The pair that is shown, by what distinguishes it from the claim's other pairs."""
    claim = result.claim

    def named(side: Side) -> str:
        place = f" (Table {side.table})" if side.table != claim.table else ""
        column = f", {side.column}" if side.column != claim.metric else ""
        return f"{side_label(side, tables)}{column}{place}"

    if len({higher for higher, _ in claim.pairs}) == 1:
        return f"against {named(result.lower)}"
    return f"{named(result.higher)}, against {named(result.lower)}"


def notes_list(notes: Iterable[Note]) -> Html:
    """The numbered list of ambiguities and misprints."""
    items = "\n".join(
        f'<li id="note-{n}"><p><strong>{escape(note.where)}</strong> '
        f'<span class="tag">{escape(note.kind)}</span> {marked(note.what)}</p>'
        f"<p><em>Chosen:</em> {marked(note.chosen)} <em>Why:</em> {marked(note.why)}</p></li>"
        for n, note in enumerate(notes, start=1)
    )
    return Html(f'<div class="reid"><ol class="notes">\n{items}\n</ol></div>')
