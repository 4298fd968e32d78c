"""Looking at a trained GLA: where it looks for a phrase; searching by a sentence or an image."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.borrowed_captions import join_captions
from reidlib.data.batches.images import DeviceImages, read_rgb
from reidlib.data.batches.pairs import Text, TextImageData, text_of, to_text
from reidlib.data.batches.tuples import KINDS, DescribedData
from reidlib.data.dataset import Dataset, captions_frame
from reidlib.data.formats import cuhk01, cuhk03, cuhk_pedes, cuhk_sysu, image_sets, market1501
from reidlib.data.formats.checks import Counts
from reidlib.data.language.encoding import EncodedText
from reidlib.data.language.phrases import phrase_spans
from reidlib.data.language.tagger import load_tagger
from reidlib.data.language.words import tokenize
from reidlib.errors import DataError
from reidlib.experiment import Experiment
from reidlib.explore import common, encoded
from reidlib.models.gla import (
    GLA,
    phrase_heat_maps,
    phrase_owner,
    reconstruction_by_source,
    text_to_image_scores,
)
from reidlib.papers import driver
from reidlib.papers.gla.method import encode_pairs
from reidlib.papers.intervals import RESAMPLES
from reidlib.run.session import Session
from reidlib.train import Compute

TITLES = {
    "market1501": "Market-1501",
    "cuhk-sysu": "CUHK-SYSU",
    "cuhk03-classic-labeled": "CUHK03, labeled boxes",
    "cuhk03-classic-detected": "CUHK03, detected boxes",
    "cuhk01": "CUHK01",
    "cuhk-pedes": "CUHK-PEDES",
}
# The proposed method as it is shown here: the one that searches by images, the one by sentences.
SHOWN = {"market1501": (2, "proposed", "Market mAP"), "cuhk-pedes": (4, "ours", "top-1")}
# The split whose images are described, see `described`.
DESCRIBED = {"market1501": "train", "cuhk-pedes": "test"}
SHOWN_ON = {"market1501": "Market-1501, training images", "cuhk-pedes": "CUHK-PEDES, test images"}
LOOKED_FOR = ("white shirt", "blue jeans", "black shoes", "black backpack")


@dataclass(frozen=True)
class Thing:
    """Something that phrases name: its words, and the half of the body where it is."""

    name: str
    half: str  # "upper" | "lower"
    words: frozenset[str]


def _thing(name: str, half: str, words: str) -> Thing:
    return Thing(name, half, frozenset(words.split()))


THINGS = (
    _thing("hair, hat, cap", "upper", "hair ponytail hat cap beanie"),
    _thing(
        "shirt, jacket, coat",
        "upper",
        "shirt t-shirt top blouse polo jacket coat blazer hoodie sweatshirt sweater cardigan vest",
    ),
    _thing(
        "jeans, pants, skirt",
        "lower",
        "jeans pants trousers shorts skirt leggings slacks capris",
    ),
    _thing("shoes, boots", "lower", "shoes sneakers boots sandals flats trainers loafers heels"),
)


@dataclass(frozen=True)
class Trained:
    """A finished run's model with its data, and the features of the test images.

    Of an image dataset: phi of queries and gallery. Of CUHK-PEDES `gallery` is psi_bar of the test
    images, and `query` theta^g of the test captions.
    """

    model: GLA
    data: DescribedData | TextImageData
    query: Tensor
    gallery: Tensor

    @property
    def device(self) -> torch.device:
        return self.gallery.device

    @cached_property
    def joined(self) -> pd.DataFrame:
        """The captions of an image dataset's training images, with the `image` of each; those of
        `data.captions`, in that order."""
        return join_captions(self.data.dataset).captions


class PhraseMap(NamedTuple):
    """A noun phrase and where the model looks for it in an image."""

    image: int  # row in the split
    phrase: str
    heat: np.ndarray  # float32 (height, width), of the size that the model takes


class PhraseAttention(NamedTuple):
    """A noun phrase of a description, and the attention to it in the image that it describes."""

    pid: int
    phrase: str
    r: np.ndarray  # float32 (h', w'): r_k of the bins that are left; sums to 1


def datasets_of(session: Session) -> list[str]:
    """The datasets that the profile trains on."""
    return common.trained_on(session, "gla", TITLES)


def experiment(session: Session, table: int, row: str, column: str) -> Experiment | None:
    """The first seed's training behind a cell of the tables; None where the profile has none."""
    cell = driver.cell("gla", session.profile, table, row, column)
    return None if cell is None else cell.experiments[0]


