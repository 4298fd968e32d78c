"""Keys of experiments: what is hashed, and that keys of finished runs stay as they are."""

from dataclasses import dataclass, replace

from reidlib.experiment import Experiment, Stage, Training, changed, hash_json


@dataclass(frozen=True)
class Config:
    width: float = 1.0
    depth: int = 4


def experiment(**changes) -> Experiment:
    training = Training((Stage("all", (0.1,)),), batch_size=4, image_size=(8, 4))
    base = Experiment("mynet", "a row", "cuhk01", Config(width=0.5), training, seed=0, recipe=1)
    return replace(base, **changes)


def test_keys_of_experiments_that_join_nothing_are_those_of_old():
    """The key as it was computed before there were `joins`, from its parts."""
    settings = {
        "paper": "mynet", "dataset": "cuhk01", "seed": 0, "recipe": 1,
        "model": {"class": "Config", "width": 0.5},
        "training": {
            "stages": [{"name": "all", "lrs": [0.1]}], "batch_size": 4, "image_size": [8, 4],
        },
    }  # fmt: skip
    assert experiment().key("f") == hash_json({"experiment": settings, "data": "f"})
    with_start = {"experiment": settings, "data": "f", "start": "s"}
    assert experiment(start=experiment(seed=1)).key("f", "s") == hash_json(with_start)
    assert experiment().key("f", "s", ()) == hash_json(with_start)


def test_what_is_joined_is_part_of_the_key():
    one, other = experiment(seed=1), experiment(seed=2)
    keys = {
        experiment(joins=(one,)).key("f", "s", ("a",)),
        experiment(joins=(one, other)).key("f", "s", ("a", "b")),
        experiment(joins=(other, one)).key("f", "s", ("b", "a")),
        experiment(joins=(one,)).key("f", "", ("a",)),
        experiment().key("f", "s"),
        experiment().key("f"),
    }
    assert len(keys) == 6
    assert "joins" not in experiment(joins=(one,)).settings()


def test_before_is_the_start_and_then_what_is_joined():
    one, two, three = (experiment(seed=seed) for seed in (1, 2, 3))
    assert experiment().before == ()
    assert experiment(joins=(two, three)).before == (two, three)
    assert experiment(start=one, joins=(two, three)).before == (one, two, three)


def test_all_before_has_each_behind_what_it_rests_on():
    one, two = (experiment(seed=seed) for seed in (1, 2))
    later = experiment(start=one, seed=3)
    last = experiment(start=later, joins=(two,))
    assert one.all_before == ()
    assert last.all_before == (one, later, two)


def test_defaults_are_not_hashed():
    assert changed(Config(depth=5)) == {"depth": 5}
