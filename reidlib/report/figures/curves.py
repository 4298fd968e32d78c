"""How a training went, and how long the sentences of a dataset are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

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
from reidlib.report.palette import INK
from reidlib.report.tables import data_table

_BOOKKEEPING = frozenset({"epoch", "stage", "lr", "seconds", "images", "images_per_s"})


def curves(history: Sequence[Mapping[str, Any]], *, caption: str = "", rates: bool = True) -> Html:
    """Losses and, with `rates`, learning rate by epoch, from a run's history; stages are set
    apart."""
    frame = pd.DataFrame(list(history))
    first, last = frame["loss"].iloc[0], frame["loss"].iloc[-1]
    lrs = frame["lr"]
    alt = f"Training curves over {len(frame)} epochs: the loss goes from {first:.3g} to {last:.3g}."
    rate_alt = f"Learning rate, between {lrs.min():.3g} and {lrs.max():.3g}."
    note = caption or alt
    if "stage" in frame and frame["stage"].nunique() > 1:
        note += " Dotted line: start of the next stage."
    shown = frame.rename(columns={"lr": "learning rate", "images_per_s": "images/s"})
    record = data_table(shown, "Training record by epoch", decimals=None)
    panels = [(_losses(frame), alt)]
    if rates:
        panels.append((_rates(frame), rate_alt))
    return chart(panels, note, data=record.html)


def _losses(frame: pd.DataFrame) -> Figure:
    x = np.arange(1, len(frame) + 1)
    losses = [c for c in frame if c not in _BOOKKEEPING and pd.api.types.is_numeric_dtype(frame[c])]
    fig, axes = new_figure(5.4, 3.4)
    axis = axes[0, 0]
    for n, name in enumerate(losses):
        axis.plot(
            x,
            frame[name],
            label=name,
            color=INK.light if name == "loss" else SERIES[n % len(SERIES)],
            linewidth=2.2 if name == "loss" else 1.4,
            marker=MARKERS[n % len(MARKERS)] if len(x) <= 40 else None,
            markersize=4,
        )
    axis.set(xlabel="epoch", ylabel="loss", title="loss per epoch", ylim=(0, None))
    axis.legend(ncols=2)
    _mark_stages(axis, frame)
    return fig


def _rates(frame: pd.DataFrame) -> Figure:
    fig, axes = new_figure(3.4, 3.4)
    axis = axes[0, 0]
    axis.plot(np.arange(1, len(frame) + 1), frame["lr"], color=BLUE, drawstyle="steps-mid")
    axis.set(xlabel="epoch", ylabel="learning rate", title="learning rate", yscale="log")
    _mark_stages(axis, frame)
    return fig


def _mark_stages(axis: Any, frame: pd.DataFrame) -> None:
    axis.xaxis.get_major_locator().set_params(integer=True)
    if "stage" in frame:
        stages = frame["stage"].to_numpy()
        for change in np.flatnonzero(stages[1:] != stages[:-1]):
            axis.axvline(change + 1.5, color=GRAY, linestyle=":", linewidth=1.2)


def caption_lengths(
    lengths: Sequence[int], *, published_mean: float | None = None, of: str = ""
) -> Html:
    """Histogram of the number of words per caption; of: what they are captions of."""
    values = np.asarray(lengths)
    fig, axes = new_figure(5.6, 2.9)
    axis = axes[0, 0]
    axis.hist(values, bins=np.arange(values.min(), values.max() + 2) - 0.5, color=BLUE)
    axis.axvline(values.mean(), color=INK.light, label=f"mean {values.mean():.1f}")
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
    return chart([(fig, alt)], alt)
