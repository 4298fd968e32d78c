"""Captions for image datasets: CUHK-PEDES describes some of their images (GLA section 4.1).

The pictures of CUHK-PEDES come from Market-1501, CUHK03, CUHK01, VIPeR and CUHK-SYSU. Its
`file_path` names the source by its first folder and the image by its file name; by these two,
without the file type, captions are joined to the images of the source dataset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.batches.samplers import Choices, caption_choices
from reidlib.data.dataset import Dataset, captions_frame
from reidlib.data.formats import checks
from reidlib.data.formats.cuhk_pedes import ANNOTATION, EXCERPT, FOLDER
from reidlib.errors import DataError

_BESIDE = (FOLDER, ANNOTATION)


@dataclass(frozen=True)
class JoinedCaptions:
    """The captions of a split of images.

    `captions` is a table as `captions_frame` gives, a row per caption: `image` (row number in the
    split), pid, label, caption. `choices` says for each image which of them may go with it: its
    own, or, if it has none, those of the same person in the same camera, or those of the same
    person. `described` counts images with a caption of their own; `notes` are for reports.
    """

    captions: pd.DataFrame
    choices: Choices
    described: int
    notes: tuple[str, ...]


def find_annotation(dataset: Dataset) -> Path:
    """The file captions are read from: the excerpt in the dataset's folder, else the annotation
    in a CUHK-PEDES folder beside it. Raises `DataError` where there is neither."""
    places = (dataset.root / EXCERPT, dataset.root.parent.joinpath(*_BESIDE))
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"{dataset.name}: captions come from CUHK-PEDES, and there is neither {places[1]} nor "
        f"{places[0]} (the entries of reid_raw.json about this dataset's images); only the "
        "annotation is needed, not the images"
    )


def join_captions(
    dataset: Dataset,
    split: str = "train",
    annotation: Path | None = None,
    names: Mapping[str, str] | None = None,
) -> JoinedCaptions:
    """Find the captions of the images of `split`; images without one borrow a person's other one.

    Args:
        dataset: an image dataset; its `source` column says where CUHK-PEDES keeps its images.
        split: whose images to describe.
        annotation: reid_raw.json, or an excerpt of it; by default see `find_annotation`.
        names: for copies whose images are called otherwise in CUHK-PEDES: its `file_path` ->
            "source/name" as the dataset has it.

    Raises:
        DataError: no annotation, a malformed one, captions that match no image at all, persons of
            the split without any caption; names the file and says what was expected.
    """
    annotation = annotation or find_annotation(dataset)
    sources = {source for table in dataset.splits.values() for source in table["source"]}
    described = _read(annotation, sources, names or {})
    table = dataset.splits[split]
    keys = [_key(f"{s}/{PurePosixPath(p).name}") for s, p in zip(
        table["source"], table["path"], strict=True)]  # fmt: skip
    matched = [described.get(key, []) for key in keys]
    number = sum(map(bool, matched))
    if not number:
        raise DataError(
            f"{annotation}: none of its {len(described):,} described images of "
            f"{', '.join(sorted(sources))} is in {dataset.root} ({split}). It names "
            f"{_some(described)}; the dataset has {_some(keys)}. Images are matched by the first "
            "folder and the file name."
        )
    everywhere = {
        _key(f"{source}/{PurePosixPath(path).name}")
        for other in dataset.splits.values()
        for source, path in zip(other["source"], other["path"], strict=True)
    }
    lost = sorted(set(described) - everywhere)
    notes = [f"{number:,} of {len(table):,} images have captions of their own, others borrow one"]
    if lost:
        notes.append(
            f"{len(lost):,} of {len(described):,} described images are not in the dataset, "
            f"for instance {lost[0]}"
        )
    labels = table["label"] if "label" in table else np.zeros(len(table), np.int64)
    with_captions = table.assign(label=labels, captions=pd.Series(matched, dtype=object))
    captions = captions_frame(with_captions)
    try:
        choices = caption_choices(
            captions["image"].to_numpy(), table["pid"].to_numpy(), table["camid"].to_numpy()
        )
    except DataError as error:
        raise DataError(f"{annotation}, {dataset.name}, {split}: {error}") from error
    return JoinedCaptions(captions, choices, number, tuple(notes))


def _key(path: str) -> str:
    """First folder and file name without its type: `Market/0001_c1s1_001051_01`."""
    place = PurePosixPath(path)
    return f"{place.parts[0]}/{place.stem}"


def _some(keys: Any) -> str:
    return ", ".join(sorted(keys)[:2]) or "nothing"


def _read(annotation: Path, sources: set[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Captions by key of the images in the folders `sources`; empty captions are left out."""
    entries = checks.read_json(annotation, "an array of objects with file_path and captions")
    if not isinstance(entries, list):
        raise DataError(
            f"{annotation}: expected an array of objects with file_path and captions, found a "
            f"JSON {type(entries).__name__}"
        )
    described: dict[str, list[str]] = {}
    for number, entry in enumerate(entries):
        path = entry.get("file_path") if isinstance(entry, dict) else None
        captions = entry.get("captions") if isinstance(entry, dict) else None
        problem = "expected file_path, a string, and captions, a list of strings"
        if isinstance(path, str) and isinstance(captions, list):
            captions, problem = checks.read_captions(captions)
            problem = problem or checks.path_problem(path)
        if problem:
            raise DataError(
                f"{annotation}: entry {number} (counted from 0): {problem}; it is "
                f"{checks.shown(entry)}"
            )
        path = names.get(path, path)
        texts = [caption for caption in captions if caption.strip()]
        if path.partition("/")[0] in sources and texts:
            described.setdefault(_key(path), []).extend(texts)
    return described
