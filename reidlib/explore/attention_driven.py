"""Looking at Attention Driven re-ID: poses and parts, what attention does, what a search finds."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.images import IMAGENET_MEAN, IMAGENET_STD
from reidlib.data.batches.posed import PosedData, PosedSplit, take
from reidlib.data.dataset import Dataset
from reidlib.data.formats import keypoints
from reidlib.data.formats.decoding import read_rgb
from reidlib.experiment import Experiment
from reidlib.explore import common, encoded
from reidlib.explore.common import Ranked
from reidlib.models.attention_driven import (
    PARTS,
    VARIANTS,
    AttentionDriven,
    AttentionDrivenConfig,
    Base,
)
from reidlib.papers import driver
from reidlib.papers.attention_driven.computed import as_built, layer_table
from reidlib.papers.attention_driven.method import SPLITS, boxes_of, prepare
from reidlib.papers.tables import FilledTable
from reidlib.run.plan import key_of
from reidlib.run.session import Session
from reidlib.train import Compute

PAPER = "attention_driven"
TITLES = {
    "market1501": "Market-1501",
    "dukemtmc-reid": "DukeMTMC-reID",
    "cuhk03-classic-labeled": "CUHK03, labeled boxes",
    "cuhk03-classic-detected": "CUHK03, detected boxes",
}
SHOWN_ON = "market1501"
BLOCKS = ("Block 2", "Block 3", "Block 4")


@dataclass(frozen=True)
class Trained:
    """A finished run's model with its data, and the embeddings that the gallery is ranked by."""

    model: AttentionDriven
    data: PosedData
    query: Tensor
    gallery: Tensor


class Parted(NamedTuple):
    """An image taken apart.

    joints: float (18, 3), x, y as shares of the image's width and height, and 1 if the joint was
        found, 0 if it is filled in; none where too few were found.
    boxes: float (5, 4), left, top, right, bottom of the whole body and of the parts, as shares.
    whole, parts: uint8 (H, W, 3) and (4, H / 4, W, 3), what the network sees.
    """

    image: np.ndarray
    joints: np.ndarray | None
    boxes: np.ndarray
    whole: np.ndarray
    parts: np.ndarray


class Masks(NamedTuple):
    """Attention of some images, averaged over channels: float (B, h, w) of Blocks 2 to 4 for the
    whole body, and float (B, 4, h, w) for the parts."""

    whole: list[np.ndarray]
    parts: list[np.ndarray]


def datasets_of(session: Session) -> tuple[str, ...]:
    """The datasets that the profile trains on."""
    return tuple(dict.fromkeys(e.dataset for e in driver.experiments(PAPER, session.profile)))


def experiment(session: Session, row: str, column: str = "Market R1") -> Experiment:
    """The first seed's training behind a row of Table 6."""
    return driver.cell(PAPER, session.profile, 6, row, column).experiments[0]


def load_trained(session: Session, experiment: Experiment) -> Trained | None:
    """The model of a finished run, on the session's device; None if it has not been trained yet."""
    found = common.finished(session, experiment, Compute.choose(session.device).device)
    if found is None:
        return None
    model, data = found
    return Trained(model, data, *encoded.of_finished(session, experiment, model, data))


# ------------------------------------------------------------------ the network


def layers() -> pd.DataFrame:
    """Table 1 as the full-size network has it."""
    with torch.device("meta"):
        return pd.DataFrame(layer_table(Base(AttentionDrivenConfig(ids=1))))


def built() -> pd.DataFrame:
    """Weights and multiply-adds of the variants as they are built, at the paper's size."""
    names = ("aligned", "inter", "intra", "intra+inter", "without decomposition", "fc fusion")
    rows = []
    for name in names:
        counted = as_built(AttentionDrivenConfig(ids=751, **VARIANTS[name]))
        rows.append(
            {
                "network": "base (aligned)" if name == "aligned" else name,
                "weights, million": counted.weights / 1e6,
                "multiply-adds, billion": counted.multiply_adds / 1e9,
            }
        )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ poses and parts


