"""Looking at a trained SSAN: which part of the body it reads a word for, searching a gallery by a
sentence, the five domains, Figure 7.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.pairs import TextImageData, text_of
from reidlib.data.dataset import Dataset
from reidlib.data.formats import cuhk_pedes, icfg_pedes
from reidlib.data.formats.cuhk_pedes import DOMAINS, SOURCE, TRANSFER
from reidlib.data.language.words import tokenize
from reidlib.errors import UsageError
from reidlib.experiment import Experiment
from reidlib.explore import common
from reidlib.models.parts.codes import fuse
from reidlib.models.ssan import SSAN, Codes, evaluations, similarities, word_attention
from reidlib.papers import driver
from reidlib.papers.intervals import RESAMPLES, Difference
from reidlib.papers.ssan.rows import FIGURE_7, FIXED_MARGINS
from reidlib.papers.text_to_image import encode_images
from reidlib.run.session import Session
from reidlib.train import Compute

TITLES = {"cuhk-pedes": "CUHK-PEDES", "icfg-pedes": "ICFG-PEDES"}
DOMAIN_TITLES = {
    "cuhk-pedes-ssm": "SSM (CUHK-SYSU)",
    "cuhk-pedes-cuhk03": "CUHK03",
    "cuhk-pedes-market": "Market-1501",
    "cuhk-pedes-viper": "VIPeR",
    "cuhk-pedes-cuhk01": "CUHK01",
}


@dataclass(frozen=True)
class Thing:
    """Something sentences name: a pattern of words, whose first one is looked at; and the parts
    that the paper says it belongs to (Figures 8 and 9), "" where it says nothing.
    """

    name: str
    pattern: str
    paper: str = ""


_BAG = "(?:bag|handbag|purse)"
_ITS = "(?:his|her|their|the|one|a)(?: left| right| other)?"
FIXED = (
    Thing("hat, cap, beanie", "(?:hat|cap|beanie)"),
    Thing("hair", "hair"),
    Thing("shirt, t-shirt", "(?:shirt|t-shirt)", "2, 3"),
    Thing("dress", "dress(?! (?:shirt|pants|shoes))", "2 to 5"),
    Thing("jeans, pants, trousers", "(?:jeans|pants|trousers)"),
    Thing("shoes, sneakers, boots", "(?:shoes|sneakers|boots)"),
)
MOVING = (
    Thing("bag over the shoulder", f"{_BAG} (?:slung )?(?:over|on) {_ITS} shoulders?", "2, 3"),
    Thing("bag in the hand", f"{_BAG} in {_ITS} hands?", "4, 5"),
)


@dataclass(frozen=True)
class Trained:
    """A finished run's model with its data and the codes of the test images."""

    model: SSAN
    data: TextImageData
    images: Codes

    @property
    def device(self) -> torch.device:
        return self.images.f_g.device


@dataclass(frozen=True)
class WordParts:
    """A test sentence as the model reads it; parts[i, k] is s_i^k of Eq 8, part 0 at the top."""

    caption: int
    pid: int  # of the person that is described
    words: list[str]
    known: list[bool]  # whether the word is in the vocabulary
    parts: np.ndarray  # float (words, K), 0..1


class Pair(NamedTuple):
    """A sentence and an image: parts[i, k] is s_i^k of word i, as in `WordParts`.

    shares: float (K,), what each part adds to S_l = cos(v_l, t_l); they sum to it.
    """

    words: list[str]
    known: list[bool]
    parts: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class MarginSweep:
    """Figure 7 on one dataset: Top-1 in percent, and adaptive minus fixed; None = not run."""

    margins: list[str]
    fixed: list[float | None]
    adaptive: float | None
    differences: list[Difference | None]


# ------------------------------------------------------------------ the trained model


def experiment(session: Session, dataset: str) -> Experiment | None:
    """SSAN as a whole, the last row of Table I, on "cuhk-pedes" or "icfg-pedes"; None in profiles
    that do not run it there.
    """
    cell = driver.cell("ssan", session.profile, 1, "ssan", f"{TITLES[dataset]} Rank-1")
    return cell.experiments[0] if cell else None


def datasets_of(session: Session) -> list[str]:
    """The datasets that the profile trains on."""
    return common.trained_on(session, "ssan", (*TITLES, TRANSFER))


