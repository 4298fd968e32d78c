"""Figures as HTML: a PNG in place, alternative text, a caption.

Figures are drawn without pyplot, so nothing is left open. Marks never rely on color alone. Text
that comes from a dataset is drawn literally (no math markup) and escaped in captions.
"""

import base64
import io
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from reidlib.papers.bootstrap import Difference
from reidlib.papers.claims import ClaimResult
from reidlib.report import Html, escape

GREEN, RED, BLUE, ORANGE, GRAY = "#1a7f4b", "#c0271d", "#2a6fb0", "#c8741a", "#7a828e"
SERIES = (BLUE, ORANGE, GREEN, "#8a4fa3", GRAY, RED, "#17a2a8", "#9c6b30")
MARKERS = "osD^vPX*"
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e7ec",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
_BOOKKEEPING = frozenset({"epoch", "stage", "lr", "seconds", "images", "images_per_s"})
# Pairs of joints that a line connects, in OpenPose-COCO order.
_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
    (11, 12), (12, 13), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> Any:
    """A matplotlib figure of width x height inches and its axes, ndarray (rows, columns)."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def figure(fig: Figure, alt: str, caption: str, *, dpi: int = 144, data: str = "") -> Html:
    """A matplotlib figure as `<figure>` with the PNG in place; closes it if pyplot made it.

    Args:
        fig: any matplotlib figure.
        alt: what the figure shows, for those who cannot see it; must not be empty.
        caption: plain text, shown below.
        dpi: pixels per inch.
        data: HTML of a table with the figure's numbers, shown on demand.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("a figure needs alternative text")
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        fig.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    width = round(fig.get_figwidth() * 96)
    more = f"<details><summary>The numbers</summary>{data}</details>" if data else ""
    return Html(
        f'<figure class="reid"><img alt="{escape(alt)}" style="width:{width}px" '
        f'src="data:image/png;base64,{encoded}"><figcaption>{escape(caption)}</figcaption>{more}'
        "</figure>"
    )


def curves(history: Sequence[Mapping[str, Any]], *, caption: str = "") -> Html:
    """Losses and learning rate by epoch, from a run's history; stages are set apart."""
    frame = pd.DataFrame(list(history))
    x = np.arange(1, len(frame) + 1)
    losses = [c for c in frame if c not in _BOOKKEEPING and pd.api.types.is_numeric_dtype(frame[c])]
    fig, axes = new_figure(9, 3.6, 1, 2, width_ratios=[2, 1])
    left, right = axes[0]
    for n, name in enumerate(losses):
        left.plot(
            x,
            frame[name],
            label=name,
            color="#1e2430" if name == "loss" else SERIES[n % len(SERIES)],
            linewidth=2.2 if name == "loss" else 1.4,
            marker=MARKERS[n % len(MARKERS)] if len(x) <= 40 else None,
            markersize=4,
        )
    left.set(xlabel="epoch", ylabel="loss", title="loss per epoch", ylim=(0, None))
    left.legend(ncols=2)
    right.plot(x, frame["lr"], color=BLUE, drawstyle="steps-mid")
    right.set(xlabel="epoch", ylabel="learning rate", title="learning rate", yscale="log")
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
        if "stage" in frame:
            stages = frame["stage"].to_numpy()
            for change in np.flatnonzero(stages[1:] != stages[:-1]):
                axis.axvline(change + 1.5, color=GRAY, linestyle=":", linewidth=1.2)
    first, last = frame["loss"].iloc[0], frame["loss"].iloc[-1]
    alt = f"Training curves over {len(x)} epochs: the loss goes from {first:.3g} to {last:.3g}."
    note = caption or alt
    if "stage" in frame and frame["stage"].nunique() > 1:
        note += " Dotted line: start of the next stage."
    shown = frame.map(lambda v: f"{v:.4g}" if isinstance(v, float) else v)
    table = shown.to_html(index=False, border=0, classes="plain", escape=True)
    table = table.replace("<th>", '<th scope="col">')
    table = table.replace("<thead>", "<caption>Training record by epoch</caption><thead>", 1)
    return figure(fig, alt, note, data=f'<div class="scroll">{table}</div>')