def prepared(session: Session, experiment: Experiment) -> PosedData:
    """Images and poses of an experiment's dataset, on the CPU."""
    return prepare(experiment, session.dataset(experiment.dataset), session.cache, "cpu")


def taken_apart(
    data: PosedData, rows: Sequence[int], split: str = "train", beta: float = 5.0
) -> list[Parted]:
    """Images of a split, by their rows, with pose, boxes and what is cut out of them."""
    images: PosedSplit = getattr(data, split)
    found = keypoints.remembered(data.dataset, split)
    boxes = images.boxes(True, beta)
    whole, parts = take(images, boxes.boxes, torch.as_tensor(list(rows)))
    shown_whole, shown_parts = pixels(whole), pixels(parts)
    made = []
    for n, row in enumerate(rows):
        path = data.dataset.images / data.dataset.splits[split]["path"].iloc[row]
        joints = None
        if images.poses.complete[row]:
            scale = images.sizes[row][::-1]  # width, height
            there = found.joints[row, :, 2] >= keypoints.THRESHOLD
            joints = np.column_stack((images.poses.joints[row] / scale, there))
        box = boxes.boxes[row].numpy()
        made.append(Parted(np.asarray(read_rgb(path)), joints, box, shown_whole[n], shown_parts[n]))
    return made


def pixels(images: Tensor) -> np.ndarray:
    """Normalized images float (..., 3, h, w) as they are seen: uint8 (..., h, w, 3)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    values = (images.float().cpu() * std + mean).clamp(0, 1) * 255
    return values.round().byte().movedim(-3, -1).numpy()


def without_pose(data: PosedData, split: str = "gallery") -> list[int]:
    """Rows of the images of a split that get fixed strips for want of a usable pose."""
    images: PosedSplit = getattr(data, split)
    return np.flatnonzero(images.boxes(True, 5.0).strips).tolist()


def strips_table(session: Session) -> pd.DataFrame:
    """In how many images nobody was found, and how many have fixed strips for want of a usable
    pose: as finished runs of Aligned counted them. Empty while there are none."""
    columns = {
        "market1501": "Market R1",
        "dukemtmc-reid": "Duke R1",
        "cuhk03-classic-labeled": "CUHK03-L R1",
        "cuhk03-classic-detected": "CUHK03-D R1",
    }
    rows = []
    for dataset in datasets_of(session):
        run = session.store.load(key_of(session, experiment(session, "aligned", columns[dataset])))
        if run is None:
            continue
        told = run.provenance
        for split in SPLITS:
            images, strips = told["images"][split], told["strips"][split]
            rows.append(
                {
                    "dataset": TITLES[dataset],
                    "part": split,
                    "images": images,
                    "nobody found": told["nobody"][split],
                    "fixed strips": strips,
                    "fixed strips, %": 100 * strips / images,
                }
            )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ attention


@torch.inference_mode()
def masks(trained: Trained, rows: Sequence[int], split: str = "query") -> Masks:
    """m_2, m_3 and m_4 (Eq 6) of images of a split, averaged over channels (Fig. 7)."""
    images: PosedSplit = getattr(trained.data, split)
    index = torch.as_tensor(list(rows))
    whole, parts = take(images, boxes_of(trained.model, images), index)
    of_whole, of_parts = trained.model.masks(whole, parts)
    return Masks(
        [m.mean(1).cpu().numpy() for m in of_whole], [m.mean(2).cpu().numpy() for m in of_parts]
    )


def cut_out(trained: Trained, rows: Sequence[int], split: str = "query") -> tuple[np.ndarray, ...]:
    """Body and parts of images of a split as the model sees them: uint8 (B, H, W, 3) and (B, 4,
    H / 4, W, 3)."""
    images: PosedSplit = getattr(trained.data, split)
    cut = take(images, boxes_of(trained.model, images), torch.as_tensor(list(rows)))
    return tuple(pixels(each) for each in cut)


def attention_table(model: AttentionDriven, data: PosedData, number: int = 64) -> pd.DataFrame:
    """Whether the attention is alive, on `number` training images spread evenly.

    Of each path: the mean of its weights m; how far they spread (standard deviation) over the
    positions of a map, over channels and over images; its share of the squared norm of the whole
    network's gradient; and the root mean square of its gradient, as a multiple of the base
    network's. Where all weights are 1/2 there is no spread, and what does not learn has no
    gradient. Dropout is off; nothing is trained by this.
    """
    model = copy.deepcopy(model).eval()
    rows = torch.as_tensor(common.spread(number, len(data.labels)))
    whole, parts = take(data.train, boxes_of(model, data.train), rows)
    of_whole, of_parts = ([m.detach().float() for m in each] for each in model.masks(whole, parts))
    model.zero_grad()
    labels = data.labels[rows].to(whole.device)
    torch.stack(list(model(whole, parts, labels).values())).sum().backward()
    total, base = _gradient(model).square().sum(), _gradient(model.backbone).square().mean()
    table = []
    for branch, paths, found in (
        ("whole body", model.intra_whole, of_whole),
        ("parts", model.intra_parts, of_parts),
    ):
        for block, path, m in zip(BLOCKS, paths, found, strict=True):
            own = _gradient(path).square()
            table.append(
                {
                    "branch": branch,
                    "block": block,
                    "mean": float(m.mean()),
                    "lowest": float(m.min()),
                    "highest": float(m.max()),
                    "over positions": float(m.flatten(-2).std(-1).mean()),
                    "over channels": float(m.std(-3).mean()),
                    "over images": float(m.std(0).mean()),
                    "gradient, %": 100 * float(own.sum() / total),
                    "per weight": float((own.mean() / base).sqrt()),
                }
            )
    return pd.DataFrame(table)


def _gradient(module: torch.nn.Module) -> Tensor:
    """The gradient of a module's parameters, float (all of them)."""
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def untrained(session: Session, experiment: Experiment, data: PosedData) -> AttentionDriven:
    """The model as its training begins: the pretrained base if there is one, attention as drawn.

    Raises `DataError` if it starts from a run that is not finished here.
    """
    runs = [session.store.load_trained(key_of(session, e)) for e in experiment.before]
    return driver.initialized(experiment, data, [run.weights for run in runs if run is not None])