def proposed(session: Session) -> dict[str, Experiment]:
    """The proposed method on those of `SHOWN` that the profile trains on."""
    found = {name: experiment(session, *place) for name, place in SHOWN.items()}
    return {name: each for name, each in found.items() if each is not None}


def load_trained(session: Session, experiment: Experiment) -> Trained | None:
    """The model of a finished run, on the session's device; None if it has not been trained yet."""
    found = common.finished(session, experiment, Compute.choose(session.device).device)
    if found is None:
        return None
    model, data = found
    if isinstance(data, TextImageData):
        gallery, query = encode_pairs(model, data.test)
    else:
        query, gallery = encoded.of_finished(session, experiment, model, data)
    return Trained(model, data, query, gallery)


# ------------------------------------------------------------------ phrases


def phrase_maps(trained: Trained, images: Sequence[int], most: int = 3) -> list[PhraseMap]:
    """Attention to the phrases of each image's first description (Fig. 5), up to `most` each.

    images: rows of the test split of CUHK-PEDES, of the training split of other datasets (their
    test images are not described; some training images borrow the description of another one).
    """
    data = trained.data
    if isinstance(data, TextImageData):
        split, image_of = data.test.images, data.test.image_of.numpy()
        captions = [int(np.flatnonzero(image_of == image)[0]) for image in images]
        text = data.test.text
    else:
        split, choices, text = data.tuples.images, data.tuples.choices, data.tuples.text
        captions = [int(choices.captions[choices.offsets[image]]) for image in images]
    words = to_text(text.take(np.asarray(captions)))
    owner = phrase_owner(words.phrase_offsets)
    number = torch.arange(len(owner)) - words.phrase_offsets[owner]  # of a phrase in its caption
    kept = number < most
    phrases = words.phrases[kept], words.phrase_lengths[kept]
    return _heat_maps(trained, split, images, *phrases, owner[kept])


def look_for(
    trained: Trained, sentence: str, images: Sequence[int], split: str = "gallery"
) -> list[PhraseMap]:
    """Attention to every phrase of any sentence in each of some test images, by their rows: of
    CUHK-PEDES's test split, or of the "gallery" or the "query"."""
    data = trained.data
    images_of = data.test if isinstance(data, TextImageData) else getattr(data, split)
    text = common.as_text(data, sentence, KINDS)
    owner = torch.arange(len(images)).repeat_interleave(len(text.phrases))
    phrases = text.phrases.repeat(len(images), 1), text.phrase_lengths.repeat(len(images))
    return _heat_maps(trained, images_of.images, images, *phrases, owner)


def _heat_maps(
    trained: Trained,
    split: DeviceImages,
    images: Sequence[int],
    phrases: Tensor,
    lengths: Tensor,
    owner: Tensor,
) -> list[PhraseMap]:
    """phrases int64 (R, Lp), lengths and owner int64 (R,): the position in `images` of each."""
    pixels = split.batch(torch.as_tensor(list(images)))
    inputs = phrases.to(trained.device), lengths, owner.to(trained.device)
    heat = phrase_heat_maps(trained.model, pixels, *inputs).cpu().numpy()
    return [
        PhraseMap(images[image], common.words_of(trained.data.vocabulary, phrase[:length]), values)
        for image, phrase, length, values in zip(
            owner.tolist(), phrases.tolist(), lengths.tolist(), heat, strict=True
        )
    ]


