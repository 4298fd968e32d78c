"""reidlib.metrics.ranking against a naive reference that walks through sorted lists."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.errors import UsageError
from reidlib.metrics import ranking as ranking_module
from reidlib.metrics.first_match import NO_MATCH
from reidlib.metrics.ranking import Ranking, pool_queries, rank_features, rank_scores, single_shot


def naive_list(scores, pid, camid, pids, camids, exclude, junk_pid):
    """Hits and misses of one query's list, best first; of equal scores wrong ones come first."""
    listed = []
    for g in range(len(pids)):
        same_camera = camids is not None and camids[g] == camid
        if junk_pid is not None and pids[g] == junk_pid:
            continue
        if exclude == "person" and same_camera and pids[g] == pid:
            continue
        if exclude == "camera" and same_camera:
            continue
        listed.append((-scores[g], pids[g] == pid))
    return [hit for _, hit in sorted(listed)]


def naive_average_precisions(hits):
    """Both kinds, walking down the list as the definitions say."""
    good = sum(hits)
    step = trapezoid = 0.0
    found, previous = 0, 1.0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        precision = found / rank
        if hit:
            step += precision / good
            trapezoid += (previous + precision) / 2 / good
        previous = precision
    return step, trapezoid


def check(ranking, scores, pids, gallery_pids, camids, gallery_camids, exclude, junk_pid):
    """Everything in `ranking` equals the reference; scores as nested lists of numbers."""
    first, steps, trapezoids, inps = [], [], [], []
    for q, pid in enumerate(pids):
        camid = None if camids is None else camids[q]
        hits = naive_list(scores[q], pid, camid, gallery_pids, gallery_camids, exclude, junk_pid)
        ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
        start, end = ranking.offsets[q : q + 2]
        assert ranking.ranks[start:end].tolist() == ranks
        assert ranking.valid[q] == bool(ranks)
        assert ranking.first[q] == (ranks[0] if ranks else NO_MATCH)
        if ranks:
            step, trapezoid = naive_average_precisions(hits)
            assert ranking.average_precision("step")[q] == pytest.approx(step, abs=1e-6)
            assert ranking.average_precision("trapezoid")[q] == pytest.approx(trapezoid, abs=1e-6)
            first.append(ranks[0])
            steps.append(step)
            trapezoids.append(trapezoid)
            inps.append(len(ranks) / ranks[-1])
    assert ranking.queries == len(pids)
    assert ranking.valid_queries == len(first)
    if first:
        metrics = ranking.metrics((1, 3))
        assert metrics["Top-1"] == pytest.approx(100 * np.mean(np.array(first) <= 1), abs=1e-6)
        assert metrics["Top-3"] == pytest.approx(100 * np.mean(np.array(first) <= 3), abs=1e-6)
        assert metrics["mAP (step)"] == pytest.approx(100 * np.mean(steps), abs=1e-6)
        assert metrics["mAP (trapezoid)"] == pytest.approx(100 * np.mean(trapezoids), abs=1e-6)
        assert metrics["mINP"] == pytest.approx(100 * np.mean(inps), abs=1e-6)
        assert metrics["queries"] == len(pids)
        assert metrics["valid queries"] == len(first)
    else:
        with pytest.raises(UsageError, match=r"none of the|no query"):
            ranking.metrics()


def scene(rng, queries, gallery, people, cameras):
    """Random pids (with -1 junk and pid 0) and camera numbers for queries and gallery."""
    return (
        rng.integers(1, people + 1, queries),
        rng.integers(-1, people + 1, gallery),
        rng.integers(1, cameras + 1, queries),
        rng.integers(1, cameras + 1, gallery),
    )


# ------------------------------------------------------------------ against the reference


