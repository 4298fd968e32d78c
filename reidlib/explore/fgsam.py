"""Looking at a trained FGSAM: where it sees joints and limbs, its parts, its attributes, Fig. 5."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.attributed import AttributedData, load_attributes
from reidlib.data.dataset import Dataset
from reidlib.data.formats import coco_keypoints, dukemtmc, market1501, peta
from reidlib.data.formats.attributes import IN_WORDS, NAMES, SCHEMAS, UNLABELED, Attribute
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.keypoints import JOINTS
from reidlib.errors import DataError
from reidlib.experiment import Experiment
from reidlib.explore import common, encoded
from reidlib.models.fgsam import FGSAM, PART_OF
from reidlib.models.pose_resolve import BACKGROUND, PARTS, V, part_channels
from reidlib.papers import driver, pose_pretraining
from reidlib.papers.fgsam.method import ATTRIBUTES
from reidlib.papers.fgsam.rows import FIGURE_5, SWEEPS
from reidlib.papers.intervals import Difference
from reidlib.papers.pose_pretraining.method import VAL
from reidlib.papers.tables import load_tables
from reidlib.run.plan import key_of
from reidlib.run.session import Session
from reidlib.run.store import RunLike
from reidlib.train import Compute

TITLES = {
    "market1501": "Market-1501",
    "dukemtmc-reid": "DukeMTMC-reID",
    "peta": "PETA",
    "coco-keypoints": "COCO, key points",
}
SHOWN = "market1501"
_ROWS = {"market1501": "market1501", "duke": "dukemtmc-reid", "peta": "peta"}  # of Table I
_USUAL = {"alpha": "0.5", "beta": "0.01", "gamma": "2"}  # Section IV-B


@dataclass(frozen=True)
class Trained:
    """A finished run's model with its data, and the embeddings of queries and gallery."""

    model: FGSAM
    data: AttributedData
    query: Tensor
    gallery: Tensor


@dataclass(frozen=True)
class Sweep:
    """Figure 5 for one parameter: scores in percent by metric, and how much better the paper's
    value of it does than each; None = not run."""

    values: list[str]
    usual: str  # the paper's value, one of `values`
    scores: dict[str, list[float | None]]
    differences: dict[str, list[Difference | None]]


def final(session: Session) -> Experiment:
    """The first seed's training of the final model on Market-1501."""
    cell = driver.cell("fgsam", session.profile, 4, "base-pose-lram-ftl", "Market mAP")
    return cell.experiments[0]


def phases(session: Session) -> dict[str, Experiment]:
    """The trainings that lead to the final model, in their order: the pretraining of the backbone
    (if it is one of ours), the baseline, the pose resolve net, the joined model, the final one."""
    last = final(session)
    joined = last.start
    base, (pose,) = joined.start, joined.joins
    found = [*([base.start] if base.start is not None else []), base, pose, joined, last]
    return {experiment.name: experiment for experiment in found}


def phase_table(session: Session) -> pd.DataFrame:
    """How each of `phases` is trained, and which weights it starts from."""
    rows = []
    for name, experiment in phases(session).items():
        training = experiment.training
        steps = f"{training.steps} steps" if training.steps else "one pass"
        rows.append(
            {
                "phase": name,
                "data set": TITLES.get(experiment.dataset, experiment.dataset),
                "batch": training.batch_size,
                "an epoch": steps,
                "learning rates": common.learning_rates(training),
                "starts from": training.pretrained
                or "; ".join(earlier.name for earlier in experiment.before)
                or "random weights",
            }
        )
    return pd.DataFrame(rows)


def datasets_of(session: Session) -> list[str]:
    """The datasets that this profile trains on, that of the key points included."""
    rows = common.trained_on(session, "fgsam", TITLES)
    return [name for name in TITLES if name in rows or name == coco_keypoints.NAME]


