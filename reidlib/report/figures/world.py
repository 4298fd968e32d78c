"""A picture of the procedural world with what is known about it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reidlib.report import Html
from reidlib.report.figures.basics import BLUE, SERIES, figure, new_figure
from reidlib.report.palette import HEAD, INK

# Pairs of joints that a line connects, in OpenPose-COCO order.
LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
    (11, 12), (12, 13), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip


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
    colors = [HEAD.light, *SERIES[: len(labels) - 1]]
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
    for first, second in LIMBS:
        shown = bool(joints[first, 2] and joints[second, 2])
        x, y = joints[[first, second], :2].T
        pose.plot(x, y, color=INK.light, linewidth=1.6, linestyle="-" if shown else ":")
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
