"""The steps that every paper's notebook takes, in the same words."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getsource
from typing import Any

import pandas as pd
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from reidlib.experiment import Experiment
from reidlib.explore import compare, gradients, search
from reidlib.explore.common import learning_rates
from reidlib.papers import driver, tinker
from reidlib.papers.driver import Place
from reidlib.papers.tables import load_notes, load_tables
from reidlib.papers.tinker import row_of
from reidlib.report import Html, answers, escape, figures
from reidlib.report.claims import claims_table, notes_list
from reidlib.report.labels import marked, plain, row_label
from reidlib.report.record import record
from reidlib.report.results import PaperResults, collect
from reidlib.report.settings import settings_table
from reidlib.report.tables import data_table, published_table
from reidlib.report.verdicts import is_judged
from reidlib.run.plan import key_of, plan, plan_experiments
from reidlib.run.pool import raise_if_failed, run_missing
from reidlib.run.session import Session, project_root


def train(session: Session, paper: str, train_missing: bool = True) -> Html:
    """Train the runs of a paper's tables that are not in the store, if asked to; says how many are.

    Raises `TrainingError` if any fails.
    """
    planned = plan(session, [paper])
    if train_missing:
        raise_if_failed(run_missing(session, planned))
    runs = [session.store.load(p.key) for p in planned]
    there = sum(run is not None for run in runs)
    elsewhere = sum(run is not None and run.weights is None for run in runs)
    note = f"; {elsewhere} of them came along without weights" if elsewhere else ""
    return Html(f"<p>{there} of {len(planned)} runs are in the store{note}.</p>")


def settings(experiment: Experiment, caption: str) -> Html:
    """What an experiment's model and training are set to."""
    training = experiment.training
    more = {
        "image size": (training.image_size, "height and width in pixels"),
        "batch size": training.batch_size,
        "optimizer": training.optimizer,
        "steps per epoch": training.steps or "one pass over the training split",
        "learning rates": learning_rates(training),
        "starts from": training.pretrained
        or "; ".join(earlier.name for earlier in experiment.before)
        or "random weights",
    }
    return settings_table(experiment.model, caption, more=more, hide=("ids", "vocabulary"))


def curve(session: Session, experiment: Experiment, what: str, more: str = "") -> Html:
    """The losses of a finished run by epoch, with what it took; or that it is not there yet."""
    run = session.store.load(key_of(session, experiment))
    if run is None:
        return not_trained(what)
    caption = (
        f"{what}: {run.metrics['seconds']:.0f} s of training at "
        f"{run.metrics['images_per_s']:.0f} images/s on {run.provenance['device']}, "
        f"{run.metrics['parameters']:,} parameters. {more}"
    )
    return figures.curves(run.history, caption=caption.strip())


def parameters(networks: Mapping[str, Mapping[str, int]], caption: str) -> Html:
    """The weights of networks by their parts, side by side; a dash where one has no such part.

    networks: name -> part -> number, parts in the order of the network that has most.
    """
    parts = max(networks.values(), key=len)
    numbers = {
        name: pd.array([counts.get(part) for part in parts], dtype="Int64")
        for name, counts in networks.items()
    }
    return data_table(pd.DataFrame({"part": [Html(marked(p)) for p in parts], **numbers}), caption)


def shapes(tensors: Mapping[str, Tensor], caption: str) -> Html:
    """The shapes of tensors by what they are."""
    rows = [
        {"what": Html(marked(what)), "shape": " × ".join(map(str, tensor.shape))}
        for what, tensor in tensors.items()
    ]
    return data_table(pd.DataFrame(rows), caption)


def loss_gradients(
    session: Session, experiment: Experiment, trained: Any | None, what: str
) -> Html:
    """What each term of a trained model's loss asks of the backbone; or that there is no model.

    trained: with its `model` and its `data`, as a paper's `load_trained` returns it.
    """
    if trained is None:
        return not_trained(what, session, experiment)
    table = gradients.loss_gradients(experiment, trained.model, trained.data)
    batches = f"{gradients.BATCHES} training batches"
    return data_table(table, f"{what}, one training: means over {batches}.", decimals=3)


def not_trained(
    what: str, session: Session | None = None, experiment: Experiment | None = None
) -> Html:
    """In place of what needs a trained model: why it is not there, and the command that trains it,
    if the experiment is a row's."""
    row = None if experiment is None else row_of(experiment, session.profile)
    if row is None:
        return Html(f"<p>{what} has not been trained here in this profile yet.</p>")
    command = (
        f"python -m reidlib run --profile {session.profile} --papers {experiment.paper} "
        f"--row {row} --dataset {experiment.dataset} --seeds 1"
    )
    if session.data is not None:
        command += f" --data {shlex.quote(str(session.data))}"
    if session.world_seed:
        command += f" --world-seed {session.world_seed}"
    if session.results != project_root() / "results":
        command += f" --results {shlex.quote(str(session.results))}"
    if session.store.load_reference(key_of(session, experiment)) is None:
        why = f"{what} has not been trained here in this profile yet."
    else:
        why = f"{what}: the numbers came along with the project, the weights did not."
        command += " --with-weights"
    return Html(
        f"<p>{why} To look inside, train it and write the report again: "
        f"<code>{escape(command)}</code></p>"
    )


