"""Rows of pictures: what a search found, and what a dataset looks like."""

from collections.abc import Mapping, Sequence

import numpy as np

from reidlib.report import Html, escape
from reidlib.report.figures.basics import framed, picture, pictures

GOOD, WRONG = "correct", "wrong"
FRAMES = {GOOD: ("good", "✓"), WRONG: ("wrong", "✗")}


def gallery(
    query: str | np.ndarray,
    images: Sequence[np.ndarray],
    correct: Sequence[bool],
    *,
    scores: Sequence[float] | None = None,
    meant: np.ndarray | None = None,
    first: int | None = None,
    caption: str = "",
) -> Html:
    """One retrieval: the query and its best matches, best first.

    Args:
        query: a sentence, shown in the caption; or an image uint8 (h, w, 3), shown at the left.
        images: the ranked images, uint8 (h, w, 3) each.
        correct: whether each shows the person that was asked for. Correct ones have a green solid
            frame and a check mark, wrong ones a red dashed frame and a cross.
        scores: similarity of each, printed below it.
        meant: a picture of the person that was asked for, shown at the left.
        first: rank of the first correct image in the whole gallery, said where none is shown.
        caption: said before the query.

    Raises:
        ValueError: there are not as many images as flags.
    """
    if len(images) != len(correct):
        raise ValueError(f"{len(images)} images and {len(correct)} flags")
    items = []
    if not isinstance(query, str):
        items.append(picture(query, "the query", over="query"))
    if meant is not None:
        items.append(picture(meant, "the person who is meant", over="meant", kind="meant"))
    for n, (image, good) in enumerate(zip(images, correct, strict=True)):
        under = "" if scores is None else f"{scores[n]:.3f}"
        items.append(_ranked(image, n + 1, GOOD if good else WRONG, under))
    found = [n for n, good in enumerate(correct, start=1) if good]
    where = _where(found)
    if not found and first is not None:
        where += f"; the first correct one has rank {first}"
    text = "Query: the image at the left."
    if isinstance(query, str):
        text = f"Query: “{query}”" + "." * (not query.endswith((".", "!", "?")))
    label = f"{text} The {len(images)} best matches, {where}."
    return framed(pictures(items, label), f"{caption} {text} Best matches first, {where}.".strip())


def image_search(
    query: np.ndarray,
    images: Sequence[np.ndarray],
    verdicts: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    caption: str = "",
) -> Html:
    """One search by an image: the query at the left, then gallery images, nearest first.

    Args:
        query: uint8 (h, w, 3).
        images: gallery images in their order, uint8 (h, w, 3) each.
        verdicts: of each, "correct" (green solid frame, check mark), "wrong" (red dashed frame,
            cross), or why it is not counted, such as "junk" (gray dotted frame, pale, the reason
            instead of a rank). Only the first two have a rank.
        scores: distance of each, printed below it.
        caption: said first.

    Raises:
        ValueError: there are not as many images as verdicts.
    """
    if len(images) != len(verdicts):
        raise ValueError(f"{len(images)} images and {len(verdicts)} verdicts")
    items, rank, found = [picture(query, "the query", over="query")], 0, []
    for n, (image, verdict) in enumerate(zip(images, verdicts, strict=True)):
        under = "" if scores is None else f"{scores[n]:.2f}"
        if verdict not in FRAMES:
            over = f"{verdict}, not counted"
            items.append(picture(image, over, over=over, under=under, kind="left-out"))
            continue
        rank += 1
        items.append(_ranked(image, rank, verdict, under))
        if verdict == GOOD:
            found.append(rank)
    reasons = [verdict for verdict in verdicts if verdict not in FRAMES]
    left_out = ", ".join(f"{reasons.count(r)} {r}" for r in dict.fromkeys(reasons))
    note = f"The {rank} nearest gallery images that count, {_where(found)}."
    if left_out:
        note += f" Not counted: {left_out}."
    return framed(pictures(items, f"A query image. {note}"), f"{caption} {note}".strip())


def _ranked(image: np.ndarray, rank: int, verdict: str, under: str) -> str:
    kind, mark = FRAMES[verdict]
    alt = f"rank {rank}, {verdict}"
    return picture(image, alt, over=f"{rank} {mark}", under=under, kind=kind)


def _where(found: Sequence[int]) -> str:
    if not found:
        return "none of them correct"
    return f"correct at rank {', '.join(map(str, found))}"


def contact_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    *,
    caption: str,
    alt: str = "",
) -> Html:
    """Images uint8 (h, w, 3) each, with a short label over each."""
    names = [""] * len(images) if labels is None else labels
    items = [
        picture(image, name or f"picture {n}", over=name)
        for n, (image, name) in enumerate(zip(images, names, strict=True), start=1)
    ]
    return framed(pictures(items, alt or f"{len(images)} example images. {caption}"), caption)


def picture_rows(rows: Mapping[str, Sequence[np.ndarray]], *, caption: str, alt: str = "") -> Html:
    """Images uint8 (h, w, 3), a line of them per name, which stands before it."""
    lines = []
    for name, images in rows.items():
        items = [picture(image, f"{name}, {n}") for n, image in enumerate(images, start=1)]
        lines.append(
            f'<div class="line"><span class="name">{escape(name)}</span>'
            f"{pictures(items, f'{name} ({len(images)})')}</div>"
        )
    names = ", ".join(f"{name} ({len(images)})" for name, images in rows.items())
    label = escape(alt or f"Rows of example images: {names}.")
    return framed(f'<div role="group" aria-label="{label}">{"".join(lines)}</div>', caption)