@settings(max_examples=2500, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 5),
    gallery=st.integers(1, 14),
    people=st.integers(1, 4),
    cameras=st.integers(1, 3),
    levels=st.sampled_from([1, 2, 4, 10_000]),
    exclude=st.sampled_from(["person", "camera", "none"]),
    junk_pid=st.sampled_from([-1, None]),
    block=st.sampled_from([None, 1, 2]),
)
def test_random_scores(seed, queries, gallery, people, cameras, levels, exclude, junk_pid, block):
    """Few levels make ties; few images and people make queries without a match."""
    rng = np.random.default_rng(seed)
    pids, gallery_pids, camids, gallery_camids = scene(rng, queries, gallery, people, cameras)
    scores = rng.integers(0, levels, (queries, gallery))
    if exclude == "none":
        camids = gallery_camids = None
    ranking = rank_scores(
        torch.from_numpy(scores),
        pids,
        gallery_pids,
        camids,
        gallery_camids,
        exclude=exclude,
        junk_pid=junk_pid,
        block=block,
    )
    check(
        ranking,
        scores.tolist(),
        pids.tolist(),
        gallery_pids.tolist(),
        camids,
        gallery_camids,
        exclude,
        junk_pid,
    )


@settings(max_examples=600, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    gallery=st.integers(1, 12),
    dim=st.integers(1, 4),
    exclude=st.sampled_from(["person", "camera", "none"]),
    metric=st.sampled_from(["cosine", "euclidean"]),
)
def test_random_features(seed, gallery, dim, exclude, metric):
    """Features whose similarities have no rounding errors, so that ties are exact."""
    rng = np.random.default_rng(seed)
    pids, gallery_pids, camids, gallery_camids = scene(rng, 4, gallery, 3, 2)
    query, images = rng.integers(-2, 3, (4, dim)), rng.integers(-2, 3, (gallery, dim))
    if metric == "cosine":  # lengths 0 or a power of 4: one number other than 0 in each
        for features in (query, images):
            features *= np.arange(dim) == rng.integers(0, dim, (len(features), 1))
        lengths = np.maximum(np.abs(images).sum(1), 1)
        scores = (query @ images.T) / lengths
    else:
        scores = -((query[:, None] - images[None]) ** 2).sum(2)
    ranking = rank_features(
        torch.from_numpy(query).float(),
        torch.from_numpy(images).float(),
        pids,
        gallery_pids,
        camids,
        gallery_camids,
        exclude=exclude,
        metric=metric,
    )
    cameras = (None, None) if exclude == "none" else (camids, gallery_camids)
    check(ranking, scores.tolist(), pids, gallery_pids, *cameras, exclude, -1)


@pytest.mark.parametrize("exclude", ["person", "camera"])
def test_larger_set(exclude, monkeypatch):
    """Several blocks, and comparisons cut into pieces by rows and by thresholds."""
    rng = np.random.default_rng(1)
    pids, gallery_pids, camids, gallery_camids = scene(rng, 60, 400, 8, 3)
    query, gallery = (torch.from_numpy(rng.normal(size=(n, 16))) for n in (60, 400))
    scores = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(gallery).T
    expected = (scores.tolist(), pids, gallery_pids, camids, gallery_camids, exclude, -1)
    arguments = (query, gallery, pids, gallery_pids, camids, gallery_camids)
    whole = rank_features(*arguments, exclude=exclude)
    check(whole, *expected)
    for pieces in (1, 1500, 40_000):
        monkeypatch.setitem(ranking_module._COMPARISONS, "cpu", pieces)
        ranking = rank_features(*arguments, exclude=exclude, block=7)
        assert np.array_equal(ranking.ranks, whole.ranks)
        assert np.array_equal(ranking.offsets, whole.offsets)


# ------------------------------------------------------------------ worked examples


def test_toy_example():
    """Relevance 0, 1, 0, 1: the two rules of average precision differ."""
    ranking = rank_scores(torch.tensor([[4.0, 3, 2, 1]]), [7], [1, 7, 2, 7])
    assert ranking.ranks.tolist() == [2, 4]
    assert ranking.average_precision("step")[0] == pytest.approx(0.5, abs=1e-12)
    assert ranking.average_precision("trapezoid")[0] == pytest.approx(0.125 + 5 / 24, abs=1e-12)
    assert ranking.mean_ap("trapezoid") == pytest.approx(100 / 3, abs=1e-9)
    assert ranking.cmc((1, 2)) == {"Top-1": 0.0, "Top-2": 100.0}
    with pytest.raises(UsageError, match="step or trapezoid"):
        ranking.mean_ap("interpolated")