def source(function: Callable[..., Any] | type, *more: Callable[..., Any]) -> Html:
    """The code of a function as it runs, for the place where its equations stand; below it, that of
    those of its module which it calls."""
    text = "\n\n".join(map(getsource, (function, *more)))
    code = highlight(text, PythonLexer(), HtmlFormatter(cssclass="highlight"))
    code = code.replace("<pre>", '<pre tabindex="0">', 1)  # scrolls, with keys too
    where = f"{function.__module__}.{function.__qualname__}"
    return Html(f'<details class="source" open><summary>{where}</summary>{code}</details>')


@dataclass(frozen=True)
class Outcome:
    """What a paper's runs come to, and how it is shown."""

    results: PaperResults
    profile: str

    def table(self, number: int) -> Html:
        """A table of the paper beside the measurements."""
        return published_table(self.results.tables[number], synthetic=self.results.synthetic)

    def forest(self) -> Html:
        """The differences behind the claims with their intervals."""
        return figures.forest(self.results.claims, judged=is_judged(self.profile))

    def claims(self) -> Html:
        """The checklist of the paper's claims."""
        return claims_table(
            self.results.claims,
            synthetic=self.results.synthetic,
            tables={number: filled.table for number, filled in self.results.tables.items()},
            stability=self.results.stability,
            judged=is_judged(self.profile),
        )


def outcome(session: Session, paper: str) -> Outcome:
    """Collect what is measured, and write the tables as CSV."""
    results = collect(session, paper)
    record(session, results)
    return Outcome(results, session.profile)


def notes(paper: str) -> Html:
    """Where the paper is silent, ambiguous or misprinted, and what was chosen."""
    return notes_list(load_notes(paper))


def where_rows_differ(
    session: Session, paper: str, first: Place, second: Place, queries: int = 8, galleries: int = 2
) -> Html:
    """Two cells of a paper's tables query by query: the curves, on how many queries which is
    better, and those on which they differ most; what both find for the first of these where their
    weights are here.
    """
    found = compare.compare(session, paper, first, second)
    if found is None:
        return Html("<p>One of the two rows has not been trained in this profile yet.</p>")
    tables = load_tables(paper)
    titles = [plain(row_label(tables[table], slug)) for table, slug, _ in (first, second)]
    dataset = session.dataset(driver.cell(paper, session.profile, *first).experiments[0].dataset)
    trainings = [len(side.scores) for side in (found.first, found.second)]
    better, equal, worse = found.counts()
    kind = "rank of the first correct picture" if found.by_rank else found.first.metric
    many = (
        "" if max(trainings) == 1 else f", mean over {' and '.join(map(str, trainings))} trainings"
    )
    caption = (
        f"{titles[0]} and {titles[1]} on {better + equal + worse:,} queries: {titles[1]} is better "
        f"on {better:,}, as good on {equal:,}, worse on {worse:,} ({kind}{many})."
    )
    if found.cut is not None:
        caption += f" The runs that came along know no ranks beyond {found.cut - 1}."
    chart = figures.comparison(
        {title: side.cmc for title, side in zip(titles, (found.first, found.second), strict=True)},
        found.values,
        by_rank=found.by_rank,
        cut=found.cut,
        what=found.first.metric,
        caption=caption,
    )
    what = f"The queries on which the two rows differ most, with the {kind}{many}."
    shown = [chart, data_table(compare.table(found, titles, dataset, queries), what)]
    rows = [search.row_of(session, paper, place) for place in (first, second)]
    for query in found.order[:galleries].tolist():
        for title, row in zip(titles, rows, strict=True):
            if None not in rows:
                shown.append(_gallery(search.engine(session, row), query, title))
    return sum(shown[1:], start=shown[0])


def _gallery(engine: search.Engine, query: int, title: str) -> Html:
    if engine.by_sentence:
        answer = search.by_sentence(engine, engine.data.test.captions[query])
    else:
        answer = search.by_image(engine, query)
    return answers.shown(engine, answer, f"{title}, first finished training.")


def changed(session: Session, paper: str, row: str, **settings: Any) -> Html:
    """Train a row with other settings, and show it beside the row as published.

    Example: `changed(session, "ssan", "ssan", alpha1=0.3)`. Any field of the model or of the
    training; an unknown one raises `UsageError` with the nearest field's name.
    """
    if not settings:
        return Html("<p>Nothing is changed yet.</p>")
    rows = []
    for experiment in tinker.trainings_of(paper, session.profile, row):
        for each in (experiment, tinker.with_settings(experiment, settings, session.profile)):
            seeds = [driver.with_seed(each, seed) for seed in range(session.seeds)]
            planned = plan_experiments(session, seeds)
            raise_if_failed(run_missing(session, planned))
            rows += _metrics(session, each.name, seeds)
    return data_table(pd.DataFrame(rows), f"{row} as published, and with other settings.")


def _metrics(session: Session, name: str, seeds: Sequence[Experiment]) -> list[dict[str, Any]]:
    runs = [session.store.load(key_of(session, experiment)) for experiment in seeds]
    return [
        {
            "training": name,
            "dataset": seeds[0].dataset,
            "evaluation": evaluation,
            **{
                metric: sum(run.metrics["evaluations"][evaluation][metric] for run in runs)
                / len(runs)
                for metric in metrics
            },
        }
        for evaluation, metrics in runs[0].metrics["evaluations"].items()
    ]
