"""A text-to-image dataset made ready for training: images on the device, captions as numbers."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.dataset import Dataset, captions_frame
from reidlib.data.encode import EncodedText, encode_captions
from reidlib.data.images import DeviceImages, image_cache
from reidlib.data.tagger import Tagger, load_tagger
from reidlib.data.text import Vocabulary
from reidlib.files import locked, write_atomic

# Raised when tokenization, tagging or chunking changes, so that stored encodings are made anew.
_ENCODING_VERSION = 1


@dataclass(frozen=True)
class TextImageSplit:
    """One split. `image_of[i]` is the row in `frame` that caption i describes."""

    frame: pd.DataFrame
    captions: list[str]
    image_of: Tensor  # int64 (captions,)
    labels: Tensor  # int64 (captions,): identity of the caption, 0-based
    images: DeviceImages
    text: EncodedText

    @property
    def caption_pids(self) -> np.ndarray:
        return self.frame["pid"].to_numpy()[self.image_of.numpy()]

    @property
    def image_pids(self) -> np.ndarray:
        return self.frame["pid"].to_numpy()


@dataclass(frozen=True)
class TextImageData:
    """Training and test split of a dataset with the vocabulary of the training split."""

    dataset: Dataset
    vocabulary: Vocabulary
    train: TextImageSplit
    test: TextImageSplit
    ids: int  # identities in the training split
    tagger: str  # the part-of-speech tagger that found the noun phrases


class Text(NamedTuple):
    """Captions as int64 tensors on the CPU, where packing needs them."""

    tokens: Tensor  # (B, L), 0 = padding
    lengths: Tensor  # (B,)
    phrases: Tensor  # (R, Lp), 0 = padding
    phrase_lengths: Tensor  # (R,)
    phrase_offsets: Tensor  # (B + 1,): caption i has the phrases offsets[i]:offsets[i + 1]


@dataclass(frozen=True)
class Batch:
    """B matched image-caption pairs."""

    images: Tensor  # float (B, 3, h, w), normalized
    image_ids: Tensor  # int64 (B,): captions of one image share it
    labels: Tensor  # int64 (B,)
    text: Text

    def __len__(self) -> int:
        return len(self.labels)


def prepare(
    dataset: Dataset,
    *,
    image_size: tuple[int, int],
    cache_dir: Path,
    device: str,
    max_tokens: int = 100,
) -> TextImageData:
    """Decode, encode and move a dataset to `device`; what takes long is cached in `cache_dir`.

    Raises `DataError` for images that cannot be read (names the file).
    """
    tagger = load_tagger()
    train_captions = [c for row in dataset.splits["train"]["captions"] for c in row]
    vocabulary = Vocabulary.build(train_captions)
    splits = {}
    for name in ("train", "test"):
        frame = dataset.splits[name]
        captions = captions_frame(frame)
        pixels = image_cache(
            dataset.image_paths(name), image_size, cache_dir, jobs=os.cpu_count() or 1
        )
        splits[name] = TextImageSplit(
            frame=frame,
            captions=captions["caption"].tolist(),
            image_of=torch.tensor(captions["image"].to_numpy(np.int64)),
            labels=torch.tensor(captions["label"].to_numpy(np.int64)),
            images=DeviceImages(pixels, device),
            text=_encode(captions["caption"].tolist(), vocabulary, tagger, max_tokens, cache_dir),
        )
    return TextImageData(
        dataset=dataset,
        vocabulary=vocabulary,
        train=splits["train"],
        test=splits["test"],
        ids=dataset.splits["train"]["label"].nunique(),
        tagger=tagger.name,
    )


def shuffled_batches(
    split: TextImageSplit,
    generator: torch.Generator,
    *,
    batch_size: int,
    flip: bool,
    crop_pad: int,
    device: str,
) -> Iterator[Batch]:
    """One epoch of image-caption pairs in random order; the last incomplete batch is dropped."""
    order = torch.randperm(len(split.labels), generator=generator)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        captions = order[start : start + batch_size]
        image_ids = split.image_of[captions]
        yield Batch(
            images=split.images.batch(image_ids, flip=flip, crop_pad=crop_pad, generator=generator),
            image_ids=image_ids.to(device),
            labels=split.labels[captions].to(device),
            text=text_of(split, captions),
        )


def text_of(split: TextImageSplit, captions: Tensor) -> Text:
    """The captions at int64 (B,) positions as tensors, padded no longer than they need."""
    return to_text(split.text.take(captions.numpy()))


def to_text(text: EncodedText) -> Text:
    return Text(
        *(torch.from_numpy(np.ascontiguousarray(getattr(text, name))) for name in Text._fields)
    )


def _encode(
    captions: Sequence[str],
    vocabulary: Vocabulary,
    tagger: Tagger,
    max_tokens: int,
    cache_dir: Path,
) -> EncodedText:
    """`encode_captions`, stored: tagging 68,000 captions takes a minute."""
    digest = hashlib.sha256()
    for part in (str(_ENCODING_VERSION), tagger.name, str(max_tokens), *vocabulary.words):
        digest.update(part.encode() + b"\0")
    for caption in captions:
        digest.update(caption.encode() + b"\0")
    path = cache_dir / f"text-{digest.hexdigest()[:16]}.npz"
    fields = ("tokens", "lengths", "phrases", "phrase_lengths", "phrase_offsets")
    with locked(path.with_suffix(".lock")):
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                return EncodedText(
                    **{name: file[name] for name in fields},
                    warnings=tuple(file["warnings"].tolist()),
                )
        text = encode_captions(captions, vocabulary, tagger, max_tokens=max_tokens)
        buffer = BytesIO()
        arrays = {name: getattr(text, name) for name in fields}
        np.savez(buffer, **arrays, warnings=np.array(text.warnings, dtype=np.str_))
        write_atomic(path, buffer.getvalue())
    return text
