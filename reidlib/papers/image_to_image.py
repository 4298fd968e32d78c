"""How methods that search images by images are trained and tested: what their papers share.

Each method is a module of its own in `reidlib.models` with `METRIC` that a gallery is ranked by,
`PER_PERSON` images of each person in a batch (0: any images), `NETWORK` with a method `embed`, and
`losses`. A paper whose methods are of this kind takes `prepare`, `build`, `batches`, `losses` and
`evaluate` from here as they are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data.batches import tuples
from reidlib.data.batches.tuples import DescribedData, ImageSplit, TupleBatch
from reidlib.data.dataset import Dataset
from reidlib.devices import tested_at_a_time
from reidlib.experiment import Experiment, Stage
from reidlib.metrics.first_match import chance_levels
from reidlib.metrics.measures import Ranking
from reidlib.metrics.ranking import pool_queries, rank_features, single_shot
from reidlib.papers.driver import Evaluated, module_of, prepared
from reidlib.train import Compute

SINGLE_QUERY, MULTI_QUERY = "single query", "multi-query"
SINGLE_SHOT, ALL_SHOTS = "single shot", "all shots"

KS = (1, 5, 10)  # of the Top-k
REPEATS = 100  # draws of one gallery image per person
# Datasets of which one gallery image per person is drawn; elsewhere all are searched.
_ONE_DRAWN = ("cuhk01", "cuhk03-classic-labeled", "cuhk03-classic-detected")


class Searched(Protocol):
    """What is searched: the images of a dataset that are queries, and those of the gallery."""

    @property
    def dataset(self) -> Dataset: ...

    @property
    def query(self) -> ImageSplit: ...

    @property
    def gallery(self) -> ImageSplit: ...


def evaluation_of(dataset: str) -> str:
    """The protocol that the tables of all papers compare on a dataset."""
    return SINGLE_SHOT if dataset in _ONE_DRAWN else SINGLE_QUERY


def prepare(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> DescribedData:
    """Training images, queries and gallery; nothing is described."""
    size = experiment.training.image_size
    return prepared(tuples.prepare, dataset, size, cache_dir, device, descriptions=False)


def build(experiment: Experiment, data: DescribedData) -> nn.Module:
    """The method's network for as many people as the data has."""
    return module_of(experiment.model).NETWORK(replace(experiment.model, ids=data.ids))


def batches(
    experiment: Experiment,
    model: nn.Module,
    data: DescribedData,
    generator: torch.Generator,
    device: str,
) -> Iterator[TupleBatch]:
    """One epoch of images, drawn as the method wants them."""
    settings, each = experiment.training, module_of(experiment.model).PER_PERSON
    image = {"flip": settings.flip, "crop_pad": settings.crop_pad, "device": device}
    if not each:
        size = settings.batch_size
        return tuples.batches_of_images(data.tuples, generator, batch_size=size, **image)
    return tuples.batches_of_tuples(
        data.tuples,
        generator,
        persons=settings.batch_size // each,
        each=each,
        batches=settings.steps,
        **image,
    )


def losses(model: nn.Module, batch: TupleBatch, stage: Stage) -> dict[str, Tensor]:
    """The method's named losses of a batch."""
    return module_of(model.cfg).losses(model, batch, stage)


def evaluate(model: nn.Module, data: DescribedData, compute: Compute) -> Evaluated:
    """Persons are searched by the method's embeddings."""
    model.eval()
    found = search_by_image(model.embed, data, module_of(model.cfg).METRIC)
    return replace(found, notes={"ids": data.ids})


def search_by_image(
    embed: Callable[[Tensor], Tensor], data: DescribedData, metric: str = "euclidean"
) -> Evaluated:
    """Rank the gallery by the distance of embeddings, under the dataset's protocols.

    Args:
        embed: images (B, 3, H, W) as the split gives them -> embeddings float (B, d), in fp32.
        metric: of `rank_features`.
    """
    query, gallery = encode(embed, data.query), encode(embed, data.gallery)
    pooled = None
    if data.multi_query is not None:
        pooled = _multi_query(query, encode(embed, data.multi_query), data)
    return search(query, gallery, data, metric, pooled=pooled)


