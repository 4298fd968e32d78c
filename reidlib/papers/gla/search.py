"""How GLA's models are tested: persons searched by images and by descriptions."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidlib.data.batches.pairs import TextImageSplit, text_of
from reidlib.data.batches.tuples import DescribedData, ImageSplit
from reidlib.metrics.first_match import first_match_ranks, top_k
from reidlib.metrics.ranking import pool_queries, rank_features, single_shot
from reidlib.models.gla import GLA, text_to_image_scores

SINGLE_QUERY, MULTI_QUERY = "single query", "multi-query"
SINGLE_SHOT, ALL_SHOTS = "single shot", "all shots"
TEXT_TO_IMAGE = "text to image"

REPEATS = 100  # draws of one gallery image per person

# What the tables compare, by dataset.
EVALUATION_OF = {
    "market1501": SINGLE_QUERY,
    "cuhk-sysu": SINGLE_QUERY,
    "cuhk01": SINGLE_SHOT,
    "cuhk03-classic-labeled": SINGLE_SHOT,
    "cuhk03-classic-detected": SINGLE_SHOT,
    "cuhk-pedes": TEXT_TO_IMAGE,
}

# Per evaluation: metrics in percent; ranks of first correct matches; what each query adds.
Found = tuple[dict[str, dict[str, float]], dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]


def search_by_image(model: GLA, data: DescribedData) -> Found:
    """Rank the gallery by the Euclidean distance of phi, under the dataset's protocols."""
    query, gallery = encode(model, data.query), encode(model, data.gallery)
    ids = data.query.pids, data.gallery.pids, data.query.camids, data.gallery.camids
    # CUHK03 is searched across its two views; elsewhere a camera may show a person again.
    rules: dict[str, Any] = {"metric": "euclidean", "exclude": "person"}
    if data.dataset.name.startswith("cuhk03-classic"):
        rules["exclude"] = "camera"
    rankings = {}
    if EVALUATION_OF[data.dataset.name] == SINGLE_SHOT:
        rankings[SINGLE_SHOT] = single_shot(query, gallery, *ids, **rules, repeats=REPEATS)
        rankings[ALL_SHOTS] = rank_features(query, gallery, *ids, **rules)
    else:
        rankings[SINGLE_QUERY] = rank_features(query, gallery, *ids, **rules)
    if data.multi_query is not None:
        pooled = _multi_query(query, encode(model, data.multi_query), data)
        rankings[MULTI_QUERY] = rank_features(pooled, gallery, *ids, **rules)
    evaluations = {
        name: ranking.cmc() if name == SINGLE_SHOT else ranking.metrics()
        for name, ranking in rankings.items()
    }
    # A query of several draws has no rank of its own; its scores say in how many it was a hit.
    ranks = {name: r.first for name, r in rankings.items() if name != SINGLE_SHOT}
    return evaluations, ranks, {name: r.query_scores() for name, r in rankings.items()}


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


def search_by_text(model: GLA, split: TextImageSplit) -> Found:
    """Rank the test images by their relevance to every test caption (Section 4.4)."""
    scores = text_to_image_scores(model, *encode_pairs(model, split))
    ranks = first_match_ranks(scores, split.caption_pids, split.image_pids)
    return {TEXT_TO_IMAGE: top_k(ranks)}, {TEXT_TO_IMAGE: ranks}, {}


@torch.inference_mode()
def encode(model: GLA, split: ImageSplit, batch_size: int = 256) -> Tensor:
    """phi of all images: float32 (N, d) on the model's device."""
    model.eval()
    rows = torch.arange(len(split.frame)).split(batch_size)
    return torch.cat([model.encode_images(split.images.batch(part)).phi for part in rows])


@torch.inference_mode()
def encode_pairs(model: GLA, split: TextImageSplit, batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """psi_bar of all images, float32 (N, d), and theta^g of all captions, float32 (M, d)."""
    model.eval()
    images = torch.arange(len(split.frame)).split(batch_size)
    psi_bar = [model.encode_images(split.images.batch(rows)).psi_bar for rows in images]
    theta_g = []
    for rows in torch.arange(len(split.captions)).split(batch_size):
        text = text_of(split, rows)
        theta_g.append(model.encode_descriptions(text.tokens, text.lengths))
    return torch.cat(psi_bar), torch.cat(theta_g)