def gallery(
    query: str | np.ndarray,
    images: Sequence[np.ndarray],
    correct: Sequence[bool],
    *,
    scores: Sequence[float] | None = None,
    caption: str = "",
) -> Html:
    """One retrieval: the query and its best matches, best first.

    Args:
        query: a sentence, shown in the caption; or an image uint8 (h, w, 3), shown at the left.
        images: the ranked images, uint8 (h, w, 3) each.
        correct: whether each shows the person that was asked for. Correct ones have a green solid
            frame and a check mark, wrong ones a red dashed frame and a cross.
        scores: similarity of each, printed below it.
        caption: said before the query.
    """
    if len(images) != len(correct):
        raise ValueError(f"{len(images)} images and {len(correct)} flags")
    shown = list(images) if isinstance(query, str) else [query, *images]
    offset = len(shown) - len(images)
    fig, axes = _image_grid(len(shown), len(shown), shown, label_lines=2)
    for n, axis in enumerate(axes[0]):
        axis.imshow(shown[n], aspect="auto")
        if n < offset:
            axis.set_title("query")
            continue
        rank = n - offset
        good = bool(correct[rank])
        color, mark = (GREEN, "✓") if good else (RED, "✗")
        axis.set_title(f"{rank + 1}  {mark}", color=color, fontweight="bold")
        if scores is not None:
            axis.set_xlabel(f"{scores[rank]:.3f}", fontsize=9)
        for spine in axis.spines.values():
            spine.set(visible=True, color=color, linewidth=3.2, capstyle="butt")
            spine.set_linestyle("-" if good else (0, (2.5, 1.5)))
    found = [str(n) for n, good in enumerate(correct, start=1) if good]
    where = f"correct at rank {', '.join(found)}" if found else "none of them correct"
    text = f"Query: “{query}”" if isinstance(query, str) else "Query: the image at the left"
    alt = f"{text}. The {len(images)} best matches, {where}."
    return figure(fig, alt, f"{caption} {text}. Best matches first, {where}.".strip())