def test_perfect_list_scores_one_under_both_rules():
    ranking = rank_scores(torch.tensor([[4.0, 3, 2, 1]]), [7], [7, 7, 2, 3])
    assert ranking.mean_ap("step") == ranking.mean_ap("trapezoid") == 100


def test_junk_moves_the_rest_up():
    """Ahead of the good image: junk of all, the query's own camera, a distractor that counts."""
    scores = torch.tensor([[5.0, 4, 3, 2, 1]])
    arguments = (scores, [7], [-1, 7, 0, 7, 3], [1], [2, 1, 2, 2, 1])
    assert rank_scores(*arguments).ranks.tolist() == [2]
    assert rank_scores(*arguments, exclude="none").ranks.tolist() == [1, 3]
    assert rank_scores(*arguments, exclude="camera").ranks.tolist() == [2]
    assert rank_scores(*arguments, junk_pid=None).ranks.tolist() == [3]
    assert rank_scores(*arguments[:3]).ranks.tolist() == [1, 3]


def test_the_whole_camera_is_left_out():
    scores = torch.tensor([[5.0, 4, 3]])
    arguments = (scores, [7], [3, 2, 7], [1], [1, 2, 2])
    assert rank_scores(*arguments, exclude="person").ranks.tolist() == [3]
    assert rank_scores(*arguments, exclude="camera").ranks.tolist() == [2]


def test_ties_count_against_the_query():
    ranking = rank_scores(torch.ones(1, 5), [7], [7, 1, 7, 2, -1])
    assert ranking.ranks.tolist() == [3, 4]


def test_query_without_a_match_is_not_counted():
    scores = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    ranking = rank_scores(scores, [7, 8], [1, 7])
    assert ranking.first.tolist() == [2, NO_MATCH]
    assert ranking.cmc((99,)) == {"Top-99": 100.0}
    assert ranking.valid.tolist() == [True, False]
    assert (ranking.queries, ranking.valid_queries) == (2, 1)
    assert ranking.cmc((2,)) == {"Top-2": 100.0}
    assert np.isnan(ranking.average_precision()[1])
    assert ranking.mean_ap() == 50


def test_gallery_of_one_image():
    one = torch.ones(1, 3)
    assert rank_features(one, one, [7], [7]).metrics((1,))["mAP (step)"] == 100
    assert rank_features(one, one, [7], [8]).valid_queries == 0
    assert rank_features(one, one, [7], [-1]).first.tolist() == [NO_MATCH]
    assert rank_features(one, one, [7], [7], [1], [1]).valid_queries == 0


def test_no_queries():
    ranking = rank_features(torch.ones(0, 3), torch.ones(2, 3), [], [1, 2])
    assert isinstance(ranking, Ranking)
    assert ranking.queries == 0
    with pytest.raises(UsageError, match="none of the 0 queries"):
        ranking.cmc()


def test_half_precision_and_inputs_left_alone():
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(n, 8, generator=generator).half() for n in (5, 30))
    pids, gallery_pids = [0, 1, 2, 3, 4], [i % 5 for i in range(30)]
    before = gallery.clone()
    half = rank_features(query, gallery, pids, gallery_pids)
    assert torch.equal(gallery, before)
    full, before = gallery.float(), gallery.float()
    assert np.array_equal(rank_features(query.float(), full, pids, gallery_pids).ranks, half.ranks)
    assert torch.equal(full, before)
    scores = query.float() @ full.T
    before = scores.clone()
    rank_scores(scores, pids, gallery_pids)
    assert torch.equal(scores, before)


# ------------------------------------------------------------------ single shot


