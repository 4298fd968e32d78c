"""CUHK-PEDES (Li et al., CVPR 2017): pedestrians of five re-ID datasets, described by sentences.

The annotation is `reid_raw.json`: an array with one object per image (`split`, `captions`,
`file_path` relative to imgs/, `processed_tokens`, `id`), train before val before test, ids from 1.

The five sources are five domains, for training on one and testing on another (see `domain`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reidlib.data.dataset import Dataset, labels
from reidlib.data.formats import captioned_sets
from reidlib.data.formats.captioned_sets import count
from reidlib.data.formats.checks import Counts
from reidlib.data.register import FORMATS
from reidlib.errors import DataError, UsageError

__all__ = [
    "DOMAINS",
    "EXPECTED",
    "FORMAT",
    "NAME",
    "TRANSFER",
    "count",
    "domain",
    "load",
    "transfer",
]

NAME = "cuhk-pedes"
FOLDER = FORMATS[NAME].folder
ANNOTATION = "reid_raw.json"
# In the folder of an image dataset: the entries of the annotation about its images.
EXCERPT = "cuhk_pedes_excerpt.json"
SPLITS = ("train", "val", "test")
FOLDERS = ("cam_a", "cam_b", "CUHK01", "CUHK03", "Market", "test_query", "train_query")

# Of the published release.
EXPECTED = {
    "train": Counts(images=34_054, ids=11_003, captions=68_126),
    "val": Counts(images=3_078, ids=1_000, captions=6_158),
    "test": Counts(images=3_074, ids=1_000, captions=6_156),
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
CUHK-PEDES/
  reid_raw.json
  imgs/
    cam_a/  cam_b/  CUHK01/  CUHK03/  Market/  test_query/  train_query/
"""

FORMAT = captioned_sets.Format(
    name=NAME,
    folder=FOLDER,
    annotations=(ANNOTATION,),
    tree=TREE,
    expected=EXPECTED,
    first_id=1,
    mistaken={
        "caption_all.json": "caption_all.json is another file of the release: it has no official "
        "split, and its ids differ from those of reid_raw.json. Ask the dataset's authors for "
        "reid_raw.json."
    },
)

# A domain's images are those in its source's folders (the values of the column `source`). SSM is
# the name of CUHK-SYSU in papers on transfer between domains; VIPeR's views have a folder each.
DOMAINS = {
    "cuhk-pedes-ssm": ("train_query", "test_query"),
    "cuhk-pedes-cuhk03": ("CUHK03",),
    "cuhk-pedes-market": ("Market",),
    "cuhk-pedes-viper": ("cam_a", "cam_b"),
    "cuhk-pedes-cuhk01": ("CUHK01",),
}
SOURCE = "cuhk-pedes-ssm"
TRANSFER = "cuhk-pedes-ssm-to-others"  # trained on SSM, tested on each of the other four


def load(root: Path, name: str = NAME, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/CUHK-PEDES.

    All captions of an image are kept (nine images have more than two). `name` is the whole, a key
    of `DOMAINS` (see `domain`) or `TRANSFER` (see `transfer`). For other arguments and errors see
    `reidlib.data.formats.captioned_sets.load`.
    """
    dataset = captioned_sets.load(FORMAT, root, check_files)
    if name == TRANSFER:
        return transfer(dataset)
    return dataset if name == NAME else domain(dataset, name)


def domain(dataset: Dataset, name: str, needed: Sequence[str] = ("train", "test")) -> Dataset:
    """The part of CUHK-PEDES that comes from one source: the official split within the domain.

    An image stays in the split that the annotation puts it in; labels are counted anew within the
    domain. The papers that train on SSM and test on the other four publish neither a list of
    images nor a rule; this one is what the folders and the official split give.

    Args:
        dataset: CUHK-PEDES, as `load` returns it.
        name: a key of `DOMAINS`.
        needed: splits that must not be empty. Nothing is trained or tested on the others.

    Raises:
        UsageError: no such domain, or `dataset` is another one.
        DataError: the domain is absent from the data, or empty in a split that is needed.
    """
    if name not in DOMAINS or dataset.name != NAME:
        raise UsageError(
            f"no domain {name!r} of {dataset.name}: expected one of {', '.join(DOMAINS)}, of {NAME}"
        )
    folders = DOMAINS[name]
    splits = {}
    for split, frame in dataset.splits.items():
        rows = frame[frame["source"].isin(folders)].reset_index(drop=True)
        splits[split] = rows.assign(label=labels(rows["pid"].to_numpy()))
    where = " or ".join(f"{folder}/" for folder in folders)
    if not any(len(rows) for rows in splits.values()):
        there = sorted({source for frame in dataset.splits.values() for source in frame["source"]})
        raise DataError(
            f"{name}: no image in {dataset.root} is from this domain: expected paths below "
            f"{dataset.images} that begin with {where}; those of the annotation begin with "
            f"{', '.join(f'{source}/' for source in there)}"
        )
    for split in needed:
        if not len(splits[split]):
            found = ", ".join(f"{other} {len(rows):,}" for other, rows in splits.items())
            generated = dataset.synthetic is not None
            advice = "; generate a world with more identities" if generated else ""
            raise DataError(
                f"{name}: the {split} split of {dataset.root} has no image from this domain "
                f"({where}; images per split: {found}){advice}"
            )
    return replace(
        dataset,
        name=name,
        splits=splits,
        notes=(*dataset.notes, f"{name}: the images in {where}, official split within the domain"),
    )


def transfer(dataset: Dataset) -> Dataset:
    """SSM's training split, and a test split for each of the other four domains.

    The test splits are called as their domains ("cuhk-pedes-market"); see `domain` for the rule
    and for errors.
    """
    source = domain(dataset, SOURCE, needed=("train",))
    splits = {"train": source.splits["train"]}
    notes = list(source.notes)
    for name in DOMAINS:
        if name != SOURCE:
            target = domain(dataset, name, needed=("test",))
            splits[name] = target.splits["test"]
            notes.append(target.notes[-1])
    return replace(dataset, name=TRANSFER, splits=splits, notes=tuple(notes))
