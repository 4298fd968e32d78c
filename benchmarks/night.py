"""How long a whole profile takes on this machine, from a sample of its trainings.

    python benchmarks/night.py [--profile demo|study] [--paper NAME] [--every 50] [--jobs N]

All trainings that the profile's tables need are put in order of what they compute, paper by paper.
Of every `every` of them the middle one is trained, and stands for them all; pretrainings, which are
few and of all sizes, are all trained. Everything runs as in `python -m reidlib run`: in worker
processes, as many at a time as there are cores, from the procedural world, and nothing that was
kept counts as finished. Before that, a few steps on each dataset of each paper read and decode it,
which a night does once: that is `preparing_s`, counted as it is, as is the drawing of what of the
world was not there. `hours` is what all of it would take; `core_hours` is by paper. For the demo it
is known after three minutes, for `study` after half an hour. The last line is JSON.
"""

import tempfile
import time
from collections.abc import Container, Sequence
from dataclasses import replace

from timing import arguments, begin, report

from reidlib.arguments import PAPERS
from reidlib.run.plan import Planned, plan, plan_experiments, work_of
from reidlib.run.pool import raise_if_failed, run_missing
from reidlib.run.session import Session, cpu_count


def sample(session: Session, planned: Sequence[Planned], every: int) -> dict[str, int]:
    """Key -> how many trainings it stands for, pretrainings for themselves."""
    stands_for = {p.key: 1 for p in planned if p.paper not in PAPERS}
    for paper in PAPERS:
        rows = [p for p in planned if p.paper == paper and not p.problem]
        rows.sort(key=lambda p: (work_of(session, p), p.key))
        for start in range(0, len(rows), every):
            alike = rows[start : start + every]
            stands_for[alike[len(alike) // 2].key] = len(alike)
    return stands_for


def short(session: Session, planned: Sequence[Planned]) -> list[Planned]:
    """A training of one step an epoch for each dataset of each paper, and what it starts from."""
    kinds = {(p.paper, p.experiment.dataset): p.experiment for p in planned if p.paper in PAPERS}
    return plan_experiments(
        session, [replace(e, training=replace(e.training, steps=1)) for e in kinds.values()]
    )


def train(session: Session, planned: Sequence[Planned], keys: Container[str]) -> float:
    """Seconds it takes to train these of the planned runs, and what they start from."""
    began = time.perf_counter()
    raise_if_failed(
        run_missing(session, [replace(p, wanted=p.key in keys) for p in planned], bar=False)
    )
    return time.perf_counter() - began


def main() -> None:
    parser = arguments(__doc__, turns=1, gpu=False)
    parser.add_argument("--profile", help="(default: demo; smoke with --quick)")
    parser.add_argument("--paper", choices=PAPERS, action="append", help="(default: all)")
    parser.add_argument("--every", type=int, default=50, help="one is trained of so many")
    parser.add_argument("--jobs", type=int, help="trainings at a time (default: as for `run`)")
    args = parser.parse_args()
    begin(args)
    profile = args.profile or ("smoke" if args.quick else "demo")
    with tempfile.TemporaryDirectory(prefix="reidlib-night-") as folder:
        session = Session.create(profile, folder, device="cpu", jobs=args.jobs, kept=False)
        planned = plan(session, args.paper or PAPERS)
        stands_for = sample(session, planned, args.every)
        began = time.perf_counter()
        for name in dict.fromkeys(p.experiment.dataset for p in planned if not p.problem):
            session.dataset(name, progress=True)
        drawing = time.perf_counter() - began
        train(session, planned, {p.key for p in planned if p.paper not in PAPERS})
        first = short(session, planned)
        preparing = train(session, first, {p.key for p in first})
        train(session, planned, stands_for)
        core: dict[str, float] = {}
        trained: dict[str, int] = {}
        for p in planned:
            if p.key in stands_for:
                took = session.store.load(p.key).provenance["wall_s"]
                core[p.paper] = core.get(p.paper, 0.0) + took * stands_for[p.key] / 3600
                trained[p.paper] = trained.get(p.paper, 0) + 1
    jobs = args.jobs or cpu_count()
    hours = sum(core.values()) / jobs + (drawing + preparing) / 3600
    for paper, spent in core.items():
        print(f"{paper:17} {spent:6.2f} hours of one core, by {trained[paper]} trainings")
    print(f"{hours:.2f} hours, {jobs} trainings at a time")
    result = {
        "profile": profile,
        "jobs": jobs,
        "hours": round(hours, 3),
        "core_hours": {paper: round(spent, 4) for paper, spent in core.items()},
        "trainings": sum(not p.problem for p in planned),
        "trained": trained,
        "drawing_s": round(drawing, 1),
        "preparing_s": round(preparing, 1),
    }
    report("night", args, result)


if __name__ == "__main__":
    main()
