"""Reproducible draws from integer keys.

Everything in the world is a pure function of a few integers and names. A `Dice` is seeded by a
digest of those, so that no draw depends on the order of calls, on the process, or on Python's
randomized string hash. Only `random.Random.random()` is used below: its sequence for a given seed
is guaranteed by the standard library across versions, that of `choice` or `gauss` is not.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def key_seed(*key: int | str) -> int:
    """64-bit seed from integers and strings, the same on every machine and in every process."""
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Dice:
    """A stream of draws that depends on its key alone."""

    def __init__(self, *key: int | str) -> None:
        self.random = random.Random(key_seed(*key)).random

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.random()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.random() < probability

    def normal(self, mean: float, deviation: float, limit: float = 2.5) -> float:
        """Gaussian (Box-Muller), clipped at `limit` deviations so that no body is absurd."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.random()))
        value = radius * math.cos(2.0 * math.pi * self.random())
        return mean + deviation * max(-limit, min(limit, value))

    def integer(self, low: int, high: int) -> int:
        """Integer in [low, high)."""
        return low + int((high - low) * self.random())

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, all equally likely."""
        return items[int(len(items) * self.random())]

    def weighted(self, weights: dict[T, float]) -> T:
        """One key of `weights` (insertion order, need not sum to one)."""
        left = self.random() * sum(weights.values())
        for item, weight in weights.items():
            left -= weight
            if left < 0.0:
                return item
        return next(reversed(weights))
