"""Where a model looks: heat maps over pictures, and words against the stripes of one.

No map is stretched to its own range: all maps of a figure have one scale, and one without a
preference is drawn flat and called so.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

from reidlib.report import Html, escape
from reidlib.report.figures.basics import (
    BLUE,
    GRAY,
    ORANGE,
    PICTURE,
    encoded,
    figure,
    framed,
    groups,
    new_figure,
    picture,
)
from reidlib.report.palette import INK

FLAT = 0.05  # a map that spans less than this share of its highest weight has no preference
_MAP, _ALPHA = "inferno", 0.6


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
        maps: float (N, h', w') of any size and range; or several of them by name ("without",
            "with"). The maps of a name have one scale, from their lowest to their highest value,
            and the range of each is printed below it. A map that spans less than `FLAT` of its
            highest weight is called flat.
        labels: one per image.
        caption: below the figure.
        columns: groups (image and its maps) per line, at most.

    Raises:
        ValueError: there are not as many maps as images.
    """
    named = dict(maps) if isinstance(maps, Mapping) else {"attention": np.asarray(maps)}
    for name, values in named.items():
        if len(values) != len(images):
            raise ValueError(f"{len(images)} images and {len(values)} maps {name!r}")
    scales = {name: _scale(np.asarray(values, float)) for name, values in named.items()}
    titled = len(named) > 1 or labels is None
    items, told, flat = [], [], 0
    for n, image in enumerate(images):
        over = "" if labels is None else labels[n]
        group = [picture(image, over or f"picture {n + 1}", over=over)]
        for name, values in named.items():
            heat = np.asarray(values[n], dtype=np.float64)
            under = described(heat)
            flat += is_flat(heat)
            group.append(
                picture(
                    overlay(image, heat, *scales[name]),
                    f"{name}: {under}",
                    over=name if titled else "",
                    under=under,
                    lossy=True,
                )
            )
            told.append(f"{name} {n + 1}: {under}")
        items.append(group)
    count = len(images) * len(named)
    note = caption
    if flat:
        which = "All" if flat == count else f"{flat} of {count}"
        note += (
            f" {which} maps are flat, the weight is the same everywhere: they have learned nothing "
            "about places."
        )
    ranges = "; ".join(f"{name} {_range(*scale)}" for name, scale in _spans(named).items())
    note += f" One scale for all images: {ranges}."
    label = f"{len(images)} images, each beside the same image with a heat map laid over it."
    return framed(groups(items, f"{label} {'; '.join(told)}.", most=columns), note)


def is_flat(heat: np.ndarray) -> bool:
    """Whether weights (any shape) span less than `FLAT` of the highest of them."""
    return bool(np.ptp(heat) <= FLAT * np.abs(heat).max())


def described(heat: np.ndarray) -> str:
    """The range of a map in words: "0.12–0.87", "flat: 0.50–0.51"."""
    text = _range(float(heat.min()), float(heat.max()))
    return f"flat: {text}" if is_flat(heat) else text


def _range(low: float, high: float) -> str:
    digits = 2 if high >= 0.1 else 4
    ends = [f"{value:.{digits}f}" for value in (low, high)]
    return "\N{WORD JOINER}–\N{WORD JOINER}".join(dict.fromkeys(ends))  # no new line within