@pytest.mark.parametrize("exclude", ["person", "camera", "none"])
def test_single_shot_equals_naive_draws(exclude):
    rng = np.random.default_rng(3)
    pids, gallery_pids, camids, gallery_camids = scene(rng, 25, 60, 9, 3)
    query, gallery = (torch.from_numpy(rng.normal(size=(n, 6))) for n in (25, 60))
    cameras = (None, None) if exclude == "none" else (camids, gallery_camids)
    shots = single_shot(
        query, gallery, pids, gallery_pids, *cameras, exclude=exclude, repeats=4, seed=5, block=7
    )
    scores = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(gallery).T
    kept = np.flatnonzero(gallery_pids != -1)
    draws = np.random.default_rng(5).random((4, len(kept)))
    assert shots.ranks.shape == (4, 25)
    for r, numbers in enumerate(draws):
        for q, pid in enumerate(pids):
            drawn = {}  # person -> (number, position) of its image
            for number, g in zip(numbers, kept, strict=True):
                same_camera = exclude != "none" and gallery_camids[g] == camids[q]
                if same_camera and (exclude == "camera" or gallery_pids[g] == pid):
                    continue
                best = drawn.get(gallery_pids[g])
                if best is None or number < best[0]:
                    drawn[gallery_pids[g]] = (number, g)
            if pid not in drawn:
                assert not shots.valid[q]
                assert shots.ranks[r, q] == NO_MATCH
                continue
            own = scores[q, drawn[pid][1]]
            better = sum(bool(scores[q, g] > own) for _, g in drawn.values())
            assert shots.ranks[r, q] == 1 + better
            assert shots.valid[q]
    assert shots.valid.any()


def test_single_shot_is_the_ordinary_rank_where_people_have_one_image():
    rng = np.random.default_rng(4)
    query, gallery = (torch.from_numpy(rng.normal(size=(20, 6))) for _ in range(2))
    pids = rng.permutation(20)
    shots = single_shot(query, gallery, pids, np.arange(20), repeats=3)
    ranking = rank_features(query, gallery, pids, np.arange(20))
    assert np.array_equal(shots.ranks, np.broadcast_to(ranking.first, (3, 20)))
    assert shots.cmc() == ranking.cmc()


def test_single_shot_repeats_are_seeded_and_differ():
    rng = np.random.default_rng(5)
    query, gallery = (torch.from_numpy(rng.normal(size=(n, 6))) for n in (30, 90))
    arguments = (query, gallery, np.arange(30), np.arange(90) % 30)
    shots = [single_shot(*arguments, repeats=6, seed=seed).ranks for seed in (0, 0, 1)]
    assert np.array_equal(shots[0], shots[1])
    assert not np.array_equal(shots[0], shots[2])
    assert len({row.tobytes() for row in shots[0]}) == 6


# ------------------------------------------------------------------ multi query


def test_multi_query_pools_the_person_in_the_camera():
    rng = np.random.default_rng(6)
    features = torch.from_numpy(rng.normal(size=(40, 5)))
    pids, camids = rng.integers(1, 4, 40), rng.integers(1, 3, 40)
    wanted = [(2, 1), (3, 2), (1, 1), (2, 1)]
    query_pids, query_camids = zip(*wanted, strict=True)
    for how in ("mean", "max"):
        pooled = pool_queries(features, pids, camids, query_pids, query_camids, how)
        for row, (pid, camid) in zip(pooled, wanted, strict=True):
            mine = features[torch.from_numpy((pids == pid) & (camids == camid))]
            expected = mine.mean(0) if how == "mean" else mine.amax(0)
            assert torch.allclose(row, expected, atol=1e-6)
    with pytest.raises(UsageError, match="person 9 in camera 1"):
        pool_queries(features, pids, camids, [1, 9], [1, 1])
    with pytest.raises(UsageError, match="mean or max"):
        pool_queries(features, pids, camids, [1], [1], "sum")
    with pytest.raises(UsageError, match="40 features"):
        pool_queries(features, pids[:3], camids[:3], [1], [1])