@torch.inference_mode()
def part_weights(trained: Trained, batch: int = 256) -> pd.DataFrame:
    """The weights mu (Eq 8) of the four parts over all queries: mean, and spread over them."""
    images, model = trained.data.query, trained.model
    boxes = boxes_of(model, images)
    rows = torch.arange(len(images.frame)).split(batch)
    mu = torch.cat([model.inter.mu(model.encode(*take(images, boxes, r)).E) for r in rows]).cpu()
    return pd.DataFrame(
        {
            "part": PARTS,
            "mean of mu": mu.mean(0).tolist(),
            "spread over images": mu.std(0).tolist(),
            "lowest": mu.amin(0).tolist(),
            "highest": mu.amax(0).tolist(),
        }
    )


# ------------------------------------------------------------------ searching


def image_retrievals(trained: Trained, queries: Sequence[int], k: int = 8) -> list[list[Ranked]]:
    """The gallery images nearest to each query: see `common.image_retrievals`."""
    return common.image_retrievals(trained.data, trained.query, trained.gallery, queries, k)


def curve(filled: FilledTable, which: str, metric: str) -> dict[str, list[float | None]]:
    """A column of Table 10 or 11 by dataset: "paper", "measured" or "std" of one metric."""
    cells = [cell for cell in filled if cell.metric == metric]
    columns = dict.fromkeys(cell.column for cell in cells)
    return {c: [getattr(cell, which) for cell in cells if cell.column == c] for c in columns}


def one_person(dataset: Dataset, most: int = 8) -> list[np.ndarray]:
    """Images of the first person searched for, from all cameras, up to `most`."""
    splits = (dataset.splits[split] for split in ("query", "gallery"))
    both = pd.concat(splits, ignore_index=True).drop_duplicates("path")
    pid = int(dataset.splits["query"]["pid"].iloc[0])
    mine = both[both["pid"] == pid].sort_values("camid", kind="stable").head(most)
    return [np.asarray(read_rgb(dataset.images / path)) for path in mine["path"]]
