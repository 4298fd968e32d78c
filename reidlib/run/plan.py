"""Which runs the papers' tables need, under which keys, and what they cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from reidlib.data.formats import imagefolder, strangers
from reidlib.errors import DataError, StoreError
from reidlib.experiment import Experiment
from reidlib.papers import driver
from reidlib.papers.pretraining import started
from reidlib.run.session import Session
from reidlib.run.store import RunLike


@dataclass(frozen=True)
class Planned:
    """An experiment with the key that it has on this session's data."""

    experiment: Experiment
    key: str
    start: str = ""  # key of the run that it starts from
    joins: tuple[str, ...] = ()  # keys of the runs whose weights come in addition
    problem: str = ""  # why it cannot be trained here, such as data that is not there
    wanted: bool = True  # for itself, and not only because others start from it

    @property
    def paper(self) -> str:
        return self.experiment.paper

    @property
    def before(self) -> tuple[str, ...]:
        """Keys of the runs that have to be finished first."""
        return (self.start, *self.joins) if self.start else self.joins


def plan(session: Session, papers: Iterable[str], progress: bool = False) -> list[Planned]:
    """Every distinct run that the papers' tables need in this session's profile, what others start
    from before those that start from it.

    Of the procedural world nothing is drawn. Where some of the real datasets are missing, the
    experiments on the others are planned all the same. Raises `DataError` if there is no data for
    any of them.
    """
    experiments = [
        experiment
        for paper in papers
        for experiment in driver.experiments(paper, session.profile, session.seeds)
    ]
    return plan_experiments(session, experiments, progress)


def plan_experiments(
    session: Session, experiments: Iterable[Experiment], progress: bool = False
) -> list[Planned]:
    """`plan` for any experiments."""
    planned: dict[str, Planned] = {}
    found: list[bool] = []
    missing: dict[str, DataError] = {}

    def add(experiment: Experiment) -> Planned:
        experiment = on_its_pictures(session, experiment)
        start = None if experiment.start is None else add(experiment.start)
        joins = [add(join) for join in experiment.joins]
        fingerprint, problem = "", ""
        try:
            if (error := missing.get(experiment.dataset)) is not None:
                raise error
            fingerprint = _fingerprint(session, experiment, progress)
            found.append(session.data is None or not session.draws(experiment.dataset))
        except _Lacking as error:
            problem = str(error)
        except DataError as error:
            missing[experiment.dataset] = error
            problem = str(error)
        problem = problem or next((p.problem for p in (start, *joins) if p and p.problem), "")
        keys = (start.key if start else "", tuple(join.key for join in joins))
        key = experiment.key(fingerprint, *keys, session.precision_of_keys)
        return planned.setdefault(key, Planned(experiment, key, *keys, problem))

    wanted = {add(experiment).key for experiment in experiments}
    if missing and (not any(found) or session.data is None):
        raise next(iter(missing.values()))
    return [replace(p, wanted=p.key in wanted) for p in planned.values()]


def planned_for(session: Session, experiment: Experiment) -> Planned:
    """One experiment, planned. Raises `DataError` if something that it needs is not there."""
    planned = plan_experiments(session, [experiment])[-1]
    if planned.problem:
        raise DataError(planned.problem)
    return planned


class _Lacking(DataError):
    """The dataset is there; something beside it is not."""


def _fingerprint(session: Session, experiment: Experiment, progress: bool = False) -> str:
    if session.draws(experiment.dataset) and experiment.dataset != imagefolder.NAME:
        try:  # known before anything is drawn
            driver.check_weights(experiment)
        except DataError as error:
            raise _Lacking(str(error)) from error
        return session.world_fingerprint(experiment.dataset)
    dataset = session.dataset(experiment.dataset, progress)
    try:
        driver.check(experiment, dataset)
        return driver.fingerprint(experiment, dataset)
    except DataError as error:
        raise _Lacking(str(error)) from error


def key_of(session: Session, experiment: Experiment) -> str:
    """The key of an experiment on this session's data; raises `DataError` where that is missing."""
    experiment = on_its_pictures(session, experiment)
    start = "" if experiment.start is None else key_of(session, experiment.start)
    joins = tuple(key_of(session, join) for join in experiment.joins)
    return experiment.key(
        _fingerprint(session, experiment), start, joins, session.precision_of_keys
    )


def with_all_before(planned: Sequence[Planned], chosen: Planned) -> list[Planned]:
    """A planned run, wanted for itself, and all that have to be finished before it, in the plan's
    order."""
    by_key = {p.key: p for p in planned}
    wanted: set[str] = set()
    waiting = [chosen.key]
    while waiting:
        key = waiting.pop()
        wanted.add(key)
        waiting += by_key[key].before
    return [replace(p, wanted=p.key == chosen.key) for p in planned if p.key in wanted]


