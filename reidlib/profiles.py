"""The four profiles: sizes and budgets. Only the outermost layer knows about them."""

from dataclasses import dataclass

from reidlib.errors import UsageError


@dataclass(frozen=True)
class World:
    """How much of a dataset's format the procedural world fills for a profile.

    Either `ids` (train, val, test) or `scale` (1.0 = the real dataset's exact sizes) is given;
    `size` is the (height, width) of the rendered images, None = typical of the source dataset.
    """

    ids: tuple[int, int, int] | None = None
    scale: float | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Profile:
    """`worlds` maps a dataset's name to its world; it is empty for the profile on real data."""

    name: str
    says: str
    worlds: dict[str, World]
    threads: int | None  # CPU threads per run; None: shared out among the jobs
    jobs_per_gpu: int = 1


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "tests and CI: every own row of every table trains for a few steps; the numbers mean "
            "nothing",
            {"cuhk-pedes": World(ids=(24, 4, 12), size=(64, 32))},
            threads=1,
        ),
        Profile(
            "demo",
            "a newcomer's first run: small images, narrow members of the same backbone families",
            {"cuhk-pedes": World(ids=(1000, 20, 50), size=(96, 32))},
            threads=1,
        ),
        Profile(
            "bench",
            "reference results: ResNet-50 and VGG-16 trained from scratch on a few thousand "
            "procedural identities",
            {"cuhk-pedes": World(ids=(3000, 100, 500), size=(192, 64))},
            threads=None,
            jobs_per_gpu=4,
        ),
        Profile(
            "paper",
            "real data and the papers' own hyper-parameters, from ImageNet weights",
            {},
            threads=None,
        ),
    )
}


def get_profile(name: str) -> Profile:
    """Raises `UsageError` for an unknown name."""
    if name not in PROFILES:
        raise UsageError(f"unknown profile {name!r}: expected {', '.join(PROFILES)}")
    return PROFILES[name]
