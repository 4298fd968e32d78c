"""What one command was told: profile, folders, device. Finds the data, or has it rendered."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from tqdm.auto import tqdm

from reidlib.data.dataset import Dataset
from reidlib.data.formats import imagefolder, strangers
from reidlib.data.load import load
from reidlib.data.register import format_of
from reidlib.errors import DataError, UsageError
from reidlib.experiment import hash_json
from reidlib.profiles import World, get_profile
from reidlib.run.store import Store
from reidlib.train import Compute
from reidlib.world.people.identity import WORLD_VERSION
from reidlib.world.write import world_fingerprint, write, writer_of

_LONGEST = 255  # bytes of a name; file systems take no more
_LAYOUT = 2  # raised when generated folders hold something else beside the data (2: a seal)


def project_root() -> Path:
    """The checkout this package is imported from; the working directory if it is installed."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


@lru_cache(maxsize=1)
def _warn_of_another_checkout() -> None:
    """Say it where the code that runs is not that of the checkout one works in: another one may be
    installed in the active environment, or come first on the path."""
    here = Path.cwd()
    for place in (here, *here.parents):
        if (place / "reidlib" / "run" / "session.py").is_file():
            if place.resolve() != Path(__file__).resolve().parents[2]:
                print(
                    f"warning: this is the code of {Path(__file__).resolve().parents[2]}, not of "
                    f"{place}, which you are in",
                    file=sys.stderr,
                )
            return


