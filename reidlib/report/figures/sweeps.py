"""A setting against a score: the paper's curve beside the measured one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reidlib.papers.intervals import Difference
from reidlib.report import Html
from reidlib.report.figures.basics import (
    BLUE,
    GRAY,
    MARKERS,
    ORANGE,
    SERIES,
    chart,
    new_figure,
)


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
        paper, measured: per series (backbone) one value per x; None where there is none. Without
            any series of the paper only what is measured is drawn.
        std: of the measured values, drawn as error bars.
        synthetic: said in the caption; the panels keep their own scale, as their levels cannot be
            compared.
    """
    panels, levels = [], []
    both = (("paper", paper), ("measured here", measured))
    for title, series in both if paper else both[1:]:
        fig, axes = new_figure(4.4, 3.4)
        axis, peaks = axes[0, 0], []
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
            peaks.append(f"{name}: highest {y[peak]:.2f} at {x[peak]}")
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title, xticks=list(x))
        gaps = np.diff(np.sort(x))
        if gaps.size and gaps.min() < 0.08 * gaps.sum():  # labels side by side would overlap
            axis.set_xticks(list(x), [f"{value:g}" for value in x], rotation=90)
        if peaks:
            axis.legend()
            levels.append((axis, axis.get_ylim()))
        else:
            axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GRAY)
        alt = f"{ylabel} against {xlabel}, {title}. {'; '.join(peaks) or 'Not run'}."
        panels.append((fig, alt))
    if not synthetic:
        for axis, _ in levels:
            axis.set_ylim(min(low for _, (low, _) in levels), max(high for _, (_, high) in levels))
    note = caption or " ".join(alt for _, alt in panels)
    if synthetic and paper:
        note += " Synthetic data: compare the shapes, not the levels; the panels differ in scale."
    elif synthetic:
        note += " Synthetic data."
    return chart(panels, note)


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
    panels = []
    for title, values in scores.items():
        fig, axes = new_figure(4.4, 3.3)
        told = _draw_beside(
            axes[0, 0], x, _floats(values), reference[title], differences[title], xlabel, name
        )
        axes[0, 0].set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=(-0.5, len(x) - 0.5))
        panels.append((fig, f"{ylabel} against {xlabel}. {title}: {told}."))
    return chart(panels, caption or " ".join(alt for _, alt in panels))


def _draw_beside(
    axis: Any,
    x: Sequence[str],
    y: np.ndarray,
    level: float | None,
    differences: Sequence[Difference | None],
    label: str,
    name: str,
) -> str:
    """Draw one panel of `against_reference`; returns what it shows in words."""
    places = np.arange(len(x))
    axis.set_xticks(places, x)
    if level is None and not np.isfinite(y).any():
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GRAY)
        axis.set_yticks([])
        return "not run"
    if level is not None:
        axis.axhline(level, color=ORANGE, linestyle="--", label=f"{name}: {level:.2f}")
    bars = [(0, 0) if d is None else (d.high - d.value, d.value - d.low) for d in differences]
    axis.errorbar(places, y, yerr=np.array(bars).T, fmt="o", color=BLUE, capsize=4, label=label)
    axis.legend(loc="best", frameon=True, framealpha=0.8, edgecolor="none")
    each = [f"{value:.2f} at {at}" for at, value in zip(x, y, strict=True) if value == value]
    return f"{', '.join(each) or 'no setting run'}; {name} " + (
        "not run" if level is None else f"{level:.2f}"
    )


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)
