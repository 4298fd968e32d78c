"""Reading datasets of pedestrians described by sentences: CUHK-PEDES, ICFG-PEDES, RSTPReid.

All three come as one JSON array with an object per image (split, captions, file path, id) and a
folder of images. What differs is in a `Format` each, kept in a module per dataset. Where the file
has tokens, too, they are left to `release_tokens`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes, labels
from reidlib.data.formats import checks
from reidlib.data.formats.checks import MAX_ID, Counts, shown
from reidlib.errors import DataError

IMAGES = "imgs"
_NUMBERS = {1: "one caption", 2: "two captions"}


@dataclass(frozen=True)
class Format:
    """What one dataset's release looks like.

    `expected` has the published counts of its splits, in their order. `annotations` are the names
    the annotation file goes by. `path_field` is its field for the image's path below imgs/,
    `captions` how many an image usually has, `first_id` the smallest id, `source` where all images
    were taken from (None: the first folder of the path says it). `mistaken` maps files that are
    taken for the annotation to a sentence about them; `advice` is what to say of wrong counts.
    """

    name: str
    folder: str
    annotations: tuple[str, ...]
    tree: str
    expected: Mapping[str, Counts]
    path_field: str = "file_path"
    captions: int = 2
    first_id: int = 0
    source: str | None = None
    mistaken: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.expected)

    @property
    def content(self) -> str:
        """The annotation in words."""
        fields = f"split, captions, {self.path_field}, id"
        return f"an array with one object per image: {fields}"


def load(form: Format, root: Path, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root` / its folder.

    All captions of an image are kept. An image without a caption keeps one empty caption, and the
    dataset a note. Real data (no SYNTHETIC.json) must have the published number of images,
    identities and captions; generated data those it was written with.

    Args:
        form: the dataset.
        root: the folder that contains the dataset's folder.
        check_files: raise if an image file is missing or empty. Off, only the annotation is read.

    Raises:
        DataError: missing folder or file, malformed annotation, wrong counts; names the file and
            says what was expected.
    """
    folder = checks.locate(root, form.folder, form.annotations, form.tree)
    annotation = _find_annotation(form, folder)
    entries = _read_annotation(form, annotation)
    synthetic = checks.read_synthetic(folder)
    splits, notes = _tables(form, annotation, entries)
    _check_counts(form, annotation, splits, synthetic)
    smallest = min(int(frame["pid"].min()) for frame in splits.values() if len(frame))
    if synthetic is None and smallest != form.first_id:
        notes.append(f"ids start at {smallest}, those of the release at {form.first_id}")

    images = folder / IMAGES
    if check_files and not images.is_dir():
        raise DataError(
            f"{form.folder}: {images} is not a folder.\n"
            f"{checks.expected_and_found(form.tree, folder)}"
        )
    paths = [path for split in form.splits for path in splits[split]["path"]]
    if check_files:
        checks.check_files(form.folder, images, paths, file_sizes(images, paths))
    return Dataset(
        name=form.name,
        root=folder,
        images=images,
        splits=splits,
        files=(annotation.name, *(f"{IMAGES}/{path}" for path in paths)),
        synthetic=synthetic,
        notes=tuple(notes),
    )


def count(splits: Mapping[str, pd.DataFrame]) -> dict[str, Counts]:
    """Images, identities and captions of every split (an empty stand-in caption is not counted)."""
    return {
        name: Counts(
            images=len(frame),
            ids=int(frame["pid"].nunique()),
            captions=sum(len(row) for row in frame["captions"] if row != [""]),
        )
        for name, frame in splits.items()
    }


def _find_annotation(form: Format, folder: Path) -> Path:
    there = [folder / name for name in form.annotations if (folder / name).is_file()]
    if not there:
        advice = [text for name, text in form.mistaken.items() if (folder / name).is_file()]
        others = "".join(f" (nor {name})" for name in form.annotations[1:])
        raise DataError(
            f"{folder / form.annotations[0]} not found{others}.\n"
            + "".join(f"{text}\n" for text in advice)
            + checks.expected_and_found(form.tree, folder)
        )
    if any(other.read_bytes() != there[0].read_bytes() for other in there[1:]):
        names = " and ".join(path.name for path in there)
        raise DataError(
            f"{folder} holds {names}, two spellings of the same file with different content: "
            "expected one of them"
        )
    return there[0]


def _read_annotation(form: Format, annotation: Path) -> list[Any]:
    entries = checks.read_json(annotation, form.content)
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{annotation}: expected {form.content}; found "
            + ("an empty array" if entries == [] else f"a JSON {type(entries).__name__}")
        )
    if all(isinstance(entry, dict) and "split" not in entry for entry in entries):
        advice = "".join(f" {text}" for text in form.mistaken.values())
        raise DataError(f"{annotation}: no entry has the field 'split'.{advice}")
    return entries