def _spans(named: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    return {n: (float(np.min(v)), float(np.max(v))) for n, v in named.items()}


def _scale(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest weight that colors are for; wide enough that flat maps look flat."""
    low, high = float(values.min()), float(values.max())
    if not is_flat(values):
        return low, high
    middle, room = (low + high) / 2, max(abs(low), abs(high), 1e-9) / 2
    return middle - room, middle + room


def overlay(image: np.ndarray, heat: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 (h, w, 3): a map float (h', w') over an image uint8 (h, w, 3), dark at `low`."""
    # Large enough to show a small map smoothly.
    size = (2 * PICTURE, round(2 * PICTURE * image.shape[0] / image.shape[1]))
    large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), dtype=float)
    values = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    shares = np.clip((np.asarray(values, dtype=float) - low) / (high - low), 0, 1)
    colors = 255 * matplotlib.colormaps[_MAP](shares)[..., :3]
    return np.round((1 - _ALPHA) * large + _ALPHA * colors).astype(np.uint8)


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
        columns: groups (image and its maps) per line, at most.

    Raises:
        ValueError: there are not as many groups of maps as images.
    """
    if len(images) != len(maps):
        raise ValueError(f"{len(images)} images and maps for {len(maps)}")
    relative = [[np.asarray(heat) / np.mean(heat) for _, heat in group] for group in maps]
    top = float(max([2.0, *(heat.max() for group in relative for heat in group)]))
    items, said = [], []
    for n, (image, group) in enumerate(zip(images, maps, strict=True)):
        shown = [picture(image, f"picture {n + 1}")]
        told = []
        for (phrase, _), heat in zip(group, relative[n], strict=True):
            under = f"up to {heat.max():.1f}×"
            if is_flat(heat):
                under = f"flat: {under}"
            middle = (np.argmax(heat.sum(1)) + 0.5) / len(heat)
            words = f"{phrase}: most at {100 * middle:.0f} %, up to {heat.max():.1f} times"
            laid = overlay(image, heat, 0, top)
            shown.append(picture(laid, words, over=phrase, under=under, lossy=True))
            told.append(words)
        items.append(shown)
        said.append(f"Image {n + 1}: {'; '.join(told)}")
    label = (
        f"{len(images)} images, each followed by heat maps of the attention to phrases; height is "
        f"counted from the top. {'. '.join(said)}."
    )
    return framed(groups(items, label, most=columns) + _legend(top), caption)


def _legend(top: float) -> str:
    """The scale of `phrase_maps` as a strip with its ends."""
    strip = 255 * matplotlib.colormaps[_MAP](np.linspace(0, 1, 128))[None, :, :3]
    source = encoded(np.repeat(strip, 6, axis=0).astype(np.uint8))
    return (
        f'<p class="minor">times the mean weight: 0 <img alt="from dark to bright" width="128" '
        f'height="10" src="{escape(source)}"> {top:.1f}</p>'
    )


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

    Raises:
        ValueError: there are not as many weights as words.
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
            color = "white" if value > 0.55 else INK.light
            # Inside its cell: what is left out of the layout need not be measured again and again.
            right.text(
                x, y, text, ha="center", va="center", fontsize=7, color=color, in_layout=False
            )
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


def stripes_and_phrases(
    image: np.ndarray,
    stripes: np.ndarray,
    stripes_pass: Sequence[bool],
    phrases: Sequence[str],
    weights: np.ndarray,
    phrases_pass: Sequence[bool],
    *,
    caption: str,
) -> Html:
    """An image's stripes by how well they fit a sentence, and its phrases by how well they fit the
    image, with the threshold that they have to reach.

    Args:
        image: uint8 (h, w, 3), drawn so that each stripe is level with its bar.
        stripes: float (k,), the weight of each stripe from the top; they sum to 1.
        stripes_pass: whether each reaches the threshold 1/k; the others are drawn hollow.
        phrases, weights, phrases_pass: the same of n noun phrases, with the threshold 1/n.
        caption: below the figure.

    Raises:
        ValueError: there are not as many weights or flags as phrases.
    """
    if not len(phrases) == len(weights) == len(phrases_pass):
        raise ValueError(f"{len(phrases)} phrases, {len(weights)} weights")
    k, n = len(stripes), len(phrases)
    height = max(1.6, 0.27 * max(k, n)) + 0.5
    wide = (height - 0.5) * image.shape[1] / image.shape[0]
    fig, axes = new_figure(wide + 6.6, height, 1, 3, width_ratios=[wide, 2.6, 3.4])
    left, middle, right = axes[0]
    _draw_stripes(left, image, k)
    places = (np.arange(k) + 0.5) * image.shape[0] / k - 0.5
    _bars(middle, places, stripes, stripes_pass, 0.8 * image.shape[0] / k)
    middle.set(ylim=left.get_ylim(), yticks=[], xlabel="weight of the stripe")
    _bars(right, np.arange(n), weights, phrases_pass, 0.8)
    right.set(ylim=(n - 0.5, -0.5), yticks=range(n), xlabel="weight of the phrase")
    right.set_yticklabels(phrases, parse_math=False)

    def told(names: Sequence[str], values: np.ndarray, passes: Sequence[bool]) -> str:
        each = zip(names, values, passes, strict=True)
        return ", ".join(f"{name} {v:.3f}{'' if ok else ' (left out)'}" for name, v, ok in each)

    alt = (
        f"An image cut into {k} stripes with the weight of each, from the top: "
        f"{told([str(i + 1) for i in range(k)], stripes, stripes_pass)}; and the weights of {n} "
        f"phrases: {told(phrases, weights, phrases_pass)}."
    )
    return figure(fig, alt, caption)


def _bars(
    axis: Any, places: np.ndarray, values: np.ndarray, passes: Sequence[bool], height: float
) -> None:
    """Weights that sum to 1 with their threshold, the mean weight; hollow below it."""
    threshold = 1 / len(values)
    for place, value, ok in zip(places, values, passes, strict=True):
        look = {"color": BLUE} if ok else {"facecolor": "none", "edgecolor": GRAY, "hatch": "////"}
        axis.barh(place, value, height=height, **look)
        text = f"{value:.3f}" if ok else f"{value:.3f}, left out"
        end = max(value, threshold)  # not across the line
        axis.annotate(
            text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.axvline(threshold, color=ORANGE, linestyle="--", linewidth=1.4)
    axis.set_xlim(0, 1.5 * max(float(np.max(values)), threshold))
    axis.grid(False)


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