def image_search(
    query: np.ndarray,
    images: Sequence[np.ndarray],
    verdicts: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    caption: str = "",
    columns: int = 12,
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
        columns: images per line, the query included.
    """
    if len(images) != len(verdicts):
        raise ValueError(f"{len(images)} images and {len(verdicts)} verdicts")
    shown = [query, *images]
    columns = min(columns, len(shown))
    fig, axes = _image_grid(len(shown), columns, shown, label_lines=3)
    for axis in axes.flat[len(shown) :]:
        axis.axis("off")
    axes.flat[0].imshow(query, aspect="auto")
    axes.flat[0].set_title("query", fontsize=9)
    marks = {"correct": (GREEN, "✓", "-"), "wrong": (RED, "✗", (0, (2.5, 1.5)))}
    rank, found = 0, []
    for n, (axis, image, verdict) in enumerate(zip(axes.flat[1:], images, verdicts, strict=False)):
        counted = verdict in marks
        color, mark, line = marks.get(verdict, (GRAY, "", (0, (0.6, 1.2))))
        axis.imshow(image, aspect="auto", alpha=1.0 if counted else 0.45)
        if counted:
            rank += 1
            axis.set_title(f"{rank}  {mark}", color=color, fontsize=10, fontweight="bold")
            if verdict == "correct":
                found.append(str(rank))
        else:
            title = textwrap.fill(verdict, 8) + "\nnot counted"
            axis.set_title(title, color=GRAY, fontsize=7.5)
        if scores is not None:
            axis.set_xlabel(f"{scores[n]:.2f}", fontsize=8)
        for spine in axis.spines.values():
            spine.set(visible=True, color=color, linewidth=3.2 if counted else 1.8)
            spine.set(capstyle="butt", linestyle=line)
    where = f"correct at rank {', '.join(found)}" if found else "none of them correct"
    reasons = [verdict for verdict in verdicts if verdict not in marks]
    left_out = ", ".join(f"{reasons.count(r)} {r}" for r in dict.fromkeys(reasons))
    note = f"The {rank} nearest gallery images that count, {where}."
    if left_out:
        note += f" Not counted: {left_out}."
    return figure(fig, f"A query image. {note}", f"{caption} {note}".strip())


def attention_grid(
    images: Sequence[np.ndarray],
    maps: np.ndarray | Mapping[str, np.ndarray],
    labels: Sequence[str] | None = None,
    *,
    caption: str = "Attention maps over the images: bright where the weight is high.",
    columns: int = 5,
) -> Html:
    """Images side by side with their attention maps as heat maps laid over them.

    Args:
        images: uint8 (h, w, 3) each.
        maps: float (N, h', w') of any size and range, scaled to each map's own range; or several
            of them by name ("without", "with").
        labels: one per image.
        caption: below the figure.
        columns: groups (image and its maps) per line.
    """
    named = dict(maps) if isinstance(maps, Mapping) else {"attention": np.asarray(maps)}
    for name, values in named.items():
        if len(values) != len(images):
            raise ValueError(f"{len(images)} images and {len(values)} maps {name!r}")
    width = 1 + len(named)
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    fig, axes = _image_grid(rows * columns * width, columns * width, images, label_lines=2)
    for axis in axes.flat:
        axis.axis("off")
    for n, image in enumerate(images):
        row, start = divmod(n, columns)
        cells = axes[row, start * width : (start + 1) * width]
        height, wide = image.shape[:2]
        extent = (-0.5, wide - 0.5, height - 0.5, -0.5)
        for axis in cells:
            axis.imshow(image, aspect="auto", extent=extent)
        for axis, (name, values) in zip(cells[1:], named.items(), strict=True):
            heat = np.asarray(values[n], dtype=np.float64)
            span = np.ptp(heat)
            heat = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
            axis.imshow(
                heat,
                cmap="inferno",
                alpha=0.6,
                extent=extent,
                interpolation="bilinear",
                aspect="auto",
                vmin=0,
                vmax=1,
            )
            if len(named) > 1 or labels is None:
                axis.set_title(name, fontsize=8)
        if labels is not None:
            cells[0].set_title(
                textwrap.shorten(labels[n], 24, placeholder="…"), fontsize=8, parse_math=False
            )
    what = ", ".join(named)
    alt = f"{len(images)} images, each beside the same image with a heat map laid over it: {what}."
    return figure(fig, alt, caption)


def contact_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    *,
    caption: str,
    alt: str = "",
    columns: int = 10,
) -> Html:
    """Images in a grid, uint8 (h, w, 3) each, with a short label below each."""
    columns = min(columns, len(images))
    fig, axes = _image_grid(len(images), columns, images, label_lines=1 if labels else 0)
    for axis in axes.flat:
        axis.axis("off")
    for n, image in enumerate(images):
        axis = axes.flat[n]
        axis.imshow(image, aspect="auto")
        if labels is not None:
            axis.set_title(
                textwrap.shorten(labels[n], 18, placeholder="…"), fontsize=8, parse_math=False
            )
    return figure(fig, alt or f"{len(images)} example images. {caption}", caption)


def picture_rows(rows: Mapping[str, Sequence[np.ndarray]], *, caption: str, alt: str = "") -> Html:
    """Images uint8 (h, w, 3), a line of them per name, which stands at its left."""
    every = [image for images in rows.values() for image in images]
    columns = max(len(images) for images in rows.values())
    fig, axes = _image_grid(len(rows) * columns, columns, every, label_lines=0)
    for axis in axes.flat:
        axis.axis("off")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image, aspect="auto")
        line[0].text(
            -0.12, 0.5, textwrap.fill(name, 12), transform=line[0].transAxes,
            ha="right", va="center", fontsize=9, parse_math=False,
        )  # fmt: skip
    names = ", ".join(f"{name} ({len(images)})" for name, images in rows.items())
    return figure(fig, alt or f"Rows of example images: {names}.", caption)


def drawn_shot(
    image: np.ndarray,
    mask: np.ndarray,
    joints: np.ndarray,
    labels: Sequence[str],
    *,
    caption: str,
) -> Html:
    """A picture of the procedural world, its part mask and its joints, side by side.

    Args:
        image: uint8 (h, w, 3).
        mask: uint8 (h, w), positions in `labels`; 0 is the background.
        joints: float (18, 3), x and y in pixels and 1 visible or 0, in OpenPose-COCO order.
        labels: names of the parts, that of the background first.
        caption: below the figure.
    """
    height, width = mask.shape
    tall = 3.6
    wide = tall * width / height
    fig, axes = new_figure(3 * wide + 2.0, tall + 0.7, 1, 3)
    titles = ("picture", "part mask", "joints")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set(xticks=[], yticks=[], title=title)
        axis.grid(False)
        axis.spines[:].set_visible(False)
    picture, parts, pose = axes[0]
    picture.imshow(image)
    shares = []
    colors = ["#eef0f3", *SERIES[: len(labels) - 1]]
    parts.imshow(mask, cmap=ListedColormap(colors), vmin=-0.5, vmax=len(labels) - 0.5)
    handles, box = [], {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    for label in range(1, len(labels)):
        rows, columns = np.nonzero(mask == label)
        handles.append(Patch(color=colors[label], label=f"{label}  {labels[label]}"))
        shares.append(f"{labels[label]} {100 * len(rows) / mask.size:.0f} %")
        if not len(rows):
            continue
        # The pixel of the part that is nearest to its middle: both feet have none between them.
        near = np.hypot(rows - np.median(rows), columns - np.median(columns)).argmin()
        parts.text(
            columns[near], rows[near], str(label), fontsize=8, bbox=box, ha="center", va="center"
        )
    pose.imshow(image, alpha=0.3)
    for first, second in _LIMBS:
        shown = bool(joints[first, 2] and joints[second, 2])
        x, y = joints[[first, second], :2].T
        pose.plot(x, y, color="#1e2430", linewidth=1.6, linestyle="-" if shown else ":")
    for x, y, visible in joints:
        face = BLUE if visible else "white"
        pose.plot(x, y, "o", color=BLUE, markerfacecolor=face, markersize=5)
    pose.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    seen = int(joints[:, 2].sum())
    handles += [
        Line2D([], [], marker="o", color=BLUE, linestyle="", markerfacecolor=face, label=label)
        for face, label in ((BLUE, "joint that is seen"), ("white", "joint that is hidden"))
    ]
    fig.legend(handles=handles, loc="outside right center", frameon=False)
    alt = (
        f"A picture of a person, {height} x {width} pixels; a mask of the parts with their shares "
        f"of the picture ({', '.join(shares)}); a skeleton of {len(joints)} joints, {seen} of them "
        "seen."
    )
    return figure(fig, alt, caption)


def word_parts(
    image: np.ndarray,
    words: Sequence[str],
    parts: np.ndarray,
    *,
    known: Sequence[bool] | None = None,
    marked: Sequence[int] = (),
    caption: str,
    columns: int = 15,
) -> Html:
    """A sentence's words against the horizontal stripes of an image, as a heat map beside it.

    Args:
        image: uint8 (h, w, 3), drawn at the height of the heat map, so that stripe k and line k
            are level; repeated where the sentence goes on in another line.
        words: the sentence.
        parts: float (words, K) in 0..1, the weight of each word in each stripe from the top;
            colors have the fixed range 0 to 1, and every number is printed.
        known: whether each word is in the vocabulary; the others are put in brackets.
        marked: positions of the words that the figure is about, framed.
        caption: below the figure.
        columns: words per line, at most.
    """
    count, K = parts.shape
    if len(words) != count:
        raise ValueError(f"{len(words)} words and weights for {count}")
    lines = math.ceil(count / columns)
    columns = math.ceil(count / lines)  # lines of about the same length
    known = [True] * count if known is None else known
    wide, cell = 0.27 * K * image.shape[1] / image.shape[0], 0.53
    fig, axes = new_figure(
        max(3.2, 0.5 + wide + cell * columns), (0.27 * K + 0.8) * lines, lines, 2,
        width_ratios=[wide, max(2.4, cell * columns)],
    )  # fmt: skip
    for number, (left, right) in enumerate(axes):
        start = number * columns
        shown = range(start, min(start + columns, count))
        _draw_stripes(left, image, K)
        block = parts[start : shown.stop]
        right.imshow(block.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (x, y), value in np.ndenumerate(block):
            text = f"{value:.2f}".removeprefix("0")
            color = "white" if value > 0.55 else "#1e2430"
            right.text(x, y, text, ha="center", va="center", fontsize=7, color=color)
        labels = [words[n] if known[n] else f"[{words[n]}]" for n in shown]
        right.set(xticks=range(len(shown)), yticks=[], xlim=(-0.5, columns - 0.5))
        right.set_xticklabels(
            labels, rotation=40, ha="right", rotation_mode="anchor", parse_math=False
        )
        right.tick_params(axis="x", labelsize=9, length=0, pad=3)
        right.grid(False)
        for spine in right.spines.values():
            spine.set_visible(False)
        for x, n in enumerate(shown):
            if n in marked:
                right.get_xticklabels()[x].set_fontweight("bold")
                frame = Rectangle(
                    (x - 0.5, -0.5), 1, K, fill=False, edgecolor=ORANGE, linewidth=2, clip_on=False
                )
                right.add_patch(frame)
    about = "; ".join(
        f"{words[n]}: {', '.join(f'{value:.2f}' for value in parts[n])}" for n in sorted(marked)
    )
    alt = (
        f"An image cut into {K} stripes, and for each of the {count} words of “{' '.join(words)}” "
        f"its weight in every stripe, between {parts.min():.2f} and {parts.max():.2f}."
        + (f" From the top: {about}." if about else "")
    )
    note = caption
    if not all(known):
        note += " Words in brackets are not in the vocabulary."
    return figure(fig, alt, note)


def _draw_stripes(axis: Any, image: np.ndarray, K: int) -> None:
    """An image with the lines between its K horizontal stripes, numbered from the top."""
    height = image.shape[0]
    axis.imshow(image, aspect="auto")
    for k in range(1, K):
        for color, width in (("black", 1.8), ("white", 0.9)):
            axis.axhline(k * height / K - 0.5, color=color, linewidth=width)
    middles = [(k + 0.5) * height / K - 0.5 for k in range(K)]
    axis.set(xticks=[], yticks=middles)
    axis.set_yticklabels([str(k + 1) for k in range(K)])
    axis.tick_params(axis="y", length=0, labelsize=8)
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def phrase_maps(
    images: Sequence[np.ndarray],
    maps: Sequence[Sequence[tuple[str, np.ndarray]]],
    *,
    caption: str,
    columns: int = 2,
) -> Html:
    """Images, each followed by where a model looks in it for some phrases.

    Args:
        images: uint8 (h, w, 3) each.
        maps: for each image, phrases with their weights, float (h', w') of any size, all >= 0.
            They are drawn as multiples of their mean, which is the weight that attention without
            preference has everywhere: all with one scale, so that maps can be compared and flat
            ones look flat. The highest multiple is printed below each.
        caption: below the figure.
        columns: groups (image and its maps) per line.
    """
    if len(images) != len(maps):
        raise ValueError(f"{len(images)} images and maps for {len(maps)}")
    relative = [[np.asarray(heat) / np.mean(heat) for _, heat in group] for group in maps]
    top = max([2.0, *(heat.max() for group in relative for heat in group)])
    width = 1 + max(len(group) for group in maps)
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    fig, axes = _image_grid(rows * columns * width, columns * width, images, label_lines=4)
    for axis in axes.flat:
        axis.axis("off")
    letters = round(13 * min(1.15, 10 / (columns * width)))  # that a title has room for
    said, drawn = [], None
    for n, (image, group) in enumerate(zip(images, maps, strict=True)):
        row, start = divmod(n, columns)
        cells = axes[row, start * width : (start + 1) * width]
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        told = []
        for axis in cells[: 1 + len(group)]:
            axis.imshow(image, aspect="auto", extent=extent)
        for axis, (phrase, _), heat in zip(cells[1:], group, relative[n], strict=False):
            drawn = axis.imshow(
                heat,
                cmap="inferno",
                alpha=0.6,
                extent=extent,
                interpolation="bilinear",
                aspect="auto",
                vmin=0,
                vmax=top,
            )
            title = textwrap.shorten(phrase, 3 * letters, placeholder="…")
            title = textwrap.fill(title, letters, break_long_words=False)
            axis.set_title(title, fontsize=8, parse_math=False)
            axis.text(
                0.5, -0.02, f"up to {heat.max():.1f}×", transform=axis.transAxes,
                ha="center", va="top", fontsize=7.5, color=GRAY,
            )  # fmt: skip
            height = (np.argmax(heat.sum(1)) + 0.5) / len(heat)
            told.append(f"{phrase}: most at {100 * height:.0f} %, up to {heat.max():.1f} times")
        said.append(f"Image {n + 1}: {'; '.join(told)}")
    if drawn is not None:
        bar = fig.colorbar(drawn, ax=axes, shrink=min(1.0, 0.9 / rows), aspect=25, pad=0.01)
        bar.set_label("times the mean weight", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        bar.solids.set_alpha(1)
    alt = (
        f"{len(images)} images, each followed by heat maps of the attention to phrases; height is "
        f"counted from the top. {'. '.join(said)}."
    )
    return figure(fig, alt, caption)


def caption_lengths(
    lengths: Sequence[int], *, published_mean: float | None = None, of: str = ""
) -> Html:
    """Histogram of the number of words per caption; of: what they are captions of."""
    values = np.asarray(lengths)
    fig, axes = new_figure(7, 3)
    axis = axes[0, 0]
    axis.hist(values, bins=np.arange(values.min(), values.max() + 2) - 0.5, color=BLUE)
    axis.axvline(values.mean(), color="#1e2430", label=f"mean {values.mean():.1f}")
    if published_mean is not None:
        label = f"published mean {published_mean:g}"
        axis.axvline(published_mean, color=ORANGE, linestyle="--", label=label)
    axis.set(xlabel="words per caption", ylabel="captions")
    axis.legend()
    which = f"{of}: histogram" if of else "Histogram"
    alt = (
        f"{which} of words per caption: {len(values):,} captions, from {values.min()} to "
        f"{values.max()} words, mean {values.mean():.1f}, median {np.median(values):g}."
    )
    return figure(fig, alt, alt)


def sweep(
    x: Sequence[float],
    paper: Mapping[str, Sequence[float | None]],
    measured: Mapping[str, Sequence[float | None]],
    *,
    xlabel: str,
    ylabel: str = "Top-1 (%)",
    std: Mapping[str, Sequence[float | None]] | None = None,
    synthetic: bool = False,
    caption: str = "",
) -> Html:
    """A setting against a score, the paper's curves at the left and the measured ones beside.

    Args:
        x: values of the setting.
        paper, measured: per series (backbone) one value per x; None where there is none.
        std: of the measured values, drawn as error bars.
        synthetic: the panels keep their own scale, as their levels cannot be compared.
    """
    fig, axes = new_figure(9, 3.5, 1, 2, sharey=not synthetic)
    peaks = []
    for axis, title, series in zip(
        axes[0], ("paper", "measured here"), (paper, measured), strict=True
    ):
        for n, (name, values) in enumerate(series.items()):
            y = _floats(values)
            known = np.isfinite(y)
            if not known.any():
                continue
            spread = None
            if std is not None and title != "paper" and name in std:
                spread = _floats(std[name])[known]
            axis.errorbar(
                np.asarray(x, dtype=float)[known],
                y[known],
                yerr=spread,
                label=name,
                color=SERIES[n % len(SERIES)],
                marker=MARKERS[n % len(MARKERS)],
                capsize=3,
            )
            peak = int(np.nanargmax(y))
            peaks.append(f"{title}, {name}: highest {y[peak]:.2f} at {x[peak]}")
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title, xticks=list(x))
        axis.tick_params(labelleft=True)
        gaps = np.diff(np.sort(x))
        if gaps.size and gaps.min() < 0.08 * gaps.sum():  # labels side by side would overlap
            axis.set_xticks(list(x), [f"{value:g}" for value in x], rotation=90)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
        else:
            axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GRAY)
    alt = f"{ylabel} against {xlabel}. " + "; ".join(peaks) + "."
    note = caption or alt
    if synthetic:
        note += " Synthetic data: compare the shapes, not the levels; the panels differ in scale."
    return figure(fig, alt, note)


def against_reference(
    x: Sequence[str],
    scores: Mapping[str, Sequence[float | None]],
    reference: Mapping[str, float | None],
    differences: Mapping[str, Sequence[Difference | None]],
    *,
    xlabel: str,
    name: str,
    ylabel: str = "Top-1 (%)",
    caption: str = "",
) -> Html:
    """Settings of something beside the reference, a line called `name`; a panel per dataset.

    Args:
        x: the settings.
        scores: per dataset one score per setting; None where there is none.
        reference: per dataset the score to compare with.
        differences: reference minus score. Its interval is the bar at the setting, moved so that
            it crosses the line where the difference may be zero.
    """
    fig, axes = new_figure(9, 3.3, 1, len(scores))
    places, told = np.arange(len(x)), []
    for axis, (title, values) in zip(axes[0], scores.items(), strict=True):
        y, level = _floats(values), reference[title]
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=(-0.5, len(x) - 0.5))
        axis.set_xticks(places, x)
        if level is None and not np.isfinite(y).any():
            axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GRAY)
            axis.set_yticks([])
            told.append(f"{title}: not run")
            continue
        if level is not None:
            axis.axhline(level, color=ORANGE, linestyle="--", label=f"{name}: {level:.2f}")
        bars = [
            (0, 0) if d is None else (d.high - d.value, d.value - d.low) for d in differences[title]
        ]
        axis.errorbar(
            places, y, yerr=np.array(bars).T, fmt="o", color=BLUE, capsize=4, label=xlabel
        )
        axis.legend(loc="best", frameon=True, framealpha=0.8, edgecolor="none")
        each = [f"{value:.2f} at {at}" for at, value in zip(x, y, strict=True) if value == value]
        told.append(
            f"{title}: {', '.join(each) or 'no setting run'}; {name} "
            + ("not run" if level is None else f"{level:.2f}")
        )
    alt = f"{ylabel} against {xlabel}. " + ". ".join(told) + "."
    return figure(fig, alt, caption or alt)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def forest(results: Sequence[ClaimResult], *, caption: str = "") -> Html:
    """Claims as dots with 95 % intervals beside the paper's differences.

    A filled circle is a claim reproduced, a cross one contradicted, an open circle one undecided;
    the small diamond is the paper's own difference. Claims that were not run are left out.
    """
    marks = {"reproduced": ("o", GREEN), "contradicted": ("X", RED), "undecided": ("o", GRAY)}
    run = [r for r in results if r.difference is not None]
    left_out = len(results) - len(run)
    fig, axes = new_figure(9.5, 1.3 + 0.3 * max(1, len(run)))
    axis = axes[0, 0]
    for n, result in enumerate(run):
        marker, color = marks[result.verdict]
        value, low, high = result.difference, result.ci_low, result.ci_high
        axis.plot([low, high], [n, n], color=color, linewidth=2, solid_capstyle="butt")
        fill = "white" if result.verdict == "undecided" else color
        axis.plot(value, n, marker, color=color, markerfacecolor=fill, markersize=7)
        if result.paper_difference is not None:
            axis.plot(result.paper_difference, n - 0.24, "D", color=ORANGE, markersize=4)
    axis.axvline(0, color="#1e2430", linewidth=1)
    names = [textwrap.shorten(r.claim.statement, 96, placeholder="…") for r in run]
    axis.set_yticks(range(len(run)), names)
    axis.tick_params(axis="y", labelsize=8.5, length=0)
    axis.set_ylim(max(1, len(run)) - 0.5, -0.5)
    axis.set_xlabel("difference in percentage points, with 95 % interval")
    axis.grid(axis="y", visible=False)
    handles = [
        axis.plot([], [], marker, color=color, linestyle="", label=word, markerfacecolor=fill)[0]
        for word, marker, color, fill in (
            ("reproduced", "o", GREEN, GREEN),
            ("undecided", "o", GRAY, "white"),
            ("contradicted", "X", RED, RED),
            ("in the paper", "D", ORANGE, ORANGE),
        )
    ]
    fig.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    counts = {v: sum(r.verdict == v for r in run) for v in marks}
    alt = f"{len(run)} claims with intervals: " + ", ".join(f"{n} {v}" for v, n in counts.items())
    note = caption or "Measured differences (circles and crosses with intervals) and the paper's."
    if left_out:
        note += f" {left_out} claims were not run and are left out."
    return figure(fig, alt + ".", note)


def _image_grid(
    count: int, columns: int, images: Sequence[np.ndarray], label_lines: int
) -> tuple[Figure, np.ndarray]:
    """Axes without ticks for `count` pictures of the images' median aspect."""
    aspect = float(np.median([image.shape[0] / image.shape[1] for image in images]))
    rows = math.ceil(count / columns)
    width = min(1.15, 10 / columns)
    fig, axes = new_figure(
        max(columns * width, 2.5), rows * (width * aspect + 0.2 * label_lines + 0.1), rows, columns
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    return fig, axes
