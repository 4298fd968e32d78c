"""Key points of drawn people, as a pose estimator would find them, in OpenPose's form.

The world knows every joint. An estimator does not: it is off by a little, by more where a joint is
hidden, misses joints, hidden ones above all, and sometimes the whole person. How much was set once,
after what is usual in pictures of this size, and is not tuned to any result.
"""

from pathlib import Path

import numpy as np

from reidlib.data.formats.keypoints import JOINTS, openpose_json
from reidlib.world.dice import Dice
from reidlib.world.drawing.render import Rendering
from reidlib.world.drawing.shot import Shot

# Standard deviation of the error, in body heights, and share of missed joints: seen and hidden.
_OFF = {True: 0.008, False: 0.025}
_MISSED = {True: 0.03, False: 0.5}
_SURE = {True: (0.55, 0.95), False: (0.15, 0.6)}  # confidence of those found
_NOBODY = 0.01  # pictures in which the person is missed as a whole


def estimate(rendering: Rendering, shot: Shot) -> np.ndarray:
    """What an estimator finds in a picture: float32 (18, 3), x, y in pixels and confidence; zeros
    for what it misses. A pure function. Joints outside the picture are always missed."""
    dice = Dice("pose", shot.world_seed, shot.pid, shot.number, shot.family, shot.camid)
    height, width = rendering.image.shape[:2]
    true = rendering.joints
    found = np.zeros((len(JOINTS), 3), np.float32)
    if dice.chance(_NOBODY):
        return found
    extent = float(np.ptp(true[:, 1]))
    # Pictures of another size than the camera's own are stretched, and so are errors.
    stretch = float(np.ptp(true[:, 0])) / max(extent, 1e-6)
    for joint, (x, y, shown) in enumerate(true.tolist()):
        seen = shown > 0
        missed, sure = dice.chance(_MISSED[seen]), dice.uniform(*_SURE[seen])
        off = _OFF[seen] * extent
        x += dice.normal(0.0, off * min(1.0, 3.0 * stretch))
        y += dice.normal(0.0, off)
        if not missed and 0 <= x < width and 0 <= y < height:
            found[joint] = x, y, sure
    return found


def write(path: Path, person: np.ndarray, size: tuple[int, int]) -> None:
    """Write one picture's key points; nobody is listed if no joint was found. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    people = [person] if (person[:, 2] > 0).any() else []
    path.write_text(openpose_json(people, size), encoding="utf-8")
