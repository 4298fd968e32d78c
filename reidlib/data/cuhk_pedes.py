"""CUHK-PEDES (Li et al., CVPR 2017): pedestrians of five re-ID datasets, described by sentences.

The annotation is `reid_raw.json`: an array with one object per image (`split`, `captions`,
`file_path` relative to imgs/, `processed_tokens`, `id`), train before val before test, ids from 1.
Tokens are made anew from the captions, because not every copy of the file has them.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from reidlib.data import checks
from reidlib.data.checks import SYNTHETIC, Counts
from reidlib.data.dataset import Dataset, file_sizes, fingerprint, labels
from reidlib.errors import DataError

NAME = "cuhk-pedes"
FOLDER = "CUHK-PEDES"
ANNOTATION = "reid_raw.json"
SPLITS = ("train", "val", "test")
FOLDERS = ("cam_a", "cam_b", "CUHK01", "CUHK03", "Market", "test_query", "train_query")

# Of the published release.
EXPECTED = {
    "train": Counts(images=34_054, ids=11_003, captions=68_126),
    "val": Counts(images=3_078, ids=1_000, captions=6_158),
    "test": Counts(images=3_074, ids=1_000, captions=6_156),
}

TREE = """
CUHK-PEDES/
  reid_raw.json
  imgs/
    cam_a/  cam_b/  CUHK01/  CUHK03/  Market/  test_query/  train_query/
"""

_FIELDS = "an array with one object per image: split, captions, file_path, id"


def load(root: Path, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/CUHK-PEDES.

    All captions of an image are kept (nine images have more than two). An image without a caption
    keeps one empty caption, and the dataset a note. Real data (no SYNTHETIC.json) must have the
    published number of images, identities and captions; generated data those it was written with.

    Args:
        root: the folder that contains CUHK-PEDES/.
        check_files: raise if an image file is missing or empty. Off, only the annotation is read
            and the sizes of the files that exist; `fingerprint` is the same either way.

    Raises:
        DataError: missing folder or file, malformed annotation, wrong counts; names the file and
            says what was expected.
    """
    folder = checks.locate(root, FOLDER, ANNOTATION, TREE)
    annotation = folder / ANNOTATION
    entries = _read_annotation(folder)
    synthetic = checks.read_synthetic(folder)
    splits, notes = _tables(annotation, entries)
    _check_counts(annotation, splits, synthetic)

    images = folder / "imgs"
    if check_files and not images.is_dir():
        raise DataError(
            f"{FOLDER}: {images} is not a folder.\n{checks.expected_and_found(TREE, folder)}"
        )
    paths = [path for split in SPLITS for path in splits[split]["path"]]
    sizes = file_sizes(images, paths)
    if check_files:
        checks.check_files(FOLDER, images, paths, sizes)
    files = [annotation] if synthetic is None else [annotation, folder / SYNTHETIC]
    return Dataset(
        name=NAME,
        root=folder,
        images=images,
        splits=splits,
        synthetic=synthetic,
        fingerprint=fingerprint(files, paths, sizes),
        notes=notes,
    )


def count(splits: dict[str, pd.DataFrame]) -> dict[str, Counts]:
    """Images, identities and captions of every split (an empty stand-in caption is not counted)."""
    return {
        name: Counts(
            images=len(frame),
            ids=int(frame["pid"].nunique()),
            captions=sum(len(row) for row in frame["captions"] if row != [""]),
        )
        for name, frame in splits.items()
    }


def expected_counts(synthetic: dict[str, Any] | None) -> dict[str, Counts]:
    """Published counts, or for generated data those it was written with."""
    if synthetic is None:
        return EXPECTED
    return {split: Counts(**synthetic["counts"][split]) for split in SPLITS}


def _read_annotation(folder: Path) -> list[Any]:
    annotation = folder / ANNOTATION
    if not annotation.is_file():
        only_captions = (folder / "caption_all.json").is_file()
        advice = f"{_NO_SPLIT}\n" if only_captions else ""
        raise DataError(
            f"{annotation} not found.\n{advice}{checks.expected_and_found(TREE, folder)}"
        )
    entries = checks.read_json(annotation, _FIELDS)
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{annotation}: expected {_FIELDS}; found "
            + ("an empty array" if entries == [] else f"a JSON {type(entries).__name__}")
        )
    if all(isinstance(entry, dict) and "split" not in entry for entry in entries):
        raise DataError(f"{annotation}: no entry has the field 'split'. {_NO_SPLIT}")
    return entries


