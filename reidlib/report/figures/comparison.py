"""Two rows beside each other: their CMC curves, and what each makes of every query."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from reidlib.report import Html
from reidlib.report.figures.basics import BLUE, GRAY, MARKERS, SERIES, chart, new_figure


def comparison(
    cmc: Mapping[str, Mapping[int, float]],
    values: np.ndarray,
    *,
    by_rank: bool,
    cut: int | None = None,
    what: str = "score",
    caption: str,
) -> Html:
    """The CMC of two rows, and for every query the number of one row against that of the other.

    Args:
        cmc: title of each row -> k -> percent.
        values: float (2, Q), a rank or a score in 0..1 of each query by each row; NaN is left out.
            Queries are counted in boxes of ranks that double, or of tenths of a score.
        by_rank: whether they are ranks.
        cut: rank that stands for all beyond it.
        what: what the scores are called.
        caption: below the figure.
    """
    return chart([_cmc(cmc), _boxes(list(cmc), values, by_rank, cut, what)], caption)


def _cmc(cmc: Mapping[str, Mapping[int, float]]) -> tuple[Figure, str]:
    fig, axes = new_figure(4.4, 3.6)
    axis = axes[0, 0]
    for n, (title, curve) in enumerate(cmc.items()):
        axis.plot(
            list(curve), list(curve.values()), label=title, color=SERIES[n], marker=MARKERS[n]
        )
    ks = list(next(iter(cmc.values())))
    axis.set(xlabel="k", ylabel="queries with a hit among k (%)", title="CMC", xticks=ks)
    axis.set_ylim(0, None)
    axis.legend()
    told = "; ".join(
        f"{title}: {', '.join(f'Top-{k} {v:.1f} %' for k, v in curve.items() if k in (1, 5, 10))}"
        for title, curve in cmc.items()
    )
    return fig, f"CMC curves. {told}."


def _boxes(
    titles: Sequence[str], values: np.ndarray, by_rank: bool, cut: int | None, what: str
) -> tuple[Figure, str]:
    """How many queries fall where: circles whose area is the count, and the line of equals."""
    first, second = values[:, ~np.isnan(values).any(0)]
    if by_rank:
        most = float(max(first.max(initial=1), second.max(initial=1)))
        edges = 2.0 ** np.arange(0, np.ceil(np.log2(most + 1)) + 1)
        if cut is not None:
            edges = np.array([1, 2, 4, 8, cut, cut + 1])
        names = [_rank_name(low, high, cut) for low, high in pairwise(edges)]
    else:
        edges = np.linspace(0, 1, 11)
        names = [f"{100 * low:.0f}" for low in edges[:-1]]
    place = [np.clip(np.searchsorted(edges, v, "right") - 1, 0, len(names) - 1)
             for v in (first, second)]  # fmt: skip
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, tuple(place), 1)
    fig, axes = new_figure(4.4, 3.9)
    axis = axes[0, 0]
    x, y = np.nonzero(counts)
    number = counts[x, y]
    axis.plot([-0.5, len(names) - 0.5], [-0.5, len(names) - 0.5], "--", color=GRAY, linewidth=1)
    axis.scatter(x, y, s=420 * number / max(number.max(initial=1), 1), color=BLUE, alpha=0.45)
    for a, b, n in zip(x, y, number, strict=True):
        axis.annotate(str(n), (a, b), ha="center", va="center", fontsize=7.5)
    kind = "rank" if by_rank else f"{what} (%)"
    axis.set(
        xlabel=f"{kind}, {titles[0]}", ylabel=f"{kind}, {titles[1]}", title="queries",
        xlim=(-0.6, len(names) - 0.4), ylim=(-0.6, len(names) - 0.4),
    )  # fmt: skip
    axis.set_xticks(range(len(names)), names, rotation=45 if len(names) > 6 else 0)
    axis.set_yticks(range(len(names)), names)
    better = int((second < first).sum() if by_rank else (second > first).sum())
    equal = int((second == first).sum())
    alt = (
        f"{len(first)} queries by the {kind} that each row gives them. {titles[1]} is better on "
        f"{better}, as good on {equal}, worse on {len(first) - better - equal}."
    )
    return fig, alt


def _rank_name(low: float, high: float, cut: int | None) -> str:
    if cut is not None and low >= cut:
        return f"> {cut - 1}"
    last = int(np.ceil(high)) - 1
    return f"{low:.0f}" if last <= low else f"{low:.0f}–{last}"
