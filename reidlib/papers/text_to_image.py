"""How methods that search images by sentences are tested: what their papers share."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data.batches.pairs import TextImageData, TextImageSplit, text_of
from reidlib.metrics.first_match import top_k
from reidlib.models.parts.codes import concatenate
from reidlib.papers.driver import Evaluated


@torch.inference_mode()
def encode_images(model: nn.Module, split: TextImageSplit, batch_size: int = 256) -> Any:
    """Codes of all images of a split, in their order and in fp32; leaves the model in evaluation
    mode."""
    model.eval()
    rows = torch.arange(len(split.frame)).split(batch_size)
    return concatenate([model.encode_images(split.images.batch(part)) for part in rows])


@torch.inference_mode()
def text_blocks(
    model: nn.Module, split: TextImageSplit, phrases: bool, batch_size: int = 256
) -> Iterator[tuple[Tensor, Any]]:
    """All captions of a split in blocks: their numbers, int64 (B,), and their codes in fp32.

    phrases: whether the model's `encode_text` takes the noun phrases besides the words.
    """
    model.eval()
    for rows in torch.arange(len(split.captions)).split(batch_size):
        text = text_of(split, rows)
        yield rows, model.encode_text(*(text if phrases else text[:2]))


def evaluated(
    data: TextImageData, ranks: Mapping[str, Mapping[str, np.ndarray]], headline: str
) -> Evaluated:
    """The outcome of a test on every test split.

    Args:
        ranks: per test split and evaluation the rank of each caption's first correct image, int32
            (captions,).
        headline: the evaluation that the last line of a training shows.
    """
    several = len(ranks) > 1
    by_name = {
        f"{split}: {name}" if several else name: (split, values)
        for split, found in ranks.items()
        for name, values in found.items()
    }
    evaluations = {name: top_k(values) for name, (_, values) in by_name.items()}
    shown = headline if headline in evaluations else list(evaluations)[-1]
    return Evaluated(
        evaluations=evaluations,
        ranks={name: values for name, (_, values) in by_name.items()},
        people={name: data.tests[split].caption_pids for name, (split, _) in by_name.items()},
        headline=f"Top-1 {evaluations[shown]['Top-1']:.2f} ({shown})",
        queries=sum(len(split.captions) for split in data.tests.values()),
        gallery=sum(len(split.frame) for split in data.tests.values()),
        notes={"tagger": data.tagger, "vocabulary": len(data.vocabulary), "ids": data.ids},
    )