_NO_SPLIT = (
    "caption_all.json is another file of the release: it has no official split, and its ids differ "
    "from those of reid_raw.json. Ask the dataset's authors for reid_raw.json."
)


def _tables(
    annotation: Path, entries: list[Any]
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    rows: dict[str, list[tuple[int, str, list[str]]]] = {split: [] for split in SPLITS}
    seen: dict[str, int] = {}
    split_of: dict[int, str] = {}
    without = empty = several = 0
    for number, entry in enumerate(entries):
        split, pid, path, captions = _parse(annotation, number, entry)
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
        without += not captions
        empty += sum(not caption.strip() for caption in captions)
        several += len(captions) > 2
        rows[split].append((pid, path, captions or [""]))
    notes = []
    if without:
        notes.append(f"{without} images have no caption: one empty caption stands in for each")
    if empty:
        notes.append(f"{empty} captions are empty: to the models they are one unknown word")
    if several:
        notes.append(f"{several} images have more than two captions: all are used")
    return {split: _frame(rows[split]) for split in SPLITS}, tuple(notes)


def _frame(rows: list[tuple[int, str, list[str]]]) -> pd.DataFrame:
    pids = pd.Series([pid for pid, _, _ in rows], dtype="int64")
    paths = [path for _, path, _ in rows]
    return pd.DataFrame(
        {
            "pid": pids,
            "label": labels(pids.to_numpy()),
            "path": paths,
            "source": [path.partition("/")[0] for path in paths],
            "captions": pd.Series([captions for _, _, captions in rows], dtype=object),
        }
    )


def _parse(annotation: Path, number: int, entry: Any) -> tuple[str, int, str, list[str]]:
    """Split, id, path and captions of one entry; `DataError` says what is wrong with it."""

    def wrong(problem: str) -> DataError:
        shown = str(entry)
        shown = shown if len(shown) <= 160 else shown[:157] + "..."
        return DataError(f"{annotation}: entry {number} (counted from 0): {problem}; it is {shown}")

    if not isinstance(entry, dict):
        raise wrong("expected an object")
    missing = [field for field in ("split", "file_path", "id") if field not in entry]
    if missing:
        raise wrong(f"field {', '.join(missing)} is missing")
    split, pid, path = entry["split"], entry["id"], entry["file_path"]
    if split not in SPLITS:
        raise wrong(f"split must be one of {', '.join(SPLITS)}")
    if isinstance(pid, bool) or not isinstance(pid, int):
        raise wrong("id must be an integer")
    if not isinstance(path, str) or not path:
        raise wrong("file_path must be a string")
    if path.startswith("/") or ".." in path.split("/") or "\\" in path:
        raise wrong("file_path must be relative to imgs/, with forward slashes")
    captions = entry.get("captions") or []
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise wrong("captions must be a list of strings")
    return split, pid, path, captions


def _check_counts(
    annotation: Path, splits: dict[str, pd.DataFrame], synthetic: dict[str, Any] | None
) -> None:
    found = count(splits)
    if synthetic is None:
        hint = (
            "The published counts are expected of data that has no SYNTHETIC.json beside it. Other "
            "annotation files and changed copies give numbers that compare with no paper."
        )
    else:
        hint = (
            "Generated data was changed after it was written: delete the folder and write it anew."
        )
    try:
        expected = expected_counts(synthetic)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{annotation.parent / SYNTHETIC}: expected counts of {', '.join(SPLITS)} in it; "
            f"this copy was written by another version: delete {annotation.parent}, write it anew"
        ) from error
    checks.check_counts(FOLDER, annotation, found, expected, hint)


def summary(dataset: Dataset) -> str:
    """Found and expected counts as a text table."""
    return checks.counts_table(count(dataset.splits), expected_counts(dataset.synthetic))
