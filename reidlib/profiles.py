"""The profiles: sizes and budgets. Only the outermost layer knows about them."""

from dataclasses import dataclass

from reidlib.errors import UsageError


@dataclass(frozen=True)
class World:
    """How much of a dataset's format the procedural world fills for a profile.

    Either `ids` (of each split: train, val, test where there are these) or `scale` (1.0 = the real
    dataset's exact sizes) is given; `size` is the (height, width) of the rendered images, None =
    typical of the source dataset.
    """

    ids: tuple[int, ...] | None = None
    scale: float | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Profile:
    """`worlds` maps the name of a format, or of a dataset that has a world of its own, to what is
    rendered; it is empty for the profile on real data."""

    name: str
    description: str
    worlds: dict[str, World]
    threads: int | None  # CPU threads per run; None: shared out among the jobs
    jobs_per_gpu: int = 1
    seeds: int = 1  # trainings of each row, unless the command says otherwise


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "tests and CI: every own row of every table trains for a few steps; the numbers mean "
            "nothing",
            {
                "cuhk-pedes": World(ids=(24, 4, 12), size=(64, 32)),
                "icfg-pedes": World(ids=(12, 6), size=(64, 32)),
                "market1501": World(ids=(8, 4), size=(64, 32)),
                "dukemtmc-reid": World(ids=(8, 4), size=(64, 32)),
                "cuhk-sysu": World(ids=(8, 4), size=(64, 32)),
                "cuhk03": World(ids=(8, 4), size=(64, 32)),
                "cuhk01": World(ids=(12,), size=(64, 32)),
                "strangers": World(ids=(24, 8), size=(64, 32)),
                "peta": World(ids=(60,), size=(64, 32)),
                "coco-keypoints": World(ids=(24, 8), size=(64, 32)),
            },
            threads=1,
        ),
        Profile(
            "demo",
            "a newcomer's first run: small images, narrow members of the same backbone families, "
            "pretrained on strangers; the rows that the main claims compare, three trainings each",
            {
                "cuhk-pedes": World(ids=(1000, 20, 300), size=(96, 32)),
                "icfg-pedes": World(ids=(300, 300), size=(96, 32)),
                "market1501": World(ids=(150, 300), size=(64, 32)),
                "dukemtmc-reid": World(ids=(150, 300), size=(64, 32)),
                "cuhk-sysu": World(ids=(200, 300), size=(64, 32)),
                "cuhk03": World(ids=(200, 300), size=(64, 32)),
                "cuhk01": World(ids=(600,), size=(64, 32)),
                "strangers": World(ids=(3000, 300), size=(96, 32)),
                "peta": World(ids=(4000,), size=(64, 32)),
                "coco-keypoints": World(ids=(1000, 200), size=(64, 32)),
            },
            threads=1,
            seeds=3,
        ),
        Profile(
            "study",
            "evidence on a laptop in one night: every own row of every table, five short trainings "
            "each, of narrow pretrained networks",
            {
                "cuhk-pedes": World(ids=(3000, 20, 300), size=(96, 32)),
                # Of 300 test identities, VIPeR has some ten: too few to see a transfer.
                "cuhk-pedes-ssm-to-others": World(ids=(3000, 20, 1000), size=(96, 32)),
                "icfg-pedes": World(ids=(1000, 300), size=(96, 32)),
                "market1501": World(ids=(300, 300), size=(64, 32)),
                "dukemtmc-reid": World(ids=(300, 300), size=(64, 32)),
                "cuhk-sysu": World(ids=(1000, 300), size=(64, 32)),
                "cuhk03": World(ids=(600, 300), size=(64, 32)),
                "cuhk01": World(ids=(971,), size=(64, 32)),
                "strangers": World(ids=(6000, 500), size=(96, 32)),
                "peta": World(ids=(4000,), size=(64, 32)),
                "coco-keypoints": World(ids=(4000, 500), size=(64, 32)),
            },
            threads=1,
            seeds=5,
        ),
        Profile(
            "bench",
            "the full-size networks on a few thousand procedural identities, pretrained on "
            "strangers; for a GPU",
            {
                "cuhk-pedes": World(ids=(3000, 100, 500), size=(192, 64)),
                "cuhk-pedes-ssm-to-others": World(ids=(3000, 100, 1000), size=(192, 64)),
                "icfg-pedes": World(ids=(1000, 300), size=(192, 64)),
                "market1501": World(ids=(751, 300), size=(128, 64)),
                "dukemtmc-reid": World(ids=(702, 300), size=(128, 64)),
                "cuhk-sysu": World(ids=(2500, 500), size=(128, 64)),
                "cuhk03": World(ids=(767, 700), size=(128, 64)),
                "cuhk01": World(ids=(971,), size=(128, 64)),
                "strangers": World(ids=(6000, 500), size=(192, 64)),
                "peta": World(scale=1.0, size=(128, 64)),
                "coco-keypoints": World(ids=(10000, 500), size=(128, 64)),
            },
            threads=None,
            jobs_per_gpu=4,
            seeds=3,
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