def search(
    query: Tensor,
    gallery: Tensor,
    data: Searched,
    metric: str = "euclidean",
    *,
    pooled: Tensor | None = None,
    ks: Sequence[int] = KS,
) -> Evaluated:
    """Rank the gallery for every query, under the dataset's protocols.

    Args:
        query, gallery: embeddings float (Q, d) and (N, d) of the images of `data`.
        metric: of `rank_features`.
        pooled: float (Q, d), those of the multi-queries; None if there are none.
        ks: of the Top-k.
    """
    ids = data.query.pids, data.gallery.pids, data.query.camids, data.gallery.camids
    # CUHK03 is searched across its two views; elsewhere a camera may show a person again.
    rules: dict[str, Any] = {"metric": metric, "exclude": "person"}
    if data.dataset.name.startswith("cuhk03-classic"):
        rules["exclude"] = "camera"
    rankings = {}
    if evaluation_of(data.dataset.name) == SINGLE_SHOT:
        rankings[SINGLE_SHOT] = single_shot(query, gallery, *ids, **rules, repeats=REPEATS)
        rankings[ALL_SHOTS] = rank_features(query, gallery, *ids, **rules)
    else:
        rankings[SINGLE_QUERY] = rank_features(query, gallery, *ids, **rules)
    if pooled is not None:
        rankings[MULTI_QUERY] = rank_features(pooled, gallery, *ids, **rules)
    evaluations = {
        name: ranking.cmc(ks) if name == SINGLE_SHOT else ranking.metrics(ks)
        for name, ranking in rankings.items()
    }
    name, values = next(iter(evaluations.items()))
    mean_ap = f", mAP {values['mAP (trapezoid)']:.2f}" if "mAP (trapezoid)" in values else ""
    return Evaluated(
        evaluations=evaluations,
        # A query of several draws has no rank of its own; its scores say in how many it was a hit.
        ranks={name: r.first for name, r in rankings.items() if name != SINGLE_SHOT},
        people=dict.fromkeys(rankings, np.asarray(data.query.pids)),
        scores={name: r.query_scores(ks) for name, r in rankings.items()},
        chance={
            name: _chance(r, data, rules["exclude"], ks)
            for name, r in rankings.items()
            if name != SINGLE_SHOT
        }
        | ({SINGLE_SHOT: _single_shot_chance(data, ks)} if SINGLE_SHOT in rankings else {}),
        headline=f"Top-1 {values['Top-1']:.2f}{mean_ap} ({name})",
        queries=len(data.query.frame),
        gallery=len(data.gallery.frame),
    )


@torch.inference_mode()
def encode(embed: Callable[[Tensor], Tensor], split: ImageSplit) -> Tensor:
    """Embeddings of all images: float32 (N, d) on the images' device."""
    rows = torch.arange(len(split.frame)).split(tested_at_a_time(split.images.device))
    return torch.cat([embed(split.images.batch(part)) for part in rows])


def _chance(ranking: Ranking, data: Searched, exclude: str, ks: Sequence[int]) -> dict[str, float]:
    """What a ranking at random reaches, in percent; bad boxes (pid -1) are not ranked, nor is what
    else is junk for a query: see `rank_features`."""
    kept = np.asarray(data.gallery.pids) >= 0

    def shown(split: ImageSplit) -> list[tuple[int, int]]:
        """Who is shown where, as far as it decides what is junk."""
        pids = np.asarray(split.pids) * (exclude != "camera")
        return list(zip(pids.tolist(), np.asarray(split.camids).tolist(), strict=True))

    junk = Counter(place for place, ranked in zip(shown(data.gallery), kept, strict=True) if ranked)
    ranked = kept.sum() - np.array([junk[place] for place in shown(data.query)])
    return chance_levels(ranking.good[ranking.valid], ranked[ranking.valid], ks)


def _single_shot_chance(data: Searched, ks: Sequence[int]) -> dict[str, float]:
    """The same where one image of every person is drawn."""
    persons = len(np.unique(data.gallery.pids))
    found = chance_levels([1], persons, ks)
    return {name: value for name, value in found.items() if name.startswith("Top-")}


def _multi_query(query: Tensor, boxes: Tensor, data: DescribedData) -> Tensor:
    """Mean embedding of a query's person in its camera; of the query alone without other boxes."""
    keys = ["pid", "camid"]
    shown = data.multi_query.frame[keys]
    alone = data.query.frame[keys].merge(shown.drop_duplicates(), how="left", indicator=True)
    rows = np.flatnonzero(alone["_merge"] == "left_only")
    features = torch.cat((boxes, query[torch.from_numpy(rows).to(query.device)]))
    pids, camids = (
        np.concatenate((shown[key], data.query.frame[key].to_numpy()[rows])) for key in keys
    )
    return pool_queries(features, pids, camids, data.query.pids, data.query.camids)