def load_trained(session: Session) -> Trained | None:
    """The final model on Market-1501, on the session's device; None if it is not trained yet."""
    found = common.finished(session, final(session), Compute.choose(session.device).device)
    if found is None:
        return None
    model, data = found
    return Trained(model, data, *encoded.of_finished(session, final(session), model, data))


def image_retrievals(
    trained: Trained, queries: Sequence[int], k: int = 8
) -> list[list[common.Ranked]]:
    """The gallery images nearest to each query: see `common.image_retrievals`."""
    return common.image_retrievals(trained.data, trained.query, trained.gallery, queries, k)


# ------------------------------------------------------------------ joints, limbs, parts


@torch.inference_mode()
def pose_maps(trained: Trained, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """What the third stage sees in some queries: the highest confidence of all joints, and the
    strength of the strongest affinity field, each float (N, h, w)."""
    H, C = trained.model.pose(_pictures(trained, rows))[-1]
    fields = C.float().unflatten(1, (V // 2, 2)).norm(dim=2)
    found = {"joints": H[:, :BACKGROUND].float().amax(1), "limbs": fields.amax(1)}
    return {name: maps.clamp_min(0).cpu().numpy() for name, maps in found.items()}


@torch.inference_mode()
def part_maps(trained: Trained, rows: Sequence[int], split: str = "query") -> dict[str, np.ndarray]:
    """Of some images, for each of the six parts, how strong its channels are after the channel
    parse blocks (Fig. 6): their root mean square, float (N, h, w)."""
    H, C = trained.model.pose(_pictures(trained, rows, split))[-1]
    maps = torch.cat((H, C), 1).float()
    return {
        part: maps[:, list(part_channels(part))].square().mean(1).sqrt().cpu().numpy()
        for part in PARTS
    }


@torch.inference_mode()
def block_table(trained: Trained, images: int = 256) -> pd.DataFrame | None:
    """What the channel parse blocks of the last stage weigh each part's channels by, as a mean over
    the first queries: that of all its channels, of the lowest and of the highest one. None in a
    model without blocks. The background, which is in no part, stands in a row of its own."""
    net = trained.model.pose
    if net.parse_H is None or net.parse_C is None:
        return None
    pictures = _pictures(trained, range(min(images, len(trained.data.query.frame))))
    H, C = net(pictures)[-2]
    x = torch.cat((C, H, net.front(pictures)), 1)  # what the last stage sees
    weights = [block[-1].weights(stream[-1](x)) for block, stream in
               ((net.parse_H, net.S1), (net.parse_C, net.S2))]  # fmt: skip
    mean = torch.cat(weights, 1)[..., 0, 0].float().mean(0)
    channels = {**{part: part_channels(part) for part in PARTS}, "background": (BACKGROUND,)}
    return pd.DataFrame(
        {
            "part": part,
            "channels": len(mine),
            "mean weight": float(mean[list(mine)].mean()),
            "lowest": float(mean[list(mine)].min()),
            "highest": float(mean[list(mine)].max()),
        }
        for part, mine in channels.items()
    )


def _pictures(trained: Trained, rows: Sequence[int], split: str = "query") -> Tensor:
    return getattr(trained.data, split).images.batch(torch.as_tensor(list(rows)))


def key_point_table(session: Session, trained: Trained | None) -> pd.DataFrame | None:
    """PCK of the pose resolve net on held-out people, of all key points and of each: after its
    training on key points and, of the final model, after all three phases, in which nothing asks
    for key points any more. None if it is not trained here yet."""
    (pose,) = final(session).start.joins
    run = _run(session, pose)
    if run is None:
        return None
    found = {"after its training (%)": run.metrics["evaluations"][VAL]}
    if trained is not None:
        device = Compute.choose(session.device).device
        dataset = session.dataset(pose.dataset)
        data = pose_pretraining.prepare(pose, dataset, session.cache, device)
        after = pose_pretraining.evaluate(trained.model.pose, data, Compute(device))
        found["after all three phases (%)"] = after.evaluations[VAL]
    names = ["PCK", *(name for name in JOINTS if name in run.metrics["evaluations"][VAL])]
    return pd.DataFrame(
        {
            "key point": "all" if name == "PCK" else name,
            **{when: values[name] for when, values in found.items()},
        }
        for name in names
    )


# ------------------------------------------------------------------ attributes


def table_1() -> pd.DataFrame:
    """Table I from the label files: what is learned of each dataset, beside what is printed.

    "✓": learned and printed. "learned": not printed. "printed": not labeled, so not learned. A row
    per attribute, and one with their numbers.
    """
    printed = load_tables("fgsam")[1]
    words = {(True, True): "✓", (True, False): "learned", (False, True): "printed"}
    columns = {"attribute": [*NAMES, "number"]}
    columns["in words"] = [*(IN_WORDS[name] for name in NAMES), "attributes that are learned"]
    columns["branch"] = [*(PART_OF[name] for name in NAMES), ""]
    for slug, dataset in _ROWS.items():
        known = {attribute.name for attribute in attributes_of(dataset)}
        ticks = printed.row(slug).values
        cells = [words.get((name in known, ticks[name] == "✓"), "") for name in NAMES]
        columns[TITLES[dataset]] = [*cells, str(len(known))]
    return pd.DataFrame(columns)


def attributes_of(dataset: str) -> tuple[Attribute, ...]:
    """The attributes that are learned on a dataset."""
    return peta.ATTRIBUTES if dataset == peta.NAME else SCHEMAS[dataset].attributes


def label_table(datasets: Mapping[str, Dataset]) -> tuple[pd.DataFrame, list[str]]:
    """How often each class of each attribute is labeled, in percent of a dataset's labeled
    persons, and what is odd about the labels."""
    rows, notes = [], []
    for name, dataset in datasets.items():
        if name == coco_keypoints.NAME:
            continue
        try:
            table = load_attributes(dataset)
        except DataError as error:
            notes.append(f"{TITLES[name]} has no attributes: {error}")
            continue
        notes += [f"{TITLES[name]}: {note}" for note in table.notes]
        for attribute, column in zip(table.attributes, table.labels.T, strict=True):
            known = column[column != UNLABELED]
            shares = np.bincount(known, minlength=len(attribute.classes)) / max(1, len(known))
            told = ", ".join(
                f"{label} {100 * share:.0f} %"
                for label, share in zip(attribute.classes, shares, strict=True)
            )
            rows.append(
                {
                    "data set": TITLES[name],
                    "attribute": IN_WORDS[attribute.name],
                    "branch": PART_OF[attribute.name],
                    "persons": len(known),
                    "classes": told,
                }
            )
    return pd.DataFrame(rows), notes


def accuracy_table(session: Session) -> pd.DataFrame | None:
    """Of every attribute, in how many of the queries' images the final model on Market-1501 is
    right, in percent, as a mean over the trainings; None without any."""
    cell = driver.cell(
        "fgsam", session.profile, 4, "base-pose-lram-ftl", "Market mAP", session.seeds
    )
    runs = [run for e in cell.experiments if (run := _run(session, e)) is not None]
    if not runs:
        return None

    def mean(kind: str, name: str) -> float:
        return float(np.mean([run.metrics[kind][ATTRIBUTES][name] for run in runs]))

    found = runs[0].metrics["evaluations"][ATTRIBUTES]
    names = [name for name in ("mean", *NAMES) if name in found]
    return pd.DataFrame(
        {
            "attribute": IN_WORDS.get(name, "mean of all"),
            "branch": PART_OF.get(name, ""),
            "right (%)": mean("evaluations", name),
            "always the most common (%)": mean("chance", name),
            "trainings": len(runs),
        }
        for name in names
    )


@torch.inference_mode()
def seen_in(trained: Trained, rows: Sequence[int]) -> pd.DataFrame:
    """What the model sees in some queries beside what is labeled: a row per attribute, a column per
    query: "black", or "black (labeled: white)" where it is wrong."""
    logits = trained.model.attribute_logits(trained.model.encode(_pictures(trained, rows)))
    known = trained.data.query_known[list(rows)].numpy()
    table = []
    for attribute, values, labels in zip(
        trained.data.table.attributes, logits, known.T, strict=True
    ):
        seen = values.argmax(1).tolist()
        line = {"attribute": IN_WORDS[attribute.name], "branch": PART_OF[attribute.name]}
        for n, (mine, label) in enumerate(zip(seen, labels.tolist(), strict=True), start=1):
            text = attribute.classes[mine]
            if label == UNLABELED:
                text += " (not labeled)"
            elif label != mine:
                text += f" (labeled: {attribute.classes[label]})"
            line[f"query {n}"] = text
        table.append(line)
    return pd.DataFrame(table)


# ------------------------------------------------------------------ Figure 5


def sweeps(session: Session) -> dict[str, Sweep]:
    """What of Figure 5 has been measured so far, by parameter; empty in profiles without it."""
    found = {}
    for parameter, values in SWEEPS.items():
        names = [f"{value:g}" for value in values]
        scores: dict[str, list[float | None]] = {}
        differences: dict[str, list[Difference | None]] = {}
        for metric in ("mAP", "Rank-1"):
            cells = [
                driver.cell(
                    "fgsam", session.profile, FIGURE_5, parameter, f"{name}, {metric}",
                    session.seeds,
                )
                for name in names
            ]  # fmt: skip
            if not any(cells):
                continue
            measured = [common.measurements(session, cell) for cell in cells]
            usual = measured[names.index(_USUAL[parameter])]
            scores[metric] = [common.mean_of(mine) for mine in measured]
            differences[metric] = [
                None if mine is usual else common.difference(usual, mine) for mine in measured
            ]
        if scores:
            found[parameter] = Sweep(names, _USUAL[parameter], scores, differences)
    return found


def _run(session: Session, experiment: Experiment) -> RunLike | None:
    with contextlib.suppress(DataError):
        return session.store.load(key_of(session, experiment))
    return None


# ------------------------------------------------------------------ the data


def count_table(datasets: Mapping[str, Dataset]) -> pd.DataFrame:
    """What was found of each dataset, beside what is published of the real one."""
    rows = []
    for name, dataset in datasets.items():
        found, published = _counts(name, dataset)
        rows += [
            {
                "dataset": TITLES[name],
                "part": part,
                "found": _in_words(counts),
                "published": _in_words(published[part]) if part in published else "",
            }
            for part, counts in found.items()
        ]
    return pd.DataFrame(rows)


def _counts(name: str, dataset: Dataset) -> tuple[Mapping[str, Counts], Mapping[str, Counts]]:
    if name == coco_keypoints.NAME:
        return coco_keypoints.count(dataset.splits), {}
    module = {"market1501": market1501, "dukemtmc-reid": dukemtmc, "peta": peta}[name]
    return module.count(dataset.splits), module.PUBLISHED[name]


def _in_words(counts: Counts) -> str:
    named = {"images": counts.images, "persons": counts.ids}
    return ", ".join(f"{number:,} {what}" for what, number in named.items() if number is not None)


def person_rows(datasets: Mapping[str, Dataset], most: int = 8) -> dict[str, list[np.ndarray]]:
    """Images of a person who is searched for in each dataset, and pictures with key points."""
    found = {}
    for name, dataset in datasets.items():
        if name == coco_keypoints.NAME:
            rows = common.spread(most, len(dataset.splits["val"]))
            found[f"{TITLES[name]}, held out"] = common.pictures(dataset, rows, "val")
            continue
        both = pd.concat([dataset.splits["query"], dataset.splits["gallery"]], ignore_index=True)
        pids = np.unique(dataset.splits["query"]["pid"])
        pid = pids[len(pids) // 2]
        mine = both[both["pid"] == pid].drop_duplicates("path").head(most)
        paths = [dataset.images / path for path in mine["path"]]
        found[f"{TITLES[name]}, person {pid}"] = [np.asarray(common.read_rgb(p)) for p in paths]
    return found