@pytest.mark.parametrize("kind", [list, np.asarray, np.asfortranarray, torch.tensor])
def test_features_may_be_lists_arrays_or_tensors(kind):
    query, gallery = kind([[1.0, 0.0]]), kind([[0.9, 0.1], [0.0, 1.0], [0.7, 0.6]])
    ids = torch.tensor([5]), (5, 6, 5), [1], np.array([1, 2, 2])
    assert rank_features(query, gallery, *ids).ranks.tolist() == [1]
    assert rank_features(query, gallery, *ids, exclude="none").ranks.tolist() == [1, 2]
    assert rank_scores(kind([[0.9, 0.1, 0.5]]), *ids).ranks.tolist() == [1]
    assert single_shot(query, gallery, *ids, repeats=2).ranks.tolist() == [[1], [1]]
    pooled = pool_queries(gallery, [5, 6, 5], [1, 1, 1], [5], [1])
    assert pooled[0].tolist() == pytest.approx([0.8, 0.35])


def test_read_only_and_whole_numbers():
    gallery = np.array([[3, 0], [0, 2]])
    gallery.flags.writeable = False
    assert rank_features([[1, 1]], gallery, [1], [1, 2], metric="euclidean").ranks.tolist() == [2]
    assert gallery.tolist() == [[3, 0], [0, 2]]


# ------------------------------------------------------------------ bad input


def test_bad_input():
    query, gallery = torch.ones(2, 3), torch.ones(4, 3)
    pids, gallery_pids = [1, 2], [1, 2, 3, 4]
    cameras = ([1, 1], [1, 2, 1, 2])
    for arguments, options, message in [
        ((query, gallery[:, :2], pids, gallery_pids), {}, "features are"),
        ((query, gallery, pids, [1, 2]), {}, "2 and 4 features for 2 query and 2 gallery pids"),
        ((query, gallery, pids, gallery_pids, [1, 1]), {}, "give both or none"),
        ((query, gallery, pids, gallery_pids, [1], [1, 2, 1, 2]), {}, "1 and 4 camera numbers"),
        ((query, gallery, pids, gallery_pids), {"exclude": "camera"}, "needs camera numbers"),
        ((query, gallery, pids, gallery_pids), {"exclude": "all"}, "person, camera or none"),
        ((query, gallery, pids, gallery_pids), {"metric": "l1"}, "cosine or euclidean"),
        ((query, gallery, pids, gallery_pids, *cameras), {"block": 0}, "at least 1 query"),
        ((query * torch.nan, gallery, pids, gallery_pids), {}, "not finite"),
        ((query, gallery * torch.inf, pids, gallery_pids), {}, "not finite"),
    ]:
        with pytest.raises(UsageError, match=message):
            rank_features(*arguments, **options)
    with pytest.raises(UsageError, match="not finite"):
        rank_scores(torch.full((2, 4), torch.nan), pids, gallery_pids)
    with pytest.raises(UsageError, match="expected \\(2, 4\\)"):
        rank_scores(torch.ones(2, 3), pids, gallery_pids)
    with pytest.raises(UsageError, match="repeats"):
        single_shot(query, gallery, pids, gallery_pids, repeats=0)


# ------------------------------------------------------------------ GPU


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_equals_cpu():
    rng = np.random.default_rng(7)
    pids, gallery_pids, camids, gallery_camids = scene(rng, 80, 700, 30, 4)
    # Small integers: no rounding errors on either device, and many ties.
    query, gallery = (torch.from_numpy(rng.integers(-3, 4, (n, 8))).float() for n in (80, 700))
    labels = (pids, gallery_pids, camids, gallery_camids)
    for exclude in ("person", "camera", "none"):
        options = {"metric": "euclidean", "exclude": exclude}
        cpu = rank_features(query, gallery, *labels, **options)
        gpu = rank_features(query.cuda(), gallery.cuda(), *labels, **options)
        assert np.array_equal(cpu.ranks, gpu.ranks)
        shots = [single_shot(q, g, *labels, **options) for q, g in
                 [(query, gallery), (query.cuda(), gallery.cuda())]]  # fmt: skip
        assert np.array_equal(shots[0].ranks, shots[1].ranks)
