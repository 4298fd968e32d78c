"""The reference results of the demo against a training that was just done."""

import statistics

from scipy.special import stdtrit

from reidlib.papers import driver
from reidlib.run.plan import key_of, planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session

PLACE = (2, "basel", "Market mAP")  # of GLA: the row of the demo that costs least


def test_a_rerun_of_a_demo_row_lies_where_the_others_say(tmp_path):
    """On another kind of processor it is one more training of the row: it is to lie in the 95 %
    prediction interval of those that are kept."""
    session = Session.create("demo", tmp_path)
    cell = driver.cell("gla", "demo", *PLACE, 3)
    kept = [session.store.load_reference(key_of(session, e)) for e in cell.experiments]
    assert None not in kept, "results/reference/demo lacks the row"
    values = [run.metrics["evaluations"][cell.evaluation][cell.metric] for run in kept]

    run = run_one(session, planned_for(session, cell.experiments[0]))
    found = run.metrics["evaluations"][cell.evaluation][cell.metric]
    n = len(values)
    room = stdtrit(n - 1, 0.975) * statistics.stdev(values) * (1 + 1 / n) ** 0.5
    assert abs(found - statistics.fmean(values)) <= room