def load_trained(session: Session, dataset: str) -> Trained | None:
    """SSAN as trained on a dataset, on the session's device; None if it has not been yet."""
    planned, device = experiment(session, dataset), Compute.choose(session.device).device
    found = common.finished(session, planned, device) if planned else None
    if found is None:
        return None
    model, data = found
    return Trained(model, data, encode_images(model, data.test))


def scores(trained: Trained, texts: Codes) -> Tensor:
    """S_g + S_l + S_n of captions and all test images: float (captions, images), on the CPU."""
    weights = list(evaluations(trained.model.cfg).values())[-1]
    return fuse(similarities(trained.images, texts), weights).cpu()


@torch.inference_mode()
def search(trained: Trained, sentence: str, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The `k` test images that fit a sentence best: rows of the test split, and their scores."""
    text = common.as_text(trained.data, sentence)
    texts = trained.model.encode_text(text.tokens.to(trained.device), text.lengths)
    rows, found = common.best_matches(scores(trained, texts), k)
    return rows[0], found[0]


@torch.inference_mode()
def retrievals(trained: Trained, captions: Sequence[int], k: int = 5) -> list[common.Retrieval]:
    """What test captions, by their number, find."""
    split = trained.data.test
    text = text_of(split, torch.as_tensor(list(captions)))
    texts = trained.model.encode_text(text.tokens, text.lengths)
    return common.retrievals(split, captions, scores(trained, texts), k)


# ------------------------------------------------------------------ words and parts


@torch.inference_mode()
def word_parts(trained: Trained, captions: Sequence[int]) -> list[WordParts]:
    """Word attention of test captions, by their number."""
    split, index = trained.data.test, trained.data.vocabulary.index
    pids = split.caption_pids
    found = []
    for rows in torch.as_tensor(list(captions), dtype=torch.int64).split(256):
        text = text_of(split, rows)
        attention = word_attention(trained.model, text.tokens, text.lengths)
        attention = attention.float().cpu().numpy()
        for n, (caption, length) in enumerate(zip(rows.tolist(), text.lengths, strict=True)):
            words = read(split.captions[caption], int(length))
            known = [word in index for word in words]
            parts = attention[n, :length]
            found.append(WordParts(caption, int(pids[caption]), words, known, parts))
    return found


@torch.inference_mode()
def pair(trained: Trained, sentence: str, image: int) -> Pair:
    """Any sentence beside a test image, by its row. Raises `UsageError` without part features."""
    model, data = trained.model, trained.data
    if not model.cfg.pfl:
        raise UsageError("this SSAN has no part features (pfl=False): no word goes to a part")
    text = common.as_text(data, sentence)
    tokens = text.tokens.to(trained.device)
    length = int(text.lengths[0])
    attention = word_attention(model, tokens, text.lengths)[0, :length]
    words = read(sentence, length)
    v_l = trained.images.f_l[image].float()
    t_l = model.encode_text(tokens, text.lengths).f_l[0].float()
    shares = (v_l * t_l).sum(1) / (v_l.norm() * t_l.norm()).clamp_min(1e-8)
    return Pair(
        words,
        [word in data.vocabulary.index for word in words],
        attention.float().cpu().numpy(),
        shares.cpu().numpy(),
    )


def read(sentence: str, length: int) -> list[str]:
    """The first `length` words of a sentence; one that holds no word is a single unknown one."""
    return tokenize(sentence)[:length] or ["?"]


def mentions(words: Sequence[str], thing: Thing) -> list[int]:
    """Where a thing is named among the words of a sentence."""
    # Words hold no blank, so that blanks count them.
    text = " ".join(words)
    matches = re.finditer(rf"(?<!\S){thing.pattern}(?!\S)", text)
    return [text.count(" ", 0, match.start()) for match in matches]


def first_with(captions: Sequence[str], things: Sequence[Thing]) -> int | None:
    """The first caption that names all of the things, by its number; None if none does."""
    for number, caption in enumerate(captions):
        words = tokenize(caption)
        if all(mentions(words, thing) for thing in things):
            return number
    return None


def part_table(sentences: Sequence[WordParts], things: Sequence[Thing]) -> pd.DataFrame:
    """Mean s^k of every part over all mentions of each thing, and over all words.

    The center is the mean stripe of a mention, weighted by s^k.
    """
    every = [(s.pid, s.parts) for s in sentences]
    rows = [_part_row("all words", "", every)]
    for thing in things:
        named = [(s.pid, s.parts[mentions(s.words, thing)]) for s in sentences]
        rows.append(_part_row(thing.name, thing.paper, named))
    return pd.DataFrame(rows)


def _part_row(name: str, paper: str, parts: Sequence[tuple[int, np.ndarray]]) -> dict[str, object]:
    values = np.concatenate([p for _, p in parts])
    count, K = values.shape
    means = values.mean(0) if count else np.full(K, np.nan)
    highest = sorted(means.argsort(kind="stable")[-2:] + 1) if count and name != "all words" else ()
    return {
        "words": name,
        "mentions": count,
        "people": len({pid for pid, p in parts if len(p)}),
        **{f"part {k}": mean for k, mean in enumerate(means, start=1)},
        "center": _centers(values).mean() if count else np.nan,
        "two highest": ", ".join(map(str, highest)) or "–",
        "high in the paper": paper or "–",
    }


def bag_moves(sentences: Sequence[WordParts]) -> str:
    """How far the center moves from a bag over the shoulder to one in the hand, as a sentence.

    The interval is a bootstrap over people: sentences about one person are alike.
    """
    people = sorted({s.pid for s in sentences})
    sums, counts = np.zeros((2, 2, len(people)))  # each (kind of bag, person)
    for sentence in sentences:
        person = people.index(sentence.pid)
        for kind, thing in enumerate(MOVING):
            centers = _centers(sentence.parts[mentions(sentence.words, thing)])
            sums[kind, person] += centers.sum()
            counts[kind, person] += len(centers)
    if (counts > 0).sum(1).min() < 2:
        return "Fewer than two people with a bag at each of the two places: nothing to compare."
    counted = counts.any(0)
    sums, counts = sums[:, counted], counts[:, counted]
    n = sums.shape[1]
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    drawn = draws @ counts.T
    full = drawn.all(1)  # resamples with both kinds of bags
    means = (draws @ sums.T)[full] / drawn[full]
    shoulder, hand = sums.sum(1) / counts.sum(1)
    low, high = np.quantile(means[:, 1] - means[:, 0], [0.025, 0.975])
    return (
        "From a bag over the shoulder to one in the hand, the center moves by "
        f"{hand - shoulder:+.2f} stripes (95 % interval {low:+.2f} to {high:+.2f}, {n} people; "
        "down is positive)."
    )


def _centers(parts: np.ndarray) -> np.ndarray:
    """sum k s^k / sum s^k of every row of float (n, K): stripes from the top, 1 to K."""
    return parts @ np.arange(1, parts.shape[1] + 1) / parts.sum(1)


def examples(trained: Trained) -> dict[str, tuple[WordParts, list[int]] | None]:
    """The first test sentence of each kind, with the positions of the words it was searched for:
    one that names fixed parts from head to feet, and things that move; None if there is none.
    """
    captions = trained.data.test.captions
    wanted = {"a hat, a shirt, trousers and shoes": (FIXED[0], FIXED[2], FIXED[4], FIXED[5])}
    wanted |= {f"a {thing.name}": (thing,) for thing in MOVING}
    found: dict[str, tuple[WordParts, list[int]] | None] = {}
    for what, things in wanted.items():
        number = first_with(captions, things)
        found[what] = None
        if number is not None:
            (sentence,) = word_parts(trained, [number])
            marked = [n for thing in things for n in mentions(sentence.words, thing)]
            found[what] = sentence, marked
    return found


def picture_of(trained: Trained, caption: int) -> np.ndarray:
    """The picture that a test caption describes, uint8 (h, w, 3)."""
    row = int(trained.data.test.image_of[caption])
    return common.pictures(trained.data.dataset, [row])[0]


# ------------------------------------------------------------------ the data


def count_table(datasets: Mapping[str, Dataset]) -> pd.DataFrame:
    """Images, people and sentences of every split of CUHK-PEDES and ICFG-PEDES, and published."""
    rows = []
    for name, module in (("cuhk-pedes", cuhk_pedes), ("icfg-pedes", icfg_pedes)):
        for split, frame in datasets[name].splits.items() if name in datasets else ():
            expected = module.EXPECTED[split]
            rows.append(
                {
                    "dataset": TITLES[name],
                    "split": split,
                    "images": len(frame),
                    "people": frame["pid"].nunique(),
                    "sentences": int(frame["captions"].map(len).sum()),
                    "published images": expected.images,
                    "published people": expected.ids,
                    "published sentences": expected.captions,
                }
            )
    return pd.DataFrame(rows)


def sentence_lengths(dataset: Dataset) -> list[int]:
    """Words of every caption of a dataset."""
    columns = [frame["captions"] for frame in dataset.splits.values()]
    return [len(tokenize(c)) for column in columns for captions in column for c in captions]


def domain_table(datasets: Mapping[str, Dataset]) -> pd.DataFrame:
    """What CUHK-PEDES and the transfer of Table V have of each domain."""
    rows = []
    for name, folders in DOMAINS.items():
        row: dict[str, object] = {"domain": DOMAIN_TITLES[name], "folders": ", ".join(folders)}
        if TRANSFER in datasets:
            row["in Table V"] = "trained on" if name == SOURCE else "tested on"
        frames = datasets["cuhk-pedes"].splits.values() if "cuhk-pedes" in datasets else ()
        parts = [frame[frame["source"].isin(folders)] for frame in frames]
        row["images"] = sum(len(part) for part in parts)
        row["people"] = sum(part["pid"].nunique() for part in parts)
        if TRANSFER in datasets:
            frame = datasets[TRANSFER].splits[_split_of(name)]
            row["images in Table V"] = len(frame)
            row["people in Table V"] = frame["pid"].nunique()
            row["sentences in Table V"] = int(frame["captions"].map(len).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def domain_caption(datasets: Mapping[str, Dataset]) -> str:
    """What `domain_table` shows; where the two have worlds of their own, it says so."""
    text = "The domains of CUHK-PEDES, all splits together"
    if TRANSFER not in datasets:
        return f"{text}; one of them is missing, so there is no transfer."
    roots = {datasets[name].root for name in (TRANSFER, "cuhk-pedes") if name in datasets}
    own = " (of a world of its own, which has more test people)" if len(roots) > 1 else ""
    return f"{text}, and the splits that Table V uses{own}."


def domain_pictures(transfer: Dataset, number: int = 10) -> dict[str, list[np.ndarray]]:
    """Pictures spread evenly over each domain of Table V, by the domain's title."""
    found = {}
    for name, title in DOMAIN_TITLES.items():
        split = _split_of(name)
        rows = common.spread(number, len(transfer.splits[split]))
        found[title] = common.pictures(transfer, rows, split)
    return found


def _split_of(domain: str) -> str:
    return "train" if domain == SOURCE else domain


# ------------------------------------------------------------------ Figure 7


def margins(session: Session) -> dict[str, MarginSweep]:
    """Adaptive against fixed margins of the weak terms, as measured so far, by dataset's title.

    Empty in profiles that do not run it; in others, what is missing is None.
    """
    names = [f"{margin:g}" for margin in FIXED_MARGINS]
    found = {}
    for dataset, title in TITLES.items():
        cells = {
            name: driver.cell("ssan", session.profile, FIGURE_7, dataset, name, session.seeds)
            for name in ("adaptive", *names)
        }
        if not any(cells.values()):
            continue
        measured = {n: common.measurements(session, cell) for n, cell in cells.items() if cell}
        adaptive = measured.get("adaptive", [])
        found[title] = MarginSweep(
            names,
            [common.mean_of(measured.get(name, [])) for name in names],
            common.mean_of(adaptive),
            [common.difference(adaptive, measured.get(name, [])) for name in names],
        )
    return found


def margin_table(found: Mapping[str, MarginSweep]) -> pd.DataFrame:
    """The numbers behind Figure 7, a row per dataset and fixed margin."""
    rows = []
    for title, sweep in found.items():
        for margin, fixed, difference in zip(
            sweep.margins, sweep.fixed, sweep.differences, strict=True
        ):
            run = difference is not None
            rows.append(
                {
                    "dataset": title,
                    "fixed margin": margin,
                    "Top-1, fixed": fixed,
                    "Top-1, adaptive": sweep.adaptive,
                    "adaptive − fixed": difference.value if run else None,
                    "95 % from": difference.low if run else None,
                    "95 % to": difference.high if run else None,
                    "adaptive is better": common.in_words(difference) if run else "not run",
                }
            )
    return pd.DataFrame(rows)


def margin_summary(found: Mapping[str, MarginSweep]) -> str:
    """How the paper's statement, adaptive is better on both datasets, came out here."""
    parts = []
    for title, sweep in found.items():
        words = [common.in_words(d) for d in sweep.differences if d is not None]
        counts = [f"{words.count(word)} {word}" for word in dict.fromkeys(words)]
        parts.append(f"{title}: {', '.join(counts) or 'not run'}")
    return "; ".join(parts) + "."
