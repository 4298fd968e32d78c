"""Where the part masks of a dataset lie, and what they hold.

A mask is an 8-bit PNG with one channel that holds the labels themselves, 0 to 5 (`LABELS`): which
pixels of a person image are head, clothes, shoes, things carried. It lies below masks/ of the
dataset's folder, named as its image is below imgs/, always with the suffix .png. Datasets of the
procedural world are written with theirs; no real release has any, there they are the output of a
human parser, as in ViTAA (Wang et al., ECCV 2020).
"""

from pathlib import Path, PurePosixPath

from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats.checks import check_named_apart
from reidlib.errors import DataError

FOLDER = "masks"
LABELS = ("background", "head", "upper body", "lower body", "shoes", "carried things")
_MEANING = ", ".join(f"{label} {name}" for label, name in enumerate(LABELS))
FORM = f"8-bit PNG files with a single channel and labels 0 to {len(LABELS) - 1}: {_MEANING}"


def mask_name(path: str) -> str:
    """Name below masks/ of the mask of the image `path` (relative to imgs/)."""
    return str(PurePosixPath(path).with_suffix(".png"))


def mask_paths(dataset: Dataset, split: str) -> list[Path]:
    """Absolute path of every image's mask, in row order. Costs one `stat` per file.

    Raises `DataError` if any is missing, or if two images of the split, which then differ in their
    suffix only, would have the same mask.
    """
    folder = dataset.root / FOLDER
    images = list(dataset.splits[split]["path"])
    names = [mask_name(path) for path in images]
    check_named_apart(folder, names, images, "be the mask of")
    sizes = file_sizes(folder, names)
    missing = [i for i, size in enumerate(sizes) if size < 0]
    if missing:
        there = "" if folder.is_dir() else " (there is no such folder)"
        first = f"{names[missing[0]]}, for {dataset.images.name}/{images[missing[0]]}"
        raise DataError(
            f"{dataset.name}: {len(missing):,} of {len(names):,} part masks of {split} are missing "
            f"below {folder}{there}; the first: {first}\n"
            "Expected for every image, with .png in place of its suffix:\n"
            f"  {dataset.root.name}/{FOLDER}/<same path as below {dataset.images.name}/>.png\n"
            f"{FORM}.\n"
            "Releases of real data have no masks: run a human parser over the images and map its "
            "classes to these labels. Generated data brings them; a copy from before it did has to "
            "be deleted and written anew."
        )
    return [folder / name for name in names]