def described(trained: Trained) -> tuple[DeviceImages, EncodedText, np.ndarray, np.ndarray]:
    """Images, their own descriptions, the image of each, int64 (M,), and the images' pids: of the
    test split of CUHK-PEDES, of the training split of other datasets, as in `phrase_maps`."""
    data = trained.data
    if isinstance(data, TextImageData):
        test = data.test
        return test.images, test.text, test.image_of.numpy(), test.image_pids
    pids = data.dataset.splits["train"]["pid"].to_numpy()
    return data.tuples.images, data.tuples.text, trained.joined["image"].to_numpy(), pids


def examples(trained: Trained, number: int) -> list[int]:
    """Described images, spread evenly over all of them: their rows."""
    images = np.unique(described(trained)[2])
    return images[common.spread(number, len(images))].tolist()


def named_in(trained: Trained, phrase: str, most: int = 5) -> list[int]:
    """The first described images, of different persons, with exactly this noun phrase in one of
    their descriptions: their rows."""
    _, text, image_of, pids = described(trained)
    wanted = trained.data.vocabulary.encode(tokenize(phrase))
    padded = np.zeros(max(text.phrases.shape[1], len(wanted)), np.int64)
    padded[: len(wanted)] = wanted
    phrases = np.pad(text.phrases, ((0, 0), (0, len(padded) - text.phrases.shape[1])))
    counts = np.diff(text.phrase_offsets)
    caption = np.repeat(np.arange(len(counts)), counts)[(phrases == padded).all(1)]
    first: dict[int, int] = {}
    for image in image_of[caption].tolist():
        first.setdefault(int(pids[image]), image)
    return list(first.values())[:most]


def by_image(maps: Sequence[PhraseMap], images: Sequence[int]) -> list[list[tuple[str, Any]]]:
    """Phrases and heat maps of each of the images, by their rows."""
    return [[(phrase, heat) for row, phrase, heat in maps if row == image] for image in images]


def maps_of(trained: Trained, phrase: str, images: Sequence[int]) -> list[PhraseMap]:
    """Attention to one phrase in each of some described images, by their rows."""
    split, *_ = described(trained)
    index = trained.data.vocabulary.encode(tokenize(phrase))
    phrases = torch.tensor([index]).repeat(len(images), 1)
    lengths = torch.full((len(images),), len(index))
    return _heat_maps(trained, split, images, phrases, lengths, torch.arange(len(images)))


@torch.inference_mode()
def phrase_attention(trained: Trained, batch_size: int = 256) -> list[PhraseAttention]:
    """The attention to every phrase of all descriptions, each in the image it describes."""
    split, text, image_of, pids = described(trained)
    model, found = trained.model, []
    for captions in np.split(np.arange(len(text)), range(batch_size, len(text), batch_size)):
        images, position = np.unique(image_of[captions], return_inverse=True)
        words = to_text(text.take(captions))
        Psi = model.encode_images(split.batch(torch.from_numpy(images))).Psi
        theta_l = model.encode_phrases(words.phrases.to(trained.device), words.phrase_lengths)
        owner = torch.from_numpy(position)[phrase_owner(words.phrase_offsets)]
        r, _ = model.attend(Psi, theta_l, owner.to(trained.device))
        found += [
            PhraseAttention(
                int(pids[images[image]]),
                common.words_of(trained.data.vocabulary, phrase[:length]),
                values,
            )
            for image, phrase, length, values in zip(
                owner.tolist(),
                words.phrases.tolist(),
                words.phrase_lengths.tolist(),
                r.float().cpu().numpy(),
                strict=True,
            )
        ]
    return found


def thing_of(phrase: str) -> Thing | None:
    """The thing that a phrase names; None if it names none of them, or more than one."""
    words = set(phrase.split())
    named = [thing for thing in THINGS if words & thing.words]
    return named[0] if len(named) == 1 else None


