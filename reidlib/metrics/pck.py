"""How well key points are found: PCK, the percentage of correct key points."""

import numpy as np

from reidlib.errors import UsageError


def correct(
    found: np.ndarray, true: np.ndarray, scale: np.ndarray, alpha: float = 0.1
) -> np.ndarray:
    """Whether each joint is found within `alpha` times the person's `scale`: float64 (N, K).

    Joints that are not known have NaN, and joints that were not found count as wrong.

    Args:
        found: (N, K, 3) of x, y and confidence; 0 or less means not found.
        true: (N, K, 3) of x, y and a flag, above 0 where the joint is known.
        scale: (N,) in the units of x and y, for instance the height of the person.
        alpha: share of the scale.

    Raises `UsageError` if shapes do not fit or a scale is not above 0.

    Source: Yang and Ramanan, TPAMI 2013 (PCK); of people in small pictures the height stands for
    the size of the head or the trunk.
    """
    found, true = np.asarray(found, np.float64), np.asarray(true, np.float64)
    scale = np.asarray(scale, np.float64)
    if found.shape != true.shape or found.shape[2:] != (3,) or scale.shape != found.shape[:1]:
        raise UsageError(
            f"PCK: expected (N, K, 3) twice and (N,), got {found.shape}, {true.shape} and "
            f"{scale.shape}"
        )
    if not (scale > 0).all():
        raise UsageError("PCK: the scale of every person must be above 0")
    distance = np.linalg.norm(found[..., :2] - true[..., :2], axis=2)
    hit = (distance <= alpha * scale[:, None]) & (found[..., 2] > 0)
    return np.where(true[..., 2] > 0, hit.astype(np.float64), np.nan)


def pck(found: np.ndarray, true: np.ndarray, scale: np.ndarray, alpha: float = 0.1) -> dict:
    """PCK in percent: "PCK" over all known joints, and "joint <k>" of each; NaN without any.

    Arguments and errors as of `correct`.

    Example:
        >>> true = np.array([[[10.0, 10.0, 1.0], [20.0, 40.0, 1.0]]])
        >>> found = np.array([[[12.0, 10.0, 0.9], [20.0, 60.0, 0.8]]])
        >>> pck(found, true, np.array([100.0]))
        {'PCK': 50.0, 'joint 0': 100.0, 'joint 1': 0.0}
    """
    hits = correct(found, true, scale, alpha)
    known = np.isfinite(hits)

    def share(hit: np.ndarray, counted: np.ndarray) -> float:
        return float(100.0 * hit[counted].mean()) if counted.any() else float("nan")

    per_joint = {f"joint {k}": share(hits[:, k], known[:, k]) for k in range(hits.shape[1])}
    return {"PCK": share(hits, known), **per_joint}