def on_its_pictures(session: Session, experiment: Experiment) -> Experiment:
    """The experiment as this session trains it: pretrained on the pictures of `--imagefolder`, if
    these are given, in place of strangers."""
    if session.imagefolder is None or experiment.training.pretrained != strangers.NAME:
        return experiment
    training = replace(experiment.training, pretrained=imagefolder.NAME)
    return started(replace(experiment, training=training), session.profile)


def find(planned: Sequence[Planned], key: str) -> Planned:
    """The planned run whose key starts with `key`; raises `StoreError` if not just one."""
    found = [p for p in planned if key and p.key.startswith(key) and not p.problem]
    if len(found) != 1:
        raise StoreError(
            f"key {key!r} fits {len(found)} of the planned runs, expected one; "
            "`python -m reidlib run --dry-run` lists them"
        )
    return found[0]


# ---------------------------------------------------------------- what they cost


def minutes(session: Session, planned: Sequence[Planned]) -> dict[str, float | None]:
    """Per key the minutes that a run took, or will take here: by the time that finished runs of the
    same kind took per unit of cost; None while nothing is known."""
    runs = {p.key: session.store.load(p.key) for p in planned}
    work = {p.key: work_of(session, p) for p in planned}
    known: dict[tuple, list[float]] = {}
    for p in planned:
        run = runs[p.key]
        if run is not None and work[p.key]:
            took = run.provenance.get("wall_s", run.metrics["seconds"]) / work[p.key]
            for kind in _kinds(p.experiment):
                known.setdefault(kind, []).append(took)

    def estimate(p: Planned) -> float | None:
        run = runs[p.key]
        if run is not None:
            return run.provenance.get("wall_s", run.metrics["seconds"]) / 60
        for kind in _kinds(p.experiment):
            if kind in known:
                return sum(known[kind]) / len(known[kind]) * work[p.key] / 60
        return None

    return {p.key: estimate(p) for p in planned}


def _kinds(experiment: Experiment) -> list[tuple]:
    """From very much alike to hardly alike: runs whose time per unit of cost is compared."""
    same = replace(experiment, seed=0, name="", start=None, joins=())
    return [
        (driver.with_seed(same, 0), experiment.training),
        (experiment.paper, type(experiment.model), experiment.dataset),
        (experiment.paper, type(experiment.model)),
        (experiment.paper,),
        (),
    ]


def work_of(session: Session, planned: Planned) -> float:
    """Multiply-adds of a training; 0 where it cannot be said."""
    if planned.problem:
        return 0.0
    training = planned.experiment.training
    steps = training.steps
    if steps is None:
        steps = max(1, _training_rows(session, planned.experiment) // training.batch_size)
    images = steps * training.batch_size * training.epochs
    return driver.cost(replace(planned.experiment, start=None, joins=())) * images


def _training_rows(session: Session, experiment: Experiment) -> int:
    """Captions of the training split, or images where there are none; draws nothing."""
    if session.draws(experiment.dataset) and experiment.dataset != imagefolder.NAME:
        return session.world_training_rows(experiment.dataset)
    frame = session.dataset(experiment.dataset).splits["train"]
    return int(frame["captions"].map(len).sum()) if "captions" in frame else len(frame)


def describe(session: Session, planned: Sequence[Planned]) -> str:
    """The runs of a plan as text: key, whether it is done, its cost, its name."""
    lines = [f"{'key':16}  {'status':8} {'epochs':>6} {'minutes':>8}  run"]
    took = minutes(session, planned)
    runs: dict[str, RunLike | None] = {p.key: session.store.load(p.key) for p in planned}
    for p in planned:
        status = "done" if runs[p.key] else "no data" if p.problem else "missing"
        written = "?" if took[p.key] is None else f"{took[p.key]:.1f}"
        e = p.experiment
        lines.append(
            f"{p.key:16}  {status:8} {e.training.epochs:6} {written:>8}  {p.paper}: {e.name}, "
            f"{e.dataset}, seed {e.seed}"
        )
    left = [took[p.key] for p in planned if runs[p.key] is None and not p.problem]
    done = sum(run is not None for run in runs.values())
    total = f"{len(planned)} runs, {done} done"
    if None in left:
        lines.append(f"{total}; minutes are known once one run has finished here")
    else:
        lines.append(f"{total}, about {sum(left):.0f} minutes of computing left")
    if session.data is None:
        lines.append("Nothing was drawn for this: the procedural world is when a run needs it.")
    return "\n".join(lines)
