"""PETA: what is written is what is loaded, its split, its labels, and everything that is wrong."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reidlib import doctor
from reidlib.data.formats import checks, peta
from reidlib.data.formats.attributes import UNLABELED
from reidlib.data.formats.peta import ARCHIVE, FOLDER, LABELS, SUBSETS, Person
from reidlib.data.load import load
from reidlib.errors import DataError, UsageError
from reidlib.papers.tables import load_tables
from reidlib.world.people.identity import make_identity
from reidlib.world.write import world_fingerprint, write
from reidlib.world.writers import peta as writer

SEED = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("peta")
    write("peta", root, seed=SEED, ids=(30,), size=(24, 12))
    return root


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """A data folder to break."""
    shutil.copytree(world / FOLDER, tmp_path / FOLDER)
    return tmp_path


def message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        peta.load(root)
    return str(caught.value)


def label_file(root: Path, subset: str = "GRID") -> Path:
    return root / FOLDER / subset / ARCHIVE / LABELS


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


# --- what is written is what is loaded


def test_full_size() -> None:
    plan = writer.plan(0, scale=1.0)
    assert writer.count(plan) == {name: {"images": n, "ids": None} for name, n in SUBSETS.items()}
    assert len(plan) == len({picture.path for picture in plan}) == 19_000
    assert plan == writer.plan(0, scale=1.0) != writer.plan(1, scale=1.0)


@pytest.mark.parametrize("number", [0, 1])
def test_split_of_full_size(number: int) -> None:
    plan = writer.plan(0, scale=1.0)
    images: dict[tuple[str, int], list[str]] = {}
    for picture in plan:
        images.setdefault((picture.path.split("/")[0], picture.pid), []).append(picture.path)
    people = [Person(s, str(pid), frozenset(), tuple(paths)) for (s, pid), paths in images.items()]
    parts = peta.split_people(people, number)
    sizes = {name: len(part) for name, part in parts.items()}
    assert sizes == {"train": 9_500, "val": 1_900, "query": 423, "gallery": 7_177}
    who = {name: {person.key for person, _ in part} for name, part in parts.items()}
    assert who["query"] <= who["gallery"]
    assert not (who["train"] & who["gallery"] or who["train"] & who["val"])
    assert not who["val"] & who["gallery"]
    assert len(who["query"]) == 423
    again = peta.split_people(people[::-1], number)
    assert {n: sorted(p for _, p in part) for n, part in again.items()} == {
        n: sorted(p for _, p in part) for n, part in parts.items()
    }


def test_round_trip(world: Path) -> None:
    dataset = peta.load(world)
    assert set(dataset.splits) == {"train", "val", "query", "gallery"}
    plan = writer.plan(SEED, ids=(30,))
    assert sum(len(table) for table in dataset.splits.values()) == len(plan)
    assert Counter(source for t in dataset.splits.values() for source in t["source"]) == Counter(
        picture.path.split("/")[0] for picture in plan
    )
    train, query, gallery = (dataset.splits[name] for name in ("train", "query", "gallery"))
    assert not set(train["pid"]) & set(gallery["pid"]) and set(query["pid"]) <= set(gallery["pid"])
    assert list(train["label"]) == np.unique(train["pid"], return_inverse=True)[1].tolist()
    assert all(path.is_file() for name in dataset.splits for path in dataset.image_paths(name))
    assert peta.count(dataset.splits) == checks.expected_counts(
        peta.PUBLISHED["peta"], dataset.synthetic, dataset.root
    )
    other = peta.load(world, split=1)
    assert (dataset.split, other.split) == (0, 1)
    assert set(other.splits["train"]["path"]) != set(train["path"])
    drawn = world_fingerprint("peta", seed=SEED, ids=(30,), size=(24, 12))
    assert other.fingerprint == dataset.fingerprint == drawn
    assert len(dataset.files) == 10 + len(plan) and load(world, "peta-split-1").split == 1
    with pytest.raises(UsageError, match="split"):
        peta.load(world, split=10)


def test_identities_are_of_a_folder(world: Path) -> None:
    """Person 0001 of two folders is two persons."""
    dataset = peta.load(world)
    of_pid: dict[int, set[tuple[str, str]]] = {}
    for table in dataset.splits.values():
        for pid, path, source in zip(table["pid"], table["path"], table["source"], strict=True):
            of_pid.setdefault(pid, set()).add((source, Path(path).name.partition("_")[0]))
    assert all(len(names) == 1 for names in of_pid.values())
    assert len({next(iter(names)) for names in of_pid.values()}) == len(of_pid)


def test_attributes_of_the_world(world: Path) -> None:
    dataset = peta.load(world)
    table = peta.load_attributes(dataset)
    people = {person.key: person for person in peta.read_people(world)}
    assert len(table.pids) == len(people)
    at = {attribute.name: i for i, attribute in enumerate(table.attributes)}
    for picture in writer.plan(SEED, ids=(30,)):
        subset, _, name = picture.path.split("/")
        key = f"{subset}/{name.partition('_')[0]}"
        row = table.labels[list(people).index(key)]
        identity = make_identity(SEED, picture.person)
        assert row[at["gender"]] == (identity.sex == "female")
        assert row[at["hair"]] == (identity.hair_length == "long")
        assert row[at["T.low"]] == (identity.lower.kind not in ("skirt", "dress"))
        assert row[at["L.low"]] == (identity.lower.length != "long")
        assert row[at["boots"]] == (identity.footwear == "boots")
    assert (table.labels != UNLABELED).all()
    columns = peta.columns(list(people.values()))
    assert columns.shape == (len(people), 105) and set(np.unique(columns)) <= {0, 1}


def test_all_tokens_of_the_world_are_tokens_of_the_release() -> None:
    for pid in range(400):
        written = writer.tokens(make_identity(SEED, pid), frozenset({"umbrella", "hat"}))
        assert set(written) <= set(peta.TOKENS)


def test_tokens() -> None:
    assert (len(peta.BINARY), len(peta.TOKENS), len(set(peta.TOKENS))) == (61, 105, 105)
    columns = {
        name for name, tick in load_tables("fgsam")[1].row("peta").values.items() if tick == "✓"
    }
    # Table I ticks the length of upper clothing, of which PETA has no label.
    assert columns ^ {attribute.name for attribute in peta.ATTRIBUTES} == {"L.up", "L.low"}


def test_labels_by_hand(copy: Path) -> None:
    line = "0001 personalMale personalLess60 hairBald accessoryHat upperBodyNoSleeve "
    line += "lowerBodyShorts footwearSneaker accessoryFaceMask upperBodyRed upperBodyBlue "
    line += "carryingPlasticBags lowerBodyLogo\n"
    edit(label_file(copy), lambda text: line + text.partition("\n")[2])
    table = peta.load_attributes(peta.load(copy))
    keys = [person.key for person in peta.read_people(copy)]
    row = table.labels[keys.index("GRID/0001")]
    found = {
        attribute.name: attribute.classes[label] if label >= 0 else None
        for attribute, label in zip(table.attributes, row, strict=True)
    }
    assert found == {
        "gender": "male", "hair": "short", "L.slv": "short", "L.low": "short", "T.low": "pants",
        "hat": "yes", "B.pack": "no", "bag": "yes", "age": "adult", "C.up": None, "C.low": None,
        "C.shoes": None, "boots": "no",
    }  # fmt: skip
    person = peta.read_people(copy)[keys.index("GRID/0001")]
    assert "footwearSneakers" in person.tokens and "accessoryFaceMask" not in person.tokens


def test_both_spellings_are_written(world: Path) -> None:
    text = " ".join(label_file(world, subset).read_text() for subset in SUBSETS)
    assert {"footwearSneaker", "footwearSneakers"} <= set(text.split())


def test_a_line_without_image_is_noted(copy: Path) -> None:
    edit(label_file(copy), lambda text: text + "9999 personalMale\n\n")
    assert any("1 lines of Label.txt files have no image" in note for note in peta.load(copy).notes)


def test_the_doctor_counts_the_ten_folders(copy: Path) -> None:
    (row,) = [row for row in doctor.datasets(copy) if row["name"] == "peta"]
    assert row["state"] == "ok" and {c["split"] for c in row["counts"]} == set(SUBSETS)
    label_file(copy).unlink()
    (row,) = [row for row in doctor.datasets(copy) if row["name"] == "peta"]
    assert row["state"] == "wrong" and str(label_file(copy)) in row["detail"]


# --- what is wrong ends in an error that says so


def test_missing_subsets(copy: Path) -> None:
    shutil.rmtree(copy / FOLDER / "MIT")
    shutil.rmtree(copy / FOLDER / "PRID" / ARCHIVE)
    text = message(copy)
    assert "2 of the ten subsets are missing: MIT, PRID" in text and "Expected:" in text


def test_a_wrong_place(copy: Path) -> None:
    assert f"pass {copy}" in message(copy / FOLDER)
    (copy / FOLDER).rename(copy / "PETA")
    assert f"rename that folder to {FOLDER}" in message(copy)


def test_no_label_file(copy: Path) -> None:
    label_file(copy).unlink()
    assert str(label_file(copy)) in message(copy)


def test_names_that_are_no_text(copy: Path) -> None:
    """Linux takes any bytes as a name; splits are drawn by names."""
    images = [image for person in peta.read_people(copy) for image in person.images]
    for image in images:
        path = copy / peta.FOLDER / image
        if "_" in path.name:  # what stands before it is the person
            path.rename(path.with_name(f"{path.stem}_\udcff{path.suffix}"))
    dataset = peta.load(copy)
    assert sum(map(len, dataset.splits.values())) == len(images)
    assert any("\udcff" in path for path in dataset.splits["query"]["path"])


def test_an_image_without_a_line(copy: Path) -> None:
    image = copy / FOLDER / "GRID" / ARCHIVE / "0777_1_00001_0.jpeg"
    image.write_bytes(b"x")
    text = message(copy)
    assert str(image) in text and "no line for '0777'" in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0900 personalMale upperBodyTeal", "unknown attribute 'upperBodyTeal' of person 0900"),
        ("0900", "person 0900 has no attributes"),
        ("0001 personalMale", "person 0001 has a line already"),
    ],
)
def test_bad_lines(line: str, says: str, copy: Path) -> None:
    edit(label_file(copy), lambda text: text.rstrip("\n") + f"\n{line}\n")
    text = message(copy)
    number = len(label_file(copy).read_text().splitlines())
    assert says in text and f"{label_file(copy)}, line {number}" in text


def test_a_label_file_that_is_no_text(copy: Path) -> None:
    label_file(copy).write_bytes(b"0001 personal\xffMale\n")
    assert "not text" in message(copy)


def test_counts(copy: Path) -> None:
    archive = copy / FOLDER / "MIT" / ARCHIVE
    next(path for path in sorted(archive.iterdir()) if path.name != LABELS).unlink()
    assert "wrong counts" in message(copy) and "MIT" in message(copy)
    (copy / FOLDER / "SYNTHETIC.json").unlink()
    assert "4,563" in message(copy)


def test_impossible_sizes(tmp_path: Path) -> None:
    for ids in ((5,), (99_999,), (30, 30)):
        with pytest.raises(UsageError):
            write("peta", tmp_path, ids=ids)
