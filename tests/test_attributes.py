"""Attribute files of Market-1501 and DukeMTMC-reID: written, read, and everything that is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from reidlib.data.dataset import Dataset
from reidlib.data.formats import attributes, dukemtmc, market1501
from reidlib.data.formats.attributes import DUKE, MARKET, SCHEMAS, UNLABELED, AttributeTable
from reidlib.data.formats.exported import load_mat
from reidlib.errors import DataError, UsageError
from reidlib.papers.tables import load_tables
from reidlib.world.drawing.shot import make_shot
from reidlib.world.people.identity import make_identity
from reidlib.world.write import write
from reidlib.world.writers import attributes as writer
from reidlib.world.writers import dukemtmc as duke_writer
from reidlib.world.writers.image_worlds import save_mat

SEED = 3


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("market")
    write("market1501", root, seed=SEED, ids=(5, 4), size=(48, 24))
    return market1501.load(root)


def dataset(name: str, root: Path, train: list[int], test: list[int], others: list[int]) -> Dataset:
    """Tables only: `test` are queries and gallery, `others` in the gallery alone."""
    frames = {
        split: pd.DataFrame({"pid": np.array(pids, np.int64), "camid": 1, "path": "x"})
        for split, pids in (("train", train), ("query", test), ("gallery", [*test, *others]))
    }
    return Dataset(name, root, root, frames, (), None)


def values(schema: attributes.Schema, number: int) -> dict[str, np.ndarray]:
    """The lowest value of every field for `number` persons."""
    return {name: np.ones((1, number), np.uint8) for name in schema.fields}


def names(*pids: int) -> np.ndarray:
    index = np.empty((1, len(pids)), dtype=object)
    index[0, :] = [f"{pid:04d}" for pid in pids]
    return index


@pytest.fixture
def duke(tmp_path: Path) -> Callable[..., Dataset]:
    """A DukeMTMC file with persons 2 and 370 in train, 1, 5951 and the distractor 7140 in test.

    `change` gets the two halves to break them.
    """

    def made(change: Callable[[dict[str, dict[str, Any]]], None] = lambda halves: None) -> Dataset:
        halves = {
            "train": {**values(DUKE, 2), "image_index": names(2, 370)},
            "test": {**values(DUKE, 3), "image_index": names(1, 5951, 7140)},
        }
        change(halves)
        save_mat(tmp_path / DUKE.file, {DUKE.variable: halves})
        return dataset("dukemtmc-reid", tmp_path, [2, 370], [1, 5951], [7140])

    return made


def message(data: Dataset) -> str:
    with pytest.raises(DataError) as caught:
        attributes.load(data)
    return str(caught.value)


# --- what is written is what is loaded


def test_number_of_fields() -> None:
    assert (len(MARKET.fields), len(DUKE.fields)) == (27, 23)
    assert len(set(MARKET.fields)) == 27 and len(MARKET.attributes) == 12
    assert [a.name for a in DUKE.attributes] == [
        "gender", "L.up", "hat", "B.pack", "bag", "H.bag", "C.up", "C.low", "C.shoes", "boots"
    ]  # fmt: skip


def test_table_1_follows_from_the_label_files() -> None:
    """As printed for Market-1501; for DukeMTMC-reID but for two ticks that are shifted."""
    printed = {
        row.slug: {name for name, tick in row.values.items() if tick == "✓"}
        for row in load_tables("fgsam")[1].rows
    }
    own = {name: {a.name for a in schema.attributes} for name, schema in SCHEMAS.items()}
    assert printed["market1501"] == own["market1501"]
    assert printed["duke"] ^ own["dukemtmc-reid"] == {"bag", "age"}
    assert set(load_tables("fgsam")[1].columns[1:]) == set(attributes.NAMES)
    assert set(attributes.IN_WORDS) == set(attributes.NAMES)


def test_round_trip(market: Dataset) -> None:
    table = attributes.load(market)
    people = sorted(set(market.splits["train"]["pid"]) | set(market.splits["query"]["pid"]))
    assert table.pids.tolist() == people
    assert table.sizes == attributes.sizes(MARKET.attributes)
    at = {attribute.name: i for i, attribute in enumerate(table.attributes)}
    for row, pid in zip(table.labels, table.pids, strict=True):
        identity = make_identity(SEED, 1_000_000 + int(pid) - 1)
        for name, expected in (
            ("gender", identity.sex),
            ("hair", "long" if identity.hair_length == "long" else "short"),
            ("L.slv", "long" if identity.upper.length == "long" else "short"),
            ("L.low", identity.lower.length),
            ("T.low", "dress" if identity.lower.kind in ("skirt", "dress") else "pants"),
        ):
            assert table.attributes[at[name]].classes[row[at[name]]] == expected
        color = identity.upper.color
        classes = table.attributes[at["C.up"]].classes
        if color in classes:
            assert classes[row[at["C.up"]]] == color
        carried = {thing.kind for thing in identity.carried}
        assert row[at["B.pack"]] <= ("backpack" in carried)


def test_things_are_labeled_if_a_picture_shows_them(market: Dataset) -> None:
    table = attributes.load(market)
    column = [a.name for a in table.attributes].index("B.pack")
    for pid, label in zip(table.pids, table.labels[:, column], strict=True):
        shots = [make_shot(SEED, 1_000_000 + int(pid) - 1, n, "market", 1) for n in range(60)]
        if label:
            assert any(thing.kind == "backpack" for shot in shots for thing in shot.carried)


def test_fields_are_in_different_orders(market: Dataset) -> None:
    top = load_mat(market.root / MARKET.file, "it", [MARKET.variable])[MARKET.variable]
    assert top._fieldnames == ["test", "train"]
    assert top.train._fieldnames != top.test._fieldnames
    assert (
        set(top.train._fieldnames) == set(top.test._fieldnames) and len(top.train._fieldnames) == 28
    )
    assert all(len(name) == 4 for name in np.atleast_1d(top.test.image_index))


def test_labels_by_image(market: Dataset) -> None:
    table = attributes.load(market)
    gallery = market.splits["gallery"]["pid"].to_numpy()
    labels = table.of(gallery)
    assert labels.shape == (len(gallery), 12)
    assert (labels[gallery <= 0] == UNLABELED).all()  # junk and distractors are nobody
    known = dict(zip(table.pids.tolist(), table.labels, strict=True))
    for pid, row in zip(gallery, labels, strict=True):
        assert pid <= 0 or (row == known[pid]).all()
    beyond = AttributeTable(table.attributes, table.pids, table.labels).of([0, 9_999])
    assert (beyond == UNLABELED).all()


def test_world_labels_of_dukemtmc(tmp_path: Path) -> None:
    people = {pid: make_identity(SEED, pid) for pid in range(1, 201)}
    halves = {
        half: {
            pid: writer.duke(identity, frozenset({"handbag", "hat"}), half == "test")
            for pid, identity in people.items()
            if (pid <= 20) == (half == "train")
        }
        for half in ("train", "test")
    }
    writer.write(tmp_path, "dukemtmc-reid", halves)
    data = dataset("dukemtmc-reid", tmp_path, list(range(1, 21)), list(range(21, 201)), [])
    table = attributes.load(data)
    at = {attribute.name: i for i, attribute in enumerate(table.attributes)}
    assert (table.labels[:, at["H.bag"]] == 1).all() and (table.labels[:, at["hat"]] == 1).all()
    assert (table.labels[:, at["B.pack"]] == 0).all()
    boots = [identity.footwear == "boots" for identity in people.values()]
    assert table.labels[:, at["boots"]].tolist() == boots
    two = [identity.lower.second is not None and pid > 20 for pid, identity in people.items()]
    assert any(two)
    read = attributes.read(tmp_path / DUKE.file, DUKE)["test"]
    colors = read[[f for f in DUKE.fields if f.startswith("down")]]
    assert ((colors == 2).sum(axis=1) >= 2).any()


def test_dukemtmc_is_written_with_its_attributes(tmp_path: Path) -> None:
    write("dukemtmc-reid", tmp_path, seed=SEED, ids=(6, 5), size=(48, 24))
    data = dukemtmc.load(tmp_path)
    table = attributes.load(data)
    shown = {pid for split in data.splits.values() for pid in split["pid"]}
    assert set(table.pids.tolist()) == shown  # distractors, too
    plan = {picture.pid: picture.person for picture in duke_writer.plan(SEED, ids=(6, 5))}
    at = {attribute.name: i for i, attribute in enumerate(table.attributes)}
    for pid, row in zip(table.pids.tolist(), table.labels, strict=True):
        identity = make_identity(SEED, plan[pid])
        assert row[at["gender"]] == (identity.sex == "female")
        assert row[at["boots"]] == (identity.footwear == "boots")
    # What nobody can see in any picture is not labeled as carried.
    carried = table.labels[:, [at["bag"], at["H.bag"], at["B.pack"]]]
    assert set(np.unique(carried)) <= {0, 1}


# --- oddities of the releases


def test_duke_zeros_colors_and_distractors(duke: Callable[..., Dataset]) -> None:
    def change(halves: dict[str, dict[str, Any]]) -> None:
        halves["train"]["top"] = np.array([[2, 0]], np.uint8)  # person 370 of the release
        halves["test"]["downblack"] = np.array([[1, 2, 1]], np.uint8)
        halves["test"]["downblue"] = np.array([[2, 2, 1]], np.uint8)  # person 5951 has several

    table = attributes.load(duke(change))
    assert table.pids.tolist() == [1, 2, 370, 5951, 7140]
    at = {attribute.name: i for i, attribute in enumerate(table.attributes)}
    assert table.labels[:, at["L.up"]].tolist() == [0, 1, UNLABELED, 0, 0]
    blue = DUKE.attributes[at["C.low"]].classes.index("blue")
    expected = [blue, UNLABELED, UNLABELED, UNLABELED, UNLABELED]
    assert table.labels[:, at["C.low"]].tolist() == expected
    assert any("1 persons have several labels" in note for note in table.notes)


def test_fields_may_come_in_any_order_and_number_type(duke: Callable[..., Dataset]) -> None:
    def change(halves: dict[str, dict[str, Any]]) -> None:
        halves["train"] = {k: halves["train"][k] for k in reversed(halves["train"])}
        halves["train"]["gender"] = np.array([[2.0, 1.0]])

    table = attributes.load(duke(change))
    assert table.labels[[1, 2], 0].tolist() == [1, 0]


def test_persons_beyond_those_in_the_images(duke: Callable[..., Dataset]) -> None:
    data = duke()
    fewer = dataset("dukemtmc-reid", data.root, [2, 370], [1], [])
    assert any("2 persons have attributes and no image" in n for n in attributes.load(fewer).notes)
    more = dataset("dukemtmc-reid", data.root, [2, 370], [1, 5951], [7140, 8000])
    assert any("1 persons of the gallery have no" in n for n in attributes.load(more).notes)


def test_file_in_the_authors_repository(market: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "Market-1501-v15.09.15"
    clone = tmp_path / "Market-1501_Attribute"
    clone.mkdir()
    moved = Dataset("market1501", root, root, market.splits, (), None)
    assert str(clone / MARKET.file) in message(moved)
    (clone / MARKET.file).write_bytes((market.root / MARKET.file).read_bytes())
    assert attributes.find(moved) == clone / MARKET.file
    assert attributes.load(moved).pids.tolist() == attributes.load(market).pids.tolist()


# --- what is wrong ends in an error that says so


@pytest.mark.parametrize(
    ("half", "field", "wrong", "says"),
    [
        ("train", "hat", [1, 3], "person 0370: hat is 3; expected 1 to 2 (1 no, 2 yes)"),
        ("train", "hat", [0, 1], "person 0002: hat is 0; expected 1 to 2"),
        ("test", "top", [1, 2, 3], "person 7140: top is 3; expected 0 to 2"),
        ("test", "shoes", [1.0, np.nan, 2.0], "person 5951: shoes is nan"),
        ("test", "boots", [1.5, 1, 1], "person 0001: boots is 1.5"),
        ("test", "upred", [1, 1], "'upred': 2 values"),
    ],
)
def test_values_out_of_range(
    half: str, field: str, wrong: list[float], says: str, duke: Callable[..., Dataset]
) -> None:
    text = message(duke(lambda halves: halves[half].update({field: np.array([wrong])})))
    assert DUKE.file in text and says in text


def test_age_has_four_values(tmp_path: Path) -> None:
    train = {**values(MARKET, 4), "image_index": names(2, 7, 10, 11)}
    train["age"] = np.array([[1, 2, 3, 4]], np.uint8)
    test = {**values(MARKET, 1), "image_index": names(1)}
    save_mat(tmp_path / MARKET.file, {MARKET.variable: {"test": test, "train": train}})
    data = dataset("market1501", tmp_path, [2, 7, 10, 11], [1], [0, -1])
    column = [a.name for a in MARKET.attributes].index("age")
    assert attributes.load(data).labels[1:, column].tolist() == [0, 1, 2, 3]
    train["age"][0, 0] = 5
    save_mat(tmp_path / MARKET.file, {MARKET.variable: {"test": test, "train": train}})
    assert "person 0002: age is 5; expected 1 to 4 (1 young, 2 teenager" in message(data)


def test_a_field_is_missing(duke: Callable[..., Dataset]) -> None:
    text = message(duke(lambda halves: halves["test"].pop("boots")))
    assert "test has no field 'boots'" in text and "23 fields" in text
    text = message(duke(lambda halves: halves["test"].pop("image_index")))
    assert "no field 'image_index'" in text


def test_a_half_is_missing(duke: Callable[..., Dataset]) -> None:
    assert "no structure 'test'" in message(duke(lambda halves: halves.pop("test")))


def test_the_file_of_another_dataset(duke: Callable[..., Dataset], tmp_path: Path) -> None:
    data = duke()
    (tmp_path / DUKE.file).rename(tmp_path / MARKET.file)
    other = dataset("market1501", tmp_path, [2, 370], [1, 5951], [])
    text = message(other)
    assert f"the attribute file of another dataset ({DUKE.file})" in text
    assert data.root == other.root


def test_persons_who_are_not_those_of_the_images(duke: Callable[..., Dataset]) -> None:
    root = duke().root
    for train, test, says in (
        ([2, 370, 371], [1, 5951], "1 training persons have no attributes, the first is 0371"),
        ([2], [1, 5951], "1 persons of its train half are in no training image, the first is 0370"),
        ([2, 370], [1, 9], "1 persons of the queries have no attributes, the first is 0009"),
    ):
        text = message(dataset("dukemtmc-reid", root, train, test, []))
        assert says in text and str(root) in text


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (["0002", "37a"], "'37a'"),
        (["0002", "²"], "'²'"),  # a digit, and no number
        (["0002", "٣"], "'٣'"),
        (["0002", "9" * 30], "'999"),
        (["0002", "9" * 5000], "'999"),
        (["0002", "0002"], "person 0002 stands there twice"),
        (["0002", "0001"], "person 0001 is in train and in test"),
    ],
)
def test_persons_numbers(index: list[str], says: str, duke: Callable[..., Dataset]) -> None:
    wrong = np.empty((1, 2), dtype=object)
    wrong[0, :] = index
    assert says in message(duke(lambda halves: halves["train"].update(image_index=wrong)))


def test_no_file_and_no_such_dataset(tmp_path: Path) -> None:
    data = dataset("dukemtmc-reid", tmp_path, [1], [2], [])
    text = message(data)
    assert str(tmp_path / DUKE.file) in text and "DukeMTMC-attribute" in text
    with pytest.raises(UsageError, match="viper has no attribute file"):
        attributes.load(dataset("viper", tmp_path, [1], [2], []))


@pytest.mark.parametrize("keep", [0, 60, 200, 0.5, 0.99])
def test_truncated(keep: float, duke: Callable[..., Dataset]) -> None:
    data = duke()
    path = data.root / DUKE.file
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    assert str(path) in message(data)


def test_matlab_v7_3(duke: Callable[..., Dataset], tmp_path: Path) -> None:
    data = duke()
    path = tmp_path / DUKE.file
    path.unlink()
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group(DUKE.variable)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header + path.read_bytes()[len(header) :])
    text = message(data)
    assert str(path) in text and "v7.3" in text and "v5" in text
