from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.errors import UsageError
from reidlib.metrics.first_match import (
    NO_MATCH,
    chance_levels,
    first_match_ranks,
    top_k,
    top_matches,
)
from reidlib.metrics.ranking import rank_scores


def naive_ranks(scores, query_pids, gallery_pids):
    ranks = []
    for row, pid in zip(scores, query_pids, strict=True):
        correct = [s for s, g in zip(row, gallery_pids, strict=True) if g == pid]
        if not correct:
            ranks.append(NO_MATCH)
            continue
        wrong = [s for s, g in zip(row, gallery_pids, strict=True) if g != pid]
        ranks.append(1 + sum(s >= max(correct) for s in wrong))
    return ranks


@st.composite
def retrievals(draw):
    """Scores with many ties, people with several images, and queries without a match."""
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    pid = st.integers(-3, 4)
    query_pids = draw(st.lists(pid, min_size=queries, max_size=queries))
    gallery_pids = draw(st.lists(pid, min_size=gallery, max_size=gallery))
    score = st.sampled_from([-1.0, 0.0, 0.25, 0.5, float("-inf"), float("inf")])
    row = st.lists(score, min_size=gallery, max_size=gallery)
    return draw(st.lists(row, min_size=queries, max_size=queries)), query_pids, gallery_pids


@settings(max_examples=200, deadline=None)
@given(retrievals())
def test_ranks_equal_a_loop(retrieval):
    scores, query_pids, gallery_pids = retrieval
    ranks = first_match_ranks(torch.tensor(scores), query_pids, gallery_pids)
    assert ranks.dtype == np.int32
    assert ranks.tolist() == naive_ranks(scores, query_pids, gallery_pids)


def test_ranks_by_hand():
    scores = torch.tensor([[0.9, 0.5, 0.7], [0.1, 0.3, 0.2], [0.4, 0.4, 0.4], [0.5, 0.6, 0.7]])
    # The best correct image counts; a tie with a wrong one counts against the query.
    ranks = first_match_ranks(scores, [5, 5, 5, 9], [5, 6, 5])
    assert ranks.tolist() == [1, 2, 2, NO_MATCH]


def test_one_image_gallery():
    assert first_match_ranks(torch.zeros(2, 1), [1, 2], [1]).tolist() == [1, NO_MATCH]


def test_pids_may_be_series_with_any_index():
    frame = pd.DataFrame({"pid": [3, 4, 5]}, index=[10, 0, 7])
    assert first_match_ranks(torch.eye(3), frame.pid, frame.pid).tolist() == [1, 1, 1]


def test_not_a_number_is_an_error():
    scores = torch.zeros(2, 3)
    scores[1, 2] = torch.nan
    with pytest.raises(UsageError, match="NaN"):
        first_match_ranks(scores, [1, 2], [1, 2, 3])
    with pytest.raises(UsageError, match="NaN"):
        top_matches(scores, 1)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (0, 2)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(UsageError, match="expected"):
        first_match_ranks(torch.zeros(shape), [1, 2], [1, 2])


def test_empty_sides():
    assert first_match_ranks(torch.zeros(0, 2), [], [1, 2]).shape == (0,)
    with pytest.raises(UsageError, match="gallery"):
        first_match_ranks(torch.zeros(2, 0), [1, 2], [])


def test_top_k():
    ranks = np.array([1, 2, 6, 11, 10], dtype=np.int32)
    assert top_k(ranks) == pytest.approx({"Top-1": 20.0, "Top-5": 40.0, "Top-10": 80.0})
    assert top_k(ranks, ks=(20,)) == {"Top-20": 100.0}
    assert top_k([[1, 3], [2, 3]], ks=(1, 2)) == {"Top-1": 25.0, "Top-2": 50.0}
    with pytest.raises(UsageError, match="no query"):
        top_k(np.array([]))


def test_no_k_counts_a_query_without_a_match():
    """Four such queries and eight pictures: also for k beyond the gallery it is a miss."""
    ranks = first_match_ranks(torch.rand(6, 8), [7, 9, 9, 9, 9, 7], [7] * 8)
    assert top_k(ranks, ks=(1, 8, 9, 10, 1000)) == dict.fromkeys(
        ("Top-1", "Top-8", "Top-9", "Top-10", "Top-1000"), pytest.approx(100 / 3)
    )