@dataclass(frozen=True)
class Session:
    """The arguments of a command, as plain data so that it can be handed to worker processes.

    `data` is the folder with the real datasets; None means the procedural world of `world_seed`.
    """

    profile: str
    results: Path
    seeds: int  # trainings of each row
    data: Path | None = None
    device: str = "auto"
    jobs: int | None = None
    world_seed: int = 0
    imagefolder: Path | None = None  # pictures in class folders, to pretrain on
    precision: str = "auto"  # of trainings: "auto" | "fp32" | "bf16"
    kept: bool = True  # whether runs below results/reference count as finished

    @classmethod
    def create(
        cls,
        profile: str = "demo",
        results: str | Path | None = None,
        data: str | Path | None = None,
        seeds: int | None = None,
        device: str = "auto",
        jobs: int | None = None,
        world_seed: int = 0,
        imagefolder: str | Path | None = None,
        precision: str = "auto",
        kept: bool = True,
    ) -> "Session":
        """Check the arguments at once; `seeds` is the profile's own number by default.

        Raises `UsageError` or `DeviceError`.
        """
        Compute.choose(device, precision=precision)
        seeds = get_profile(profile).seeds if seeds is None else seeds
        if seeds < 1:
            raise UsageError(f"--seeds {seeds}: expected at least 1")
        if jobs is not None and jobs < 1:
            raise UsageError(f"--jobs {jobs}: expected at least 1")
        if profile == "paper" and data is None:
            raise UsageError(
                "profile paper runs on real data: give --data DIR, a folder that holds the "
                "datasets (data/README.md shows how they are placed), or choose smoke, demo or "
                "bench, which bring their own procedural world"
            )
        folder = Path(results or project_root() / "results").absolute()
        if any(len(os.fsencode(part)) > _LONGEST for part in folder.parts):
            raise UsageError(f"--results {results}: a name of more than {_LONGEST} bytes")
        _warn_of_another_checkout()
        return cls(
            profile=profile,
            results=folder.resolve(),
            seeds=seeds,
            data=None if data is None else Path(data).resolve(),
            device=device,
            jobs=jobs,
            world_seed=world_seed,
            imagefolder=None if imagefolder is None else Path(imagefolder).resolve(),
            precision=precision,
            kept=kept,
        )

    @property
    def folder(self) -> Path:
        """`results/<profile>`: the reports, tables and runs of this profile."""
        return self.results / self.profile

    @property
    def cache(self) -> Path:
        """Decoded images, encoded captions, embeddings of galleries; safe to delete."""
        return self.results / "cache"

    @property
    def store(self) -> Store:
        references = project_root() / "results" / "reference" / self.profile / "runs"
        return Store(self.folder, references if self.kept else None, self.precision)

    @property
    def precision_of_keys(self) -> str:
        """What enters the keys of runs: bf16 that was asked for makes runs of their own. Without
        being asked, whatever finished run is there counts, and reports say what it computed in."""
        return "bf16" if self.precision == "bf16" else ""

    @property
    def threads(self) -> int | None:
        """CPU threads of a run; None: shared out among the jobs."""
        return get_profile(self.profile).threads

    def draws(self, name: str) -> bool:
        """Whether a dataset is one of the procedural world. Strangers always are: no real dataset
        has them."""
        return self.data is None or name == strangers.NAME

    def data_root(self, name: str) -> Path:
        """The folder that holds the folder of a dataset.

        Raises `UsageError` if this profile renders no such dataset.
        """
        if not self.draws(name):
            return self.data
        name, world = self.world(name)
        # Named after all that decides its content, so that a changed world gets a new folder.
        content = [asdict(world), writer_of(format_of(name)).VERSION, WORLD_VERSION, _LAYOUT]
        world_folder = f"{name}-seed{self.world_seed}-{hash_json(content, digits=6)}"
        return project_root() / "data" / "synthetic" / self.profile / world_folder

    def dataset(self, name: str, progress: bool = False) -> Dataset:
        """Load a dataset, after rendering it if this session runs on the procedural world.

        Raises `DataError` if the data is missing or not what it should be, `UsageError` if this
        profile renders no such dataset.
        """
        if name == imagefolder.NAME:
            if self.imagefolder is None:
                raise DataError(
                    "a pretraining on pictures in class folders, such as ILSVRC2012: give "
                    "--imagefolder DIR"
                )
            return _load_folder(self.imagefolder, self.cache)
        root = self.data_root(name)
        if self.draws(name):
            _render(self, self.world(name)[0], root, progress)
        exports = self.cache / f"exported-{hash_json(str(root), digits=8)}"
        return _load(root, name, exports, self.cache)

    def world_fingerprint(self, name: str) -> str:
        """`Dataset.fingerprint` of a dataset of the procedural world; draws nothing."""
        found, world = self.world(name)
        return world_fingerprint(
            format_of(found),
            seed=self.world_seed,
            ids=world.ids,
            scale=world.scale,
            size=world.size,
        )

    def world_training_rows(self, name: str) -> int:
        """About how many captions, or images where there are none, the training split of a dataset
        of the procedural world has; draws nothing."""
        found, world = self.world(name)
        writer = writer_of(format_of(found))
        planned = writer.plan(self.world_seed, world.scale, world.ids)
        train = writer.count(planned).get("train", {})
        if rows := train.get("captions") or train.get("images"):
            return rows
        return sum(len(getattr(p, "people", (p,))) for p in planned if p.split != "test")

    def world(self, name: str) -> tuple[str, World]:
        """What is rendered for a dataset: a world of its own, or the one of its format."""
        worlds = get_profile(self.profile).worlds
        found = name if name in worlds else format_of(name)
        if found not in worlds:
            raise UsageError(
                f"profile {self.profile} renders no {name}: give --data DIR with the real one"
            )
        return found, worlds[found]

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Session":
        return cls.create(**json.loads(text))


def cpu_count() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=32)
def _render(session: Session, name: str, root: Path, progress: bool) -> None:
    world = get_profile(session.profile).worlds[name]
    write(
        format_of(name),
        root,
        seed=session.world_seed,
        scale=world.scale,
        ids=world.ids,
        size=world.size,
        jobs=session.jobs or cpu_count(),
        progress=Bar(f"rendering {name}") if progress else None,
    )


class Bar:
    """A tqdm bar as the callback (done, total) that writers and caches report to."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            self.bar = tqdm(total=total, desc=self.title, unit="image")
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()


_load = lru_cache(maxsize=16)(load)
_load_folder = lru_cache(maxsize=1)(imagefolder.load)
