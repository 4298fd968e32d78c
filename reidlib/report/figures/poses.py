"""People taken apart by their poses: joints and boxes over a picture, and what is cut out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from reidlib.report import Html
from reidlib.report.figures.basics import BLUE, GRAY, SERIES, figure, new_figure
from reidlib.report.figures.world import LIMBS
from reidlib.report.palette import INK

_PER_LINE = 2
_ROOM = 0.27  # drawn around a picture, in its widths and heights: boxes reach outside


def body_parts(
    images: Sequence[np.ndarray],
    joints: Sequence[np.ndarray | None],
    boxes: Sequence[np.ndarray],
    whole: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    caption: str,
) -> Html:
    """Each person's picture with joints and boxes, the body cut out, and the parts cut out.

    Args:
        images: uint8 (h, w, 3) each.
        joints: of each float (18, 3), x and y as shares of the picture's width and height, and 1
            found or 0 filled in, in OpenPose-COCO order; None where the pose was not usable.
        boxes: of each float (n, 4), left, top, right, bottom as shares; the first is the body's.
        whole, parts: of each uint8 (H, W, 3) and (n - 1, h, W, 3).
        names: of the n boxes.
        caption: below the figure.

    Raises:
        ValueError: there are not as many of one as of the others.
    """
    count = len(images)
    if {len(joints), len(boxes), len(whole), len(parts)} != {count}:
        raise ValueError(f"{count} images, and another number of poses, boxes or cuts")
    lines = -(-count // _PER_LINE)
    tall = 3.4
    wide = tall * max(image.shape[1] / image.shape[0] for image in images)
    fig, axes = new_figure(
        _PER_LINE * (3.6 * wide + 0.3), lines * (tall + 0.3) + 0.5, lines, 3 * _PER_LINE,
        width_ratios=[1 + 2 * _ROOM, 1, 1] * _PER_LINE,
    )  # fmt: skip
    for axis in axes.flat[3 * count :]:
        axis.set_visible(False)
    said = []
    for n in range(count):
        picture, body, cut = axes.reshape(-1, 3)[n]
        _draw_picture(picture, images[n], joints[n], boxes[n])
        body.imshow(whole[n], aspect="auto")
        cut.imshow(_stacked(parts[n]), aspect="auto")
        for axis, title in ((picture, f"picture {n + 1}"), (body, names[0]), (cut, "parts")):
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
            axis.grid(False)
            axis.spines[:].set_visible(False)
        if joints[n] is None:
            said.append(f"picture {n + 1}: no usable pose, fixed strips")
        else:
            found = int(joints[n][:, 2].sum())
            said.append(f"picture {n + 1}: {found} of {len(joints[n])} joints found")
    handles = [
        Line2D([], [], color=color, linestyle="-" if k == 0 else "--", label=name)
        for k, (name, color) in enumerate(zip(names, _colors(len(names)), strict=True))
    ]
    handles += [
        Line2D([], [], marker="o", color=BLUE, linestyle="", markerfacecolor=face, label=label)
        for face, label in ((BLUE, "joint found"), ("white", "joint filled in"))
    ]
    columns = -(-len(handles) // 2)
    fig.legend(handles=handles, loc="outside lower center", frameon=False, ncols=columns)
    told = "; ".join(said)
    alt = f"{count} pictures of people with joints and boxes of {', '.join(names)}; {told}."
    return figure(fig, alt, f"{caption} {told.capitalize()}.".strip())


def _draw_picture(
    axis: Any, image: np.ndarray, joints: np.ndarray | None, boxes: np.ndarray
) -> None:
    """A picture in units of its own width and height, with joints and boxes."""
    axis.imshow(image, extent=(0, 1, 1, 0), aspect="auto")
    for k, ((left, top, right, bottom), color) in enumerate(
        zip(boxes, _colors(len(boxes)), strict=True)
    ):
        axis.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top, fill=False, edgecolor=color,
                linewidth=1.8 if k == 0 else 1.3, linestyle="-" if k == 0 else "--",
            )
        )  # fmt: skip
    if joints is not None:
        for first, second in LIMBS:
            x, y = joints[[first, second], :2].T
            both = joints[first, 2] and joints[second, 2]
            axis.plot(x, y, color=INK.light, linewidth=1, linestyle="-" if both else ":")
        for x, y, found in joints:
            face = BLUE if found else "white"
            axis.plot(x, y, "o", color=BLUE, markerfacecolor=face, markersize=3)
    axis.set(xlim=(-_ROOM, 1 + _ROOM), ylim=(1 + _ROOM, -_ROOM))


def _colors(number: int) -> list[str]:
    """Of the body and the parts; none is that of the joints."""
    return [GRAY, *(color for color in SERIES if color not in (GRAY, BLUE))][:number]


def _stacked(parts: np.ndarray) -> np.ndarray:
    """Parts (n, h, W, 3) below each other, a white line between: uint8."""
    line = np.full((max(1, parts.shape[1] // 12), *parts.shape[2:]), 255, np.uint8)
    rows = [row for part in parts for row in (part, line)]
    return np.concatenate(rows[:-1])
