"""From a drawn figure to what a surveillance camera stores: shadow, blending, lens and sensor."""

from functools import lru_cache

import cv2
import numpy as np

from reidlib.world.drawing.camera import make_camera
from reidlib.world.drawing.figure import Figure
from reidlib.world.drawing.raster import View
from reidlib.world.drawing.shot import Shot


@lru_cache(maxsize=1)
def _blob() -> np.ndarray:
    """Soft dark spot, uint8 (48, 48, 3), 255 = no shadow."""
    at = np.linspace(-2.2, 2.2, 48)
    dark = 0.5 * np.exp(-(at[:, None] ** 2) - at[None, :] ** 2)
    return np.repeat((255.0 * (1.0 - dark))[:, :, None], 3, axis=2).astype(np.uint8)


def shadow(
    scene: np.ndarray, figure: Figure, view: View, scale: np.ndarray, shift: np.ndarray
) -> None:
    """Darken the ground under the feet of `scene` (h, w, 3) uint8, in place."""
    points = figure.body.points
    feet = [points[f"{side} {name}"] for side in "rl" for name in ("heel", "toe")]
    flat, _, _ = view.project(np.array([(x, 0.0, z) for x, _, z in feet]))
    spot = (flat * scale + shift).tolist()
    x0, x1 = min(x for x, _ in spot), max(x for x, _ in spot)
    y0, y1 = min(y for _, y in spot), max(y for _, y in spot)
    wide = 2.2 * (0.62 * (x1 - x0) + 0.10 * float(scale[0]))
    high = 2.2 * (0.5 * (y1 - y0) + 0.045 * float(scale[1]))
    left, right = int(0.5 * (x0 + x1) - wide), int(0.5 * (x0 + x1) + wide) + 1
    top, bottom = int(0.5 * (y0 + y1) - high), int(0.5 * (y0 + y1) + high) + 1
    blob = cv2.resize(_blob(), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    inside = scene[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if inside.size:
        part = blob[max(0, -top) :, max(0, -left) :][: inside.shape[0], : inside.shape[1]]
        inside[:] = cv2.multiply(inside, part, scale=1.0 / 255.0)


def compose(scene: np.ndarray, numbers: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Blend the supersampled figure over the scene.

    `scene` (h, w, 3) uint8, `numbers` (k h, k w) uint16 with 0 for scene, `colors` (K, 3) float
    in 0..255 by number; returns uint8 (h, w, 3)."""
    table = np.empty((len(colors), 4), np.uint8)
    table[:, :3] = np.clip(colors, 0.0, 255.0)
    table[:, 3] = 255
    table[0] = 0
    packed = table.view(np.uint32)[:, 0][numbers]
    layers = packed.view(np.uint8).reshape(*numbers.shape, 4)
    layers = cv2.resize(layers, (scene.shape[1], scene.shape[0]), interpolation=cv2.INTER_AREA)
    rest = cv2.cvtColor(255 - layers[..., 3], cv2.COLOR_GRAY2RGB)
    figure = cv2.cvtColor(layers, cv2.COLOR_RGBA2RGB)
    return cv2.add(figure, cv2.multiply(scene, rest, scale=1.0 / 255.0))


@lru_cache(maxsize=64)
def _grain(steps: int) -> np.ndarray:
    """Fixed Gaussian noise, int8 (576, 384, 3), sigma `steps` / 4; shots read it at different
    places, which is much faster than drawing new noise and looks the same."""
    noise = np.random.Generator(np.random.PCG64(20260))
    return np.rint(0.25 * steps * noise.standard_normal((576, 384, 3), np.float32)).astype(np.int8)


def develop(image: np.ndarray, shot: Shot, native: tuple[int, int]) -> np.ndarray:
    """Lens, sensor and compression: lost resolution, blur, color cast, contrast, noise.

    `image` uint8 (h, w, 3); `native` the size the camera would store."""
    height, width = image.shape[:2]
    camera = make_camera(shot.world_seed, shot.family, shot.camid)
    rows = min(height, round(shot.resolution * native[0]))
    columns = min(width, round(shot.resolution * native[1]))
    if rows < height or columns < width:
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    sigma = shot.blur * rows / 128.0
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = cv2.transform(image, _color(shot, camera.cast, camera.contrast, camera.saturation))
    grain = _grain(round(4.0 * shot.noise))
    y, x = shot.background % 128, shot.background // 128 % 128
    grain = grain[y : y + image.shape[0], x : x + image.shape[1]]
    if grain.shape == image.shape:  # larger pictures than any camera stores stay clean
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    if image.shape[0] < height or image.shape[1] < width:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _color(
    shot: Shot, cast: tuple[float, float, float], contrast: float, saturation: float
) -> np.ndarray:
    """(3, 4) matrix of the camera's color: saturation, then cast and brightness, then contrast
    around a dark gray."""
    lift = 100.0 * (1.0 - contrast)
    rows = []
    for channel, gain in enumerate(cast):
        gain *= shot.brightness * contrast
        gray = [(1.0 - saturation) * gain * share for share in (0.299, 0.587, 0.114)]
        gray[channel] += saturation * gain
        rows.append((*gray, lift))
    return np.array(rows)
