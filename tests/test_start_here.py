"""What notebook 00 trains: kept in the store, told epoch by epoch, drawn as it goes."""

import pytest

from reidlib.explore import search, start_here
from reidlib.run.session import Session


@pytest.fixture(scope="module")
def session(tmp_path_factory, tiny_world) -> Session:
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=tiny_world)


def test_it_is_trained_once_and_told_again(session):
    told = []
    run = start_here.train(session, on_epoch=told.append)
    epochs = start_here.experiment(session).training.epochs
    assert [epoch["epoch"] for epoch in told] == list(range(epochs))
    again = []
    assert start_here.train(session, on_epoch=again.append).key == run.key
    assert [epoch["loss"] for epoch in again] == [epoch["loss"] for epoch in told]
    assert {"Top-1", "Top-5", "Top-10"} <= set(run.metrics["evaluations"][start_here.EVALUATION])
    found = start_here.engine(session)
    sentence = found.data.test.captions[0]
    answer = search.by_sentence(found, sentence)
    if found.data.test.captions.count(sentence) == 1:
        assert answer.first == run.ranks(start_here.EVALUATION)[0]
    assert start_here.experiment(session, 1).key("") != start_here.experiment(session).key("")


def test_it_takes_half_a_minute_of_a_core_and_starts_from_nothing():
    """At ten steps a second, see docs/training.md."""
    experiment = start_here.experiment(Session.create("demo"))
    training = experiment.training
    assert training.epochs * training.steps / 10 <= 25
    assert training.pretrained == "" and experiment.before == ()
    assert experiment.model.width <= 1 / 16 and training.image_size == (96, 32)


def test_the_curve_is_drawn_anew_in_the_same_place(monkeypatch):
    live = pytest.importorskip("reidlib.report.live")
    shown = []

    class Place:
        def update(self, html):
            shown.append(str(html))

    def display(html, display_id):
        assert display_id is True
        shown.append(str(html))
        return Place()

    monkeypatch.setattr(live, "display", display)
    curve = live.LiveCurve("A <network>", 2)
    assert "A &lt;network&gt;: the first of 2 epochs" in shown[0]
    for epoch in (0, 1):
        curve({"epoch": epoch, "lr": 0.1, "loss": 3.0 - epoch, "id_g": 1.0, "seconds": 2.0,
               "images": 100})  # fmt: skip
    assert len(shown) == 3
    assert "epoch 1 of 2, 100 pictures" in shown[1]
    assert "epoch 2 of 2, 200 pictures with their sentences in 4 s" in shown[2]
    assert "the loss goes from 3 to 2" in shown[2] and "Learning rate" not in shown[2]