@pytest.mark.parametrize("kind", [list, np.asarray, np.asfortranarray, torch.tensor])
def test_scores_may_be_lists_arrays_or_tensors(kind):
    scores = kind([[0.9, 0.2, 0.4], [0.1, 0.3, 0.6]])
    pids, gallery = (torch.tensor([7, 8]), (7, 8, 9)) if kind is list else ([7, 8], [7, 8, 9])
    assert first_match_ranks(scores, pids, gallery).tolist() == [1, 2]
    assert top_matches(scores, 1).tolist() == [[0], [2]]


@pytest.mark.parametrize("scores", ["text", [[1.0], [2.0, 3.0]], None])
def test_what_is_no_array_of_numbers(scores):
    with pytest.raises(UsageError, match="expected"):
        first_match_ranks(scores, [1, 2], [1, 2])


def test_top_matches_keeps_gallery_order_in_ties():
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.5], [0.0, 0.0, 0.0, 0.0]])
    assert top_matches(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    assert top_matches(scores, 9).shape == (2, 4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_ranks_on_cuda():
    torch.manual_seed(0)
    scores = (torch.rand(50, 40) * 8).round()  # ties
    pids, gallery = torch.arange(50).numpy() % 12, torch.arange(40).numpy() % 10
    expected = first_match_ranks(scores, pids, gallery)
    assert first_match_ranks(scores.cuda(), pids, gallery).tolist() == expected.tolist()
    assert top_matches(scores.cuda(), 5).tolist() == top_matches(scores, 5).tolist()


@pytest.mark.parametrize("gallery", [12, 30])
def test_chance_is_what_rankings_at_random_reach(gallery: int) -> None:
    rng = np.random.default_rng(0)
    found = {"Top-1": [], "Top-5": [], "mAP (step)": [], "mAP (trapezoid)": []}
    for good in (1, 2, 5, 11):
        scores = torch.from_numpy(rng.random((4000, gallery)))
        ranking = rank_scores(scores, np.zeros(4000), np.arange(gallery) >= good)
        for name, values in ranking.query_scores((1, 5)).items():
            found[name].append(values)
    levels = chance_levels([1, 2, 5, 11], gallery, ks=(1, 5))
    assert set(levels) == set(found)
    for name, values in found.items():
        error = 100 * np.std(values) / np.size(values) ** 0.5
        assert levels[name] == pytest.approx(100 * np.mean(values), abs=4 * error), name


@given(st.integers(1, 9), st.integers(0, 9))
def test_chance_of_small_galleries_by_every_order(gallery: int, good: int) -> None:
    """All places of the good images, one by one."""
    if good > gallery:
        with pytest.raises(UsageError, match="good images <= gallery"):
            chance_levels([good], gallery)
        return
    hits, precision = [], []
    for places in combinations(range(1, gallery + 1), good):
        hits.append(bool(places) and places[0] <= 2)
        precision.append(np.mean([(j + 1) / r for j, r in enumerate(places)]) if places else 0)
    found = chance_levels([good], gallery, ks=(2,))
    assert found["Top-2"] == pytest.approx(100 * np.mean(hits))
    assert found["mAP (step)"] == pytest.approx(100 * np.mean(precision))


def test_chance_of_several_queries_is_their_mean() -> None:
    one, two = chance_levels([5], 100), chance_levels([1], 50)
    both = chance_levels([5, 1], [100, 50])
    assert both == {name: pytest.approx((one[name] + two[name]) / 2) for name in one}
    assert one["Top-1"] == pytest.approx(5) and two["Top-10"] == pytest.approx(20)
    assert chance_levels([3], 3) == pytest.approx(dict.fromkeys(one, 100.0))
    for bad in (([], 5), ([1], 0), ([-1], 5)):
        with pytest.raises(UsageError, match="chance_levels"):
            chance_levels(*bad)