def _tables(
    form: Format, annotation: Path, entries: list[Any]
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    rows: dict[str, list[tuple[int, str, list[str]]]] = {split: [] for split in form.splits}
    seen: dict[str, int] = {}
    split_of: dict[int, str] = {}
    for number, entry in enumerate(entries):
        split, pid, path, captions = _parse(form, annotation, number, entry)
        if path in seen:
            raise DataError(
                f"{annotation}: entries {seen[path]} and {number} (counted from 0) name the same "
                f"image {path}; expected one entry per image"
            )
        seen[path] = number
        if split_of.setdefault(pid, split) != split:
            raise DataError(
                f"{annotation}: id {pid} is in {split_of[pid]} and, by entry {number} "
                f"({path}), in {split}; expected every identity in one split"
            )
        rows[split].append((pid, path, captions))
    everything = [row for split in form.splits for row in rows[split]]
    return {split: _frame(form, rows[split]) for split in form.splits}, _notes(form, everything)


def _notes(form: Format, rows: list[tuple[int, str, list[str]]]) -> list[str]:
    """Sentences about what is odd and harmless."""
    images = Counter(pid for pid, _, _ in rows)
    described = {(text.strip(), pid) for pid, _, captions in rows for text in captions}
    people = Counter(text for text, _ in described if text)
    usual = _NUMBERS[form.captions]
    found = [
        (
            sum(not captions for _, _, captions in rows),
            ("image has", "images have"),
            "no caption: one empty caption stands in for each",
        ),
        (
            sum(not caption.strip() for _, _, captions in rows for caption in captions),
            ("caption is", "captions are"),
            "empty: to the models they are one unknown word",
        ),
        (
            sum(len(captions) > form.captions for _, _, captions in rows),
            ("image has", "images have"),
            f"more than {usual}: all are used",
        ),
        (
            sum(number > 1 for number in people.values()),
            ("caption stands", "captions stand"),
            "with several identities",
        ),
        (
            sum(number == 1 for number in images.values()),
            ("identity has", "identities have"),
            "one image only",
        ),
    ]
    return [f"{n} {one if n == 1 else many} {rest}" for n, (one, many), rest in found if n]


def _frame(form: Format, rows: list[tuple[int, str, list[str]]]) -> pd.DataFrame:
    pids = pd.Series([pid for pid, _, _ in rows], dtype="int64")
    paths = [path for _, path, _ in rows]
    return pd.DataFrame(
        {
            "pid": pids,
            "label": labels(pids.to_numpy()),
            "path": paths,
            "source": [form.source or path.partition("/")[0] for path in paths],
            "captions": pd.Series([captions or [""] for _, _, captions in rows], dtype=object),
        }
    )


def _parse(
    form: Format, annotation: Path, number: int, entry: Any
) -> tuple[str, int, str, list[str]]:
    """Split, id, path and captions of one entry; `DataError` says what is wrong with it."""

    def wrong(problem: str) -> DataError:
        return DataError(
            f"{annotation}: entry {number} (counted from 0): {problem}; it is {shown(entry)}"
        )

    if not isinstance(entry, dict):
        raise wrong("expected an object")
    missing = [name for name in ("split", form.path_field, "id") if name not in entry]
    if missing:
        raise wrong(f"field {', '.join(missing)} is missing")
    split, pid, path = entry["split"], entry["id"], entry[form.path_field]
    if split not in form.splits:
        raise wrong(f"split must be one of {', '.join(form.splits)}")
    if isinstance(pid, bool) or not isinstance(pid, int) or abs(pid) > MAX_ID:
        raise wrong(f"id must be an integer, at most {MAX_ID:,}")
    if not isinstance(path, str):
        raise wrong(f"{form.path_field} must be a string")
    if problem := checks.path_problem(path):
        raise wrong(f"{form.path_field} must be relative to {IMAGES}/: {problem}")
    captions, problem = checks.read_captions(entry.get("captions"))
    if problem:
        raise wrong(problem)
    return split, pid, path, captions


def _check_counts(
    form: Format,
    annotation: Path,
    splits: Mapping[str, pd.DataFrame],
    synthetic: Mapping[str, Any] | None,
) -> None:
    if synthetic is None:
        hint = (
            "The published counts are expected of data that has no SYNTHETIC.json beside it. Other "
            "annotation files and changed copies give numbers that compare with no paper."
        )
        hint += f" {form.advice}" if form.advice else ""
    else:
        hint = checks.changed_after(annotation.parent)
    expected = checks.expected_counts(form.expected, synthetic, annotation.parent)
    checks.check_counts(form.folder, annotation, count(splits), expected, hint)
