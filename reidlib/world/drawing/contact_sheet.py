"""Many small pictures in one, to look at the world: rows are people, columns their shots."""

from collections.abc import Sequence

import numpy as np

from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import make_shot


def contact_sheet(
    world_seed: int,
    pids: Sequence[int],
    shots: int,
    families: str | Sequence[str],
    size: tuple[int, int] = (128, 64),
    columns: int = 1,
    gap: int = 4,
) -> np.ndarray:
    """Picture of `shots` pictures of every person, uint8 (H, W, 3) on white.

    With several `families` the shots of a person go round them. `size` is (height, width) of one
    picture, `columns` the number of people side by side. Raises ValueError without people.
    """
    if not pids:
        raise ValueError("a contact sheet needs at least one person")
    names = (families,) if isinstance(families, str) else tuple(families)
    height, width = size
    rows = -(-len(pids) // columns)
    block = shots * (width + gap) + gap
    sheet = np.full((rows * (height + gap) + gap, columns * block, 3), 255, np.uint8)
    for place, pid in enumerate(pids):
        y = gap + place // columns * (height + gap)
        for number in range(shots):
            x = place % columns * block + gap + number * (width + gap)
            shot = make_shot(world_seed, pid, number, names[number % len(names)])
            sheet[y : y + height, x : x + width] = render(shot, size).image
    return sheet
