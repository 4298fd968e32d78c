"""The committed reference results against a training that was just done."""

import statistics

from scipy.special import stdtrit

from reidlib.papers import driver
from reidlib.run.plan import key_of, planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session

# GLA's baseline from random weights: of all rows of `study` the one that costs least, and the one
# that needs no pretraining.
ROW = ("starts", "basel", "random")


def test_a_rerun_lies_where_the_kept_trainings_say(tmp_path):
    """On the kind of processor of the kept runs it is one of them again; on another it is one more
    training of the row, which leaves the 99 % prediction interval of the others once in a hundred
    kinds."""
    session = Session.create("study", tmp_path)
    cell = driver.cell("gla", "study", *ROW, 5)
    kept = [session.store.load_reference(key_of(session, each)) for each in cell.experiments]
    assert None not in kept, "results/reference/study lacks the row"
    values = [run.metrics["evaluations"][cell.evaluation][cell.metric] for run in kept]

    run = run_one(session, planned_for(session, cell.experiments[0]))
    found = run.metrics["evaluations"][cell.evaluation][cell.metric]
    n = len(values)
    room = stdtrit(n - 1, 0.995) * statistics.stdev(values) * (1 + 1 / n) ** 0.5
    assert abs(found - statistics.fmean(values)) <= room