def share_of(half: str, r: np.ndarray) -> float:
    """The part of the attention, 0 to 1, that falls on the "upper" or "lower" half of the image.

    r: float (h', w'); a middle row counts half. Uniform attention gives 0.5.
    """
    rows = r.sum(1) / r.sum()
    upper = np.clip(len(rows) / 2 - np.arange(len(rows)), 0, 1)
    share = float(rows @ upper)
    return share if half == "upper" else 1 - share


def half_table(found: Sequence[PhraseAttention]) -> pd.DataFrame:
    """Of the phrases about each thing: percent of the attention on the half of the body it is on.

    Uniform attention has 50. Beside it, what falls on the same half for phrases about things of
    the other half: attention that is the same for all phrases has two equal numbers. Intervals
    are bootstraps over persons, whose phrases are alike.
    """
    about = [(thing_of(phrase), pid, r) for pid, phrase, r in found]
    rows = []
    for thing in THINGS:
        own = [(pid, share_of(thing.half, r)) for named, pid, r in about if named is thing]
        other = [
            share_of(thing.half, r) for named, _, r in about if named and named.half != thing.half
        ]
        value, low, high = _mean_over_persons([own], [1.0])
        rows.append(
            {
                "phrases about": thing.name,
                "half": thing.half,
                "phrases": len(own),
                "persons": len({pid for pid, _ in own}),
                "on that half, %": 100 * value,
                "95 % from": 100 * low,
                "95 % to": 100 * high,
                "uniform, %": 50.0,
                "other phrases, %": 100 * np.mean(other) if other else np.nan,
            }
        )
    return pd.DataFrame(rows)


def halves_in_words(table: pd.DataFrame) -> str:
    """What `half_table` comes to: where attention goes to the wrong half, which a look at some maps
    would not tell, where to the right one, and where neither is certain."""

    def told(row: pd.Series) -> str:
        return (
            f"{row['phrases about']} ({row['on that half, %']:.1f} % on the {row['half']} half, "
            f"interval {row['95 % from']:.1f} to {row['95 % to']:.1f})"
        )

    table = table[table["phrases"] > 0]
    # Beyond both comparisons: attention without preference, and that to phrases about the others.
    others = table["other phrases, %"].fillna(50.0)
    wrong = table["95 % to"] < 50
    right = (table["95 % from"] > 50) & (table["95 % from"] > others)
    lines = []
    if wrong.any():
        things = "; ".join(told(row) for _, row in table[wrong].iterrows())
        lines.append(
            f"The attention goes to the WRONG half for phrases about {things}. For these, the maps "
            "above do not show where the thing is, and are no evidence that the model found it."
        )
    if right.any():
        things = "; ".join(told(row) for _, row in table[right].iterrows())
        lines.append(f"The phrase draws the attention to the right half for {things}.")
    if (left := ~wrong & ~right).any():
        things = ", ".join(table[left]["phrases about"])
        lines.append(f"Neither can be said of phrases about {things}.")
    return "\n".join(lines)


