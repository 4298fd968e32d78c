"""Key points of image sets that have none, estimated with torchvision's Keypoint R-CNN.

`estimate` writes an OpenPose file for every image (reidlib.data.formats.keypoints
says where). What is there already is kept, so that a stopped run goes on where it was.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data.dataset import Dataset
from reidlib.data.formats import keypoints
from reidlib.data.formats.decoding import read_rgb
from reidlib.data.formats.keypoints import COCO_JOINTS, Person, from_coco, openpose_json
from reidlib.errors import DataError
from reidlib.files import check_named_digest, explain_os_errors

WEIGHTS = "keypointrcnn_resnet50_fpn_coco-fc266e95.pth"  # torchvision's COCO_V1
SHORT_SIDE = 320  # pixels that the shorter side of an image is enlarged to
_LEAST_SCORE = 0.5  # of a person; the best one is kept in any case
_MOST_PEOPLE = 5

SPLITS = ("train", "query", "gallery")  # whose images are taken apart by their poses

# Images, a list of float (3, h, w) in 0 ... 1, -> torchvision's detections, a dict for each.
Estimator = Callable[[list[Tensor]], list[dict[str, Tensor]]]


def weights_path() -> Path:
    """Where torch.hub would keep the weights: $TORCH_HOME/hub/checkpoints/<file>."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def load_estimator(device: str, path: Path | None = None) -> nn.Module:
    """Keypoint R-CNN with COCO weights from a local file, on `device`, in evaluation mode.

    Nothing is downloaded. Raises `DataError` if the file is missing, damaged or of another network.
    """
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    path = path or weights_path()
    if not path.is_file():
        raise DataError(
            f"weights of Keypoint R-CNN not found: expected the file {WEIGHTS} in {path.parent} "
            f"(SHA-256 starting with {Path(WEIGHTS).stem.rpartition('-')[2]}). It is torchvision's "
            "file of that name; put it there under that very name. The environment variable "
            "TORCH_HOME moves the folder."
        )
    if path.name == WEIGHTS:
        check_named_digest(path)
    model = keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=SHORT_SIDE, max_size=4 * SHORT_SIDE
    )
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (
        *(RuntimeError, LookupError, TypeError, ValueError, AttributeError, EOFError, OSError),
        pickle.UnpicklingError,
    ) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: no weights of torchvision's Keypoint R-CNN: {first}") from error
    return model.to(device).eval()


def missing(dataset: Dataset) -> list[tuple[Path, Path]]:
    """Images of a dataset that have no key points yet, and the file where theirs would be.

    Raises `DataError` for generated data, which has them and must stay as it was drawn, and where
    a COCO file has them, which is read in place of others.
    """
    if dataset.synthetic is not None:
        raise DataError(
            f"{dataset.root}: generated data. The world knows its joints, and writes the key "
            "points that an estimator would find; there is nothing to estimate"
        )
    if (given := keypoints.coco_file(dataset)).is_file():
        raise DataError(f"{given}: key points are there, and are read; remove it to estimate them")
    found = {}
    for split in (split for split in SPLITS if split in dataset.splits):
        for path, image in zip(
            dataset.splits[split]["path"], dataset.image_paths(split), strict=True
        ):
            target = keypoints.folder_of(dataset) / keypoints.file_name(path)
            if not target.is_file():
                found[target] = image
    return [(image, target) for target, image in sorted(found.items())]


def estimate(
    dataset: Dataset,
    estimator: Estimator,
    device: str,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the key points of all images that have none yet; returns how many these were.

    estimator: `load_estimator`, or anything that takes and gives the same. progress: called with
    the number of images done and their total.

    Raises `DataError` for an image that cannot be read (names it; all before it are done), and
    `StoreError` if files cannot be written.
    """
    todo = missing(dataset)
    done = 0
    for batch in _batches(todo, batch_size):
        images = [image for image, _ in batch]
        sent = [image.to(device).permute(2, 0, 1).float() / 255 for image in images]
        with torch.inference_mode():
            detections = estimator(sent)
        for (image, target), detected in zip(batch, detections, strict=True):
            _write(target, openpose_json(people(detected), tuple(image.shape[:2])))
        done += len(batch)
        if progress is not None:
            progress(done, len(todo))
    return done


def _write(path: Path, content: str) -> None:
    """Write a file that is there as a whole or not at all. It is not forced to the disk at once,
    which takes longer than estimating: what a crash of the machine spoils does not parse."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with explain_os_errors(path, "writing key points"):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(content, encoding="utf-8")
        unfinished.replace(path)


def people(detected: dict[str, Any]) -> list[Person]:
    """The people in one image: float32 (18, 3) each, the surest first, at most five.

    detected: torchvision's boxes' `scores` (n,), `keypoints` (n, 17, 3) and `keypoints_scores`
    (n, 17), which are logits: their sigmoid is the confidence.
    """
    scores = detected["scores"].cpu().numpy()
    confidence = torch.sigmoid(detected["keypoints_scores"].float()).cpu().numpy()
    joints = detected["keypoints"].float().cpu().numpy()
    found = []
    for rank, person in enumerate(np.argsort(-scores, kind="stable")[:_MOST_PEOPLE].tolist()):
        if rank and scores[person] < _LEAST_SCORE:
            break
        xyc = np.concatenate((joints[person, :, :2], confidence[person][:, None]), 1)
        found.append(from_coco(xyc.reshape(len(COCO_JOINTS), 3)))
    return found


def _batches(todo: Sequence[tuple[Path, Path]], size: int) -> Iterator[list[tuple[Tensor, Path]]]:
    """Decoded images, uint8 (h, w, 3), with their targets; the next batch is read meanwhile."""

    def read(batch: Sequence[tuple[Path, Path]]) -> list[tuple[Tensor, Path]]:
        return [(torch.from_numpy(np.array(read_rgb(image))), out) for image, out in batch]

    parts = [todo[start : start + size] for start in range(0, len(todo), size)]
    if not parts:
        return
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, parts[0])
        for following in [*parts[1:], None]:
            batch = ahead.result()
            if following is not None:
                ahead = reader.submit(read, following)
            yield batch
