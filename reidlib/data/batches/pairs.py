"""A text-to-image dataset made ready for training: images on the device, captions as numbers."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.images import DeviceImages, draw, image_cache
from reidlib.data.batches.masks import DeviceMasks, mask_cache, mask_paths
from reidlib.data.dataset import Dataset, captions_frame
from reidlib.data.formats.release_tokens import load as release_words
from reidlib.data.language.encoding import EncodedText, encode_captions
from reidlib.data.language.tagger import Tagger, load_tagger
from reidlib.data.language.words import Vocabulary
from reidlib.devices import send
from reidlib.files import digest_of, locked, read_arrays, write_atomic

# Raised when tokenization, tagging or chunking changes, so that stored encodings are made anew.
_ENCODING_VERSION = 2


@dataclass(frozen=True)
class TextImageSplit:
    """One split. `image_of[i]` is the row in `frame` that caption i describes."""

    frame: pd.DataFrame
    captions: list[str]
    image_of: Tensor  # int64 (captions,)
    labels: Tensor  # int64 (captions,): identity of the caption, 0-based
    images: DeviceImages
    text: EncodedText
    masks: DeviceMasks | None = None  # of the body parts, where they were asked for

    @property
    def caption_pids(self) -> np.ndarray:
        return self.frame["pid"].to_numpy()[self.image_of.numpy()]

    @property
    def image_pids(self) -> np.ndarray:
        return self.frame["pid"].to_numpy()


@dataclass(frozen=True)
class TextImageData:
    """Training and test splits of a dataset with the vocabulary of the training split."""

    dataset: Dataset
    vocabulary: Vocabulary
    train: TextImageSplit
    tests: dict[str, TextImageSplit]  # by name; more than "test" alone where domains are compared
    ids: int  # identities in the training split
    tagger: str  # the part-of-speech tagger that found the noun phrases

    @property
    def test(self) -> TextImageSplit:
        """The test split, the first one of several."""
        return next(iter(self.tests.values()))


class Text(NamedTuple):
    """Captions as int64 tensors: words on the device, the rest on the CPU, as packing wants it."""

    tokens: Tensor  # (B, L), 0 = padding; on the device
    lengths: Tensor  # (B,)
    phrases: Tensor  # (R, Lp), 0 = padding; on the device
    phrase_lengths: Tensor  # (R,)
    phrase_offsets: Tensor  # (B + 1,): caption i has the phrases offsets[i]:offsets[i + 1]


@dataclass(frozen=True)
class Batch:
    """B matched image-caption pairs."""

    images: Tensor  # float (B, 3, h, w), normalized
    image_ids: Tensor  # int64 (B,): captions of one image share it
    labels: Tensor  # int64 (B,)
    text: Text
    weak: Text | None = None  # captions of the same people that go along
    masks: Tensor | None = None  # uint8 (B, h, w): parts of the body, 0 = background

    def __len__(self) -> int:
        return len(self.labels)


def prepare(
    dataset: Dataset,
    *,
    image_size: tuple[int, int],
    cache_dir: str | Path,
    device: str = "cpu",
    max_tokens: int = 100,
    kinds: Sequence[str] = ("np",),
    masks: bool = False,
    release_tokens: bool = False,
) -> TextImageData:
    """Decode, encode and move a dataset to `device`; what takes long is cached in `cache_dir`.

    Every split but `train` and `val` is a test split. kinds: of the phrases, see
    `reidlib.data.language.phrases`. masks: read those of the training images, too. release_tokens:
    captions are the words that the annotation has for them.

    Raises `DataError` for images that cannot be read, and for masks and tokens that are not there
    (names the file).
    """
    cache_dir, jobs = Path(cache_dir), os.cpu_count() or 1
    part_paths = mask_paths(dataset, "train") if masks else None  # fails before anything is done
    tagger = load_tagger()
    words = release_words(dataset) if release_tokens else {}
    train_captions = [c for row in dataset.splits["train"]["captions"] for c in row]
    vocabulary = Vocabulary.of(words["train"]) if words else Vocabulary.build(train_captions)
    splits = {}
    for name, frame in dataset.splits.items():
        if name == "val":
            continue
        captions = captions_frame(frame)
        texts = captions["caption"].tolist()
        pixels = image_cache(dataset.image_paths(name), image_size, cache_dir, jobs=jobs)
        parts = None
        if part_paths is not None and name == "train":
            parts = DeviceMasks(mask_cache(part_paths, image_size, cache_dir, jobs=jobs), device)
        splits[name] = TextImageSplit(
            frame=frame,
            captions=texts,
            image_of=torch.tensor(captions["image"].to_numpy(np.int64)),
            labels=torch.tensor(captions["label"].to_numpy(np.int64)),
            images=DeviceImages(pixels, device),
            text=encoded(texts, vocabulary, tagger, max_tokens, cache_dir, kinds, words.get(name)),
            masks=parts,
        )
    return TextImageData(
        dataset=dataset,
        vocabulary=vocabulary,
        train=splits.pop("train"),
        tests=splits,
        ids=dataset.splits["train"]["label"].nunique(),
        tagger=tagger.name,
    )


def pairs(
    split: TextImageSplit,
    captions: Tensor,
    generator: torch.Generator,
    *,
    flip: bool,
    crop_pad: int,
    device: str,
    weak: Tensor | None = None,
) -> Batch:
    """The captions at int64 (B,) positions, each with its image; those at `weak` go along."""
    image_ids = split.image_of[captions]
    chance = draw(len(captions), flip, crop_pad, generator)
    return Batch(
        images=split.images.apply(image_ids, *chance, crop_pad),
        image_ids=send(image_ids, device),
        labels=send(split.labels[captions], device),
        text=text_of(split, captions),
        weak=None if weak is None else text_of(split, weak),
        masks=None if split.masks is None else split.masks.apply(image_ids, *chance, crop_pad),
    )


def text_of(split: TextImageSplit, captions: Tensor) -> Text:
    """The captions at int64 (B,) positions as tensors, padded no longer than they need.

    Their words are on the device of the split's images.
    """
    return to_text(split.text.take(captions.numpy()), split.images.device)


def to_text(text: EncodedText, device: str | torch.device = "cpu") -> Text:
    """Encoded captions as tensors, their words on `device`."""
    arrays = (np.ascontiguousarray(getattr(text, name)) for name in Text._fields)
    on_cpu = Text(*map(torch.from_numpy, arrays))
    device = torch.device(device)
    return on_cpu._replace(tokens=send(on_cpu.tokens, device), phrases=send(on_cpu.phrases, device))


def encoded(
    captions: Sequence[str],
    vocabulary: Vocabulary,
    tagger: Tagger,
    max_tokens: int,
    cache_dir: Path,
    kinds: Sequence[str] = ("np",),
    words_of: Sequence[Sequence[str]] | None = None,
) -> EncodedText:
    """`encode_captions`, stored: tagging 68,000 captions takes a minute."""
    digest = hashlib.sha256()
    what = (str(_ENCODING_VERSION), tagger.name, str(max_tokens), "+".join(kinds))
    for part in (*what, *vocabulary.words):
        digest.update(part.encode() + b"\0")
    for caption in captions:
        digest.update(caption.encode() + b"\0")
    if words_of is not None:
        digest.update(json.dumps(words_of).encode())
    path = cache_dir / f"text-{digest.hexdigest()[:16]}.npz"
    fields = ("tokens", "lengths", "phrases", "phrase_lengths", "phrase_offsets")
    with locked(path.with_suffix(".lock")):
        stored = read_arrays(path) or {}
        if str(stored.pop("seal", "")) == digest_of(stored):
            return EncodedText(
                **{name: stored[name] for name in fields},
                warnings=tuple(stored["warnings"].tolist()),
            )
        text = encode_captions(captions, vocabulary, tagger, max_tokens, kinds, words_of)
        buffer = BytesIO()
        arrays = {name: getattr(text, name) for name in fields}
        arrays["warnings"] = np.array(text.warnings, dtype=np.str_)
        np.savez(buffer, **arrays, seal=np.array(digest_of(arrays)))
        write_atomic(path, buffer.getvalue())
    return text