def reconstruction_table(trained: Trained, images: int = 256) -> pd.DataFrame:
    """L_rec of Eq 7 by what a phrase is written from, in nats per phrase; a row per source, see
    `reidlib.models.gla.reconstruction_by_source`.

    Of all phrases of one description each of some described images, spread evenly. Intervals are
    bootstraps over persons.
    """
    split, text, image_of, pids = described(trained)
    rows, first = np.unique(image_of, return_index=True)
    chosen = common.spread(min(images, len(rows)), len(rows))
    rows, captions = rows[chosen], first[chosen]
    by_source: dict[str, list[tuple[int, float]]] = {}
    # The next picture of a batch is "another one": of another person, in an order that mixes them.
    order = np.random.default_rng(0).permutation(len(rows))
    for part in np.array_split(order, -(-len(order) // 64)):
        words = to_text(text.take(captions[part]))
        owner = phrase_owner(words.phrase_offsets)
        found = reconstruction_by_source(
            trained.model,
            split.batch(torch.from_numpy(rows[part])),
            words.phrases.to(trained.device),
            words.phrase_lengths,
            owner.to(trained.device),
        )
        people = pids[rows[part]]
        other = torch.from_numpy(people != np.roll(people, -1))[
            owner
        ]  # the same person is left out
        for name, nats in found.items():
            by_source.setdefault(name, []).extend(
                zip(
                    people[owner.numpy()][other.numpy()].tolist(),
                    nats.cpu()[other].tolist(),
                    strict=True,
                )
            )
    table = []
    for name, values in by_source.items():
        value, low, high = _mean_over_persons([values], [1.0])
        row = {"psi_hat from": name, "phrases": len(values), "L_rec, nats per phrase": value}
        table.append({**row, "95 % from": low, "95 % to": high})
    return pd.DataFrame(table)


def reconstruction_in_words(table: pd.DataFrame) -> str:
    """What `reconstruction_table` says of Eq 7: how much the picture matters, and the attention."""
    nats = table.set_index("psi_hat from")["L_rec, nats per phrase"]
    own, another, without = (
        nats[name] for name in ("own picture", "another picture", "no attention")
    )
    return (
        f"Another person's picture costs {another - own:+.2f} nats a phrase, leaving out the "
        f"attention {without - own:+.2f}. Were a phrase written from what its own picture shows, "
        "the first would be large."
    )


def attention_moves(found: Sequence[PhraseAttention]) -> str:
    """How far the attention moves from things of the upper half to those of the lower one, as a
    sentence. The interval is a bootstrap over persons."""
    centers: dict[str, list[tuple[int, float]]] = {"upper": [], "lower": []}
    for pid, phrase, r in found:
        if (thing := thing_of(phrase)) is not None:
            rows = r.sum(1) / r.sum()
            center = rows @ (np.arange(len(rows)) + 0.5) / len(rows)  # 0: the top, 1: the bottom
            centers[thing.half].append((pid, float(center)))
    if min(len({pid for pid, _ in values}) for values in centers.values()) < 2:
        return "Fewer than two persons with phrases about each half: nothing to compare."
    value, low, high = (100 * v for v in _mean_over_persons(list(centers.values()), [-1.0, 1.0]))
    return (
        "From things of the upper half to those of the lower half, the center of the attention "
        f"moves by {value:+.1f} % of the image's height (95 % interval {low:+.1f} to {high:+.1f}; "
        "down is positive). It would be 0 if the phrase did not matter, and about 50 if attention "
        "followed it."
    )


def _mean_over_persons(
    groups: Sequence[Sequence[tuple[int, float]]], weights: Sequence[float]
) -> tuple[float, float, float]:
    """Weighted sum of the groups' means, with the 95 % interval of a bootstrap over persons.

    groups: (pid, value) each. NaN if a group is empty.
    """
    people = sorted({pid for group in groups for pid, _ in group})
    place = {pid: n for n, pid in enumerate(people)}
    sums, counts = np.zeros((2, len(groups), len(people)))
    for n, group in enumerate(groups):
        for pid, value in group:
            sums[n, place[pid]] += value
            counts[n, place[pid]] += 1
    if not all(group.any() for group in counts):
        return np.nan, np.nan, np.nan
    n = len(people)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    drawn = draws @ counts.T  # (resamples, groups)
    full = drawn.all(1)  # resamples in which no group is empty
    samples = (draws @ sums.T)[full] / drawn[full] @ np.array(weights)
    low, high = np.quantile(samples, [0.025, 0.975])
    value = sums.sum(1) / counts.sum(1) @ np.array(weights)
    return float(value), float(low), float(high)


# ------------------------------------------------------------------ searching by a sentence


@torch.inference_mode()
def search(trained: Trained, sentence: str, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The `k` test images of CUHK-PEDES that fit a sentence best: their rows and scores."""
    rows, found = common.best_matches(
        _scores(trained, common.as_text(trained.data, sentence, KINDS)), k
    )
    return rows[0], found[0]


@torch.inference_mode()
def retrievals(trained: Trained, captions: Sequence[int], k: int = 5) -> list[common.Retrieval]:
    """What test captions of CUHK-PEDES, by their number, find (Fig. 6)."""
    split = trained.data.test
    text = text_of(split, torch.as_tensor(list(captions)))
    return common.retrievals(split, captions, _scores(trained, text), k)


def _scores(trained: Trained, text: Text) -> Tensor:
    theta_g = trained.model.encode_descriptions(text.tokens.to(trained.device), text.lengths)
    return text_to_image_scores(trained.model, trained.gallery, theta_g).cpu()


# ------------------------------------------------------------------ searching by an image


def image_retrievals(
    trained: Trained, queries: Sequence[int], k: int = 8
) -> list[list[common.Ranked]]:
    """The gallery images nearest to each query: see `common.image_retrievals`."""
    return common.image_retrievals(trained.data, trained.query, trained.gallery, queries, k)


# ------------------------------------------------------------------ the data


def count_table(datasets: Mapping[str, Dataset]) -> pd.DataFrame:
    """What was found of each dataset, beside what is published of the real one."""
    rows = []
    for name in (name for name in TITLES if name in datasets):
        found, published = _counts(name, datasets[name])
        rows += [
            {
                "dataset": TITLES[name],
                "part": part,
                "found": _in_words(found[part]),
                "published": _in_words(counts),
            }
            for part, counts in published.items()
        ]
    return pd.DataFrame(rows)


def _counts(name: str, dataset: Dataset) -> tuple[Mapping[str, Counts], Mapping[str, Counts]]:
    """Counts of the parts of a dataset as found, and as published."""
    splits = dataset.splits
    if name == cuhk_sysu.NAME:  # the release has no crops; those are the paper's
        published = {
            split: Counts(cuhk_sysu.GLA_CROPS.get(split, counts.images), counts.ids)
            for split, counts in cuhk_sysu.EXPECTED.items()
        }
        return image_sets.count(splits), published
    if name.startswith(cuhk03.NAME):
        return cuhk03.count(splits), cuhk03.PUBLISHED[name]
    module = {"market1501": market1501, "cuhk01": cuhk01, "cuhk-pedes": cuhk_pedes}[name]
    return module.count(splits), module.EXPECTED


def _in_words(counts: Counts) -> str:
    named = {"images": counts.images, "persons": counts.ids, "captions": counts.captions}
    return ", ".join(f"{number:,} {what}" for what, number in named.items() if number is not None)


def caption_table(datasets: Mapping[str, Dataset]) -> tuple[pd.DataFrame, list[str]]:
    """Where the training images have their descriptions from, and notes on what is amiss."""
    rows, notes = [], []
    for name in (name for name in TITLES if name in datasets and name != "cuhk-pedes"):
        dataset = datasets[name]
        try:
            joined = join_captions(dataset)
        except DataError as error:
            notes.append(f"{TITLES[name]} has no descriptions: {error}")
            continue
        train = dataset.splits["train"]
        offsets, captions = joined.choices
        lender = joined.captions["image"].to_numpy()[captions[offsets[:-1]]]
        own = lender == np.arange(len(train))
        same_camera = train["camid"].to_numpy() == train["camid"].to_numpy()[lender]
        rows.append(
            {
                "dataset": TITLES[name],
                "training images": len(train),
                "described themselves": int(own.sum()),
                "borrow, same camera": int((~own & same_camera).sum()),
                "borrow, another camera": int((~own & ~same_camera).sum()),
                "captions": len(joined.captions),
                "captions to choose from": len(captions) / len(train),
            }
        )
        notes += [f"{TITLES[name]}: {note}" for note in joined.notes[1:]]
    return pd.DataFrame(rows), notes


def marked_phrases(captions: Sequence[str]) -> str:
    """Sentences as a list in Markdown: noun phrases with an adjective in bold, nouns that are
    joined by a preposition in brackets."""
    tagger, lines = load_tagger(), []
    for caption in captions:
        tagged = tagger.tag(tokenize(caption, punctuation=True))
        words = [word for word, _ in tagged]
        # Brackets come last, so that they stand outside.
        for kind, before, after in (("jnp", "**", "**"), ("pp", "[", "]")):
            for start, end in phrase_spans(tagged, (kind,)):
                words[start] = before + words[start]
                words[end - 1] += after
        text = " ".join(words)
        for mark in (",", ".", "'s"):
            text = text.replace(f" {mark}", mark)
        lines.append(f"- {text}")
    return "\n".join(lines)


def some_captions(dataset: Dataset, number: int) -> list[str]:
    """Captions spread evenly over those of the split that `described` names; none if there are
    none, which `caption_table` tells."""
    split = dataset.splits[DESCRIBED[dataset.name]]
    if "captions" in split:
        captions = captions_frame(split)["caption"]
    else:
        try:
            captions = join_captions(dataset).captions["caption"]
        except DataError:
            return []
    return [captions[row] for row in common.spread(number, len(captions))]


def person_rows(datasets: Mapping[str, Dataset], most: int = 10) -> dict[str, list[np.ndarray]]:
    """Images for `figures.picture_rows`: persons who are searched for, and what shows none.

    Two persons of Market-1501, one of each other dataset (labeled boxes of CUHK03).
    """
    found: dict[str, list[np.ndarray]] = {}
    for name, dataset in datasets.items():
        if name in (cuhk_pedes.NAME, "cuhk03-classic-detected"):
            continue
        of = 2 if name == market1501.NAME else 1
        found |= dict(one_person(dataset, number, of, most) for number in range(of))
    if market1501.NAME in datasets:
        found |= nobody(datasets[market1501.NAME], most)
    return found


def one_person(
    dataset: Dataset, number: int = 0, of: int = 1, most: int = 10
) -> tuple[str, list[np.ndarray]]:
    """A person who is searched for, as the cameras saw them: a title, and up to `most` images.

    The `number`-th of `of` persons spread evenly over those in the query.
    """
    splits = (dataset.splits[split] for split in ("query", "gallery"))
    both = pd.concat(splits, ignore_index=True).drop_duplicates("path")
    persons = np.unique(dataset.splits["query"]["pid"])
    pid = persons[common.spread(of, len(persons))[number]]
    mine = both[both["pid"] == pid].sort_values("camid", kind="stable")
    each = math.ceil(most / mine["camid"].nunique())
    mine = mine.groupby("camid").head(each).head(most)
    title = f"{TITLES[dataset.name]}, person {pid}"
    if dataset.name != cuhk_sysu.NAME:  # which says nothing about cameras
        kind = "cameras" if dataset.name == market1501.NAME else "views"
        title += f", {kind} {', '.join(map(str, mine['camid'].unique()))}"
    return title, [np.asarray(read_rgb(dataset.images / path)) for path in mine["path"]]


def nobody(dataset: Dataset, most: int = 10) -> dict[str, list[np.ndarray]]:
    """Gallery images of Market-1501 that show nobody who is searched for, spread evenly."""
    pids = dataset.splits["gallery"]["pid"]
    found = {}
    for title, pid in (("junk", market1501.JUNK), ("distractors", market1501.DISTRACTOR)):
        rows = np.flatnonzero(pids == pid)
        if len(rows):
            chosen = rows[common.spread(most, len(rows))]
            title = f"{TITLES[dataset.name]}, {title}"
            found[title] = common.pictures(dataset, chosen, "gallery")
    return found
