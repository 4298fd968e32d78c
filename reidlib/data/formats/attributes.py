"""Attributes of persons: the label files of Market-1501 and DukeMTMC-reID (Lin et al., 2019), and
what they have in common with PETA's.

market_attribute.mat and duke_attribute.mat (MATLAB v5) hold a structure of that name with the
structures train and test. Each of their fields is one attribute of all persons of that half, in the
order of `image_index`, the persons' numbers as text ("0002"). The order of the fields differs
between the halves. Labels belong to persons, not to images; values count from 1.

Here an attribute is a name, as in FGSAM's Table I, and classes that count from 0; several yes/no
fields for colors become one attribute. `UNLABELED` stands where a file says nothing: persons
without a color, or with several, and DukeMTMC's length of upper clothing where it is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset
from reidlib.data.formats.checks import shown
from reidlib.data.formats.exported import load_mat
from reidlib.errors import DataError, UsageError

UNLABELED = -1
INDEX = "image_index"
NO_YES = ("no", "yes")

# Columns of FGSAM's Table I.
NAMES = (
    "gender", "hair", "L.slv", "L.low", "L.up", "T.low", "hat", "B.pack", "bag", "H.bag", "age",
    "C.up", "C.low", "C.shoes", "boots",
)  # fmt: skip
IN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "gender": "gender",
        "hair": "length of hair",
        "L.slv": "length of sleeves",
        "L.low": "length of lower clothing",
        "L.up": "length of upper clothing",
        "T.low": "type of lower clothing",
        "hat": "hat",
        "B.pack": "backpack",
        "bag": "bag",
        "H.bag": "handbag",
        "age": "age",
        "C.up": "color of upper clothing",
        "C.low": "color of lower clothing",
        "C.shoes": "color of shoes",
        "boots": "boots",
    }
)


@dataclass(frozen=True)
class Attribute:
    """One attribute: its name, one of `NAMES`, and its classes.

    `fields` are those of the file behind it. A single one has the values 1, 2, ... for the classes
    in order; of several, one per class, the class is the one that is 2 ("yes") where the others
    are 1. `may_be_0`: the release has zeros in this field, which say nothing.
    """

    name: str
    classes: tuple[str, ...]
    fields: tuple[str, ...] = ()
    may_be_0: bool = False


@dataclass(frozen=True)
class Schema:
    """The attribute file of a dataset: its name and variable, and what is in it."""

    file: str
    attributes: tuple[Attribute, ...]

    @property
    def variable(self) -> str:
        return self.file.removesuffix(".mat")

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(name for attribute in self.attributes for name in attribute.fields)


def _colors(name: str, prefix: str, colors: str) -> Attribute:
    classes = tuple(colors.split())
    return Attribute(name, classes, tuple(f"{prefix}{color}" for color in classes))


def _flag(name: str, field: str) -> Attribute:
    return Attribute(name, NO_YES, (field,))


MARKET = Schema(
    "market_attribute.mat",
    (
        Attribute("gender", ("male", "female"), ("gender",)),
        Attribute("hair", ("short", "long"), ("hair",)),
        Attribute("L.slv", ("long", "short"), ("up",)),
        Attribute("L.low", ("long", "short"), ("down",)),
        Attribute("T.low", ("dress", "pants"), ("clothes",)),
        _flag("hat", "hat"),
        _flag("B.pack", "backpack"),
        _flag("bag", "bag"),
        _flag("H.bag", "handbag"),
        Attribute("age", ("young", "teenager", "adult", "old"), ("age",)),
        _colors("C.up", "up", "black white red purple yellow gray blue green"),
        _colors("C.low", "down", "black white pink purple yellow gray blue green brown"),
    ),
)
DUKE = Schema(
    "duke_attribute.mat",
    (
        Attribute("gender", ("male", "female"), ("gender",)),
        Attribute("L.up", ("short", "long"), ("top",), may_be_0=True),
        _flag("hat", "hat"),
        _flag("B.pack", "backpack"),
        _flag("bag", "bag"),
        _flag("H.bag", "handbag"),
        _colors("C.up", "up", "black white red purple gray blue green brown"),
        _colors("C.low", "down", "black white red gray blue green brown"),
        Attribute("C.shoes", ("dark", "light"), ("shoes",)),
        _flag("boots", "boots"),
    ),
)
SCHEMAS: Mapping[str, Schema] = MappingProxyType({"market1501": MARKET, "dukemtmc-reid": DUKE})
# The repositories that the files come from, as folders beside the datasets.
REPOSITORIES = {"market1501": "Market-1501_Attribute", "dukemtmc-reid": "DukeMTMC-attribute"}


@dataclass(frozen=True)
class AttributeTable:
    """The attributes of P persons.

    pids: int64 (P,), ascending. labels: int64 (P, A), class of each attribute from 0, `UNLABELED`
    where the file says none. `notes` are sentences about oddities that were tolerated.
    """

    attributes: tuple[Attribute, ...]
    pids: np.ndarray
    labels: np.ndarray
    notes: tuple[str, ...] = ()

    def of(self, pids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Labels int64 (N, A) of N images by their persons; `UNLABELED` for persons without."""
        pids = np.asarray(pids, dtype=np.int64)
        at = np.searchsorted(self.pids, pids).clip(max=len(self.pids) - 1)
        known = self.pids[at] == pids
        return np.where(known[:, None], self.labels[at], UNLABELED)

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Name and number of classes of every attribute, as models take them."""
        return sizes(self.attributes)


def sizes(attributes: Sequence[Attribute]) -> tuple[tuple[str, int], ...]:
    """Name and number of classes of every attribute.

    Example:
        >>> sizes(DUKE.attributes)[:2]
        (('gender', 2), ('L.up', 2))
    """
    return tuple((attribute.name, len(attribute.classes)) for attribute in attributes)


# ------------------------------------------------------------------ files


def schema_of(dataset: str) -> Schema:
    """Raises `UsageError` for a dataset whose attributes are in no such file."""
    if dataset not in SCHEMAS:
        raise UsageError(f"{dataset} has no attribute file: expected {', '.join(SCHEMAS)}")
    return SCHEMAS[dataset]


def find(dataset: Dataset) -> Path:
    """The attribute file of a dataset: in its folder, or in a clone of its authors' repository
    beside it. Raises `DataError` if it is in neither."""
    schema = schema_of(dataset.name)
    places = (
        dataset.root / schema.file,
        dataset.root.parent / REPOSITORIES[dataset.name] / schema.file,
    )
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"{dataset.name}: no attribute file; expected {places[0]} or {places[1]}, which Lin et al. "
        f"publish in the repository {REPOSITORIES[dataset.name]}"
    )


def load(dataset: Dataset, path: Path | None = None) -> AttributeTable:
    """The attributes of the persons of a dataset.

    Args:
        path: the file; by default the one that `find` finds.

    Raises:
        DataError: the file is missing, of another dataset, of MATLAB v7.3, truncated, or lacks a
            field; a value that the field does not have; the persons of its two halves are not
            those of the images.
    """
    path = path or find(dataset)
    schema = schema_of(dataset.name)
    values = read(path, schema)
    notes = _check_persons(path, dataset, values)
    table = pd.concat([values["train"], values["test"]]).sort_index()
    labels, more = _classes(schema, table)
    return AttributeTable(
        schema.attributes, table.index.to_numpy(np.int64), labels, (*notes, *more)
    )


def read(path: Path, schema: Schema) -> dict[str, pd.DataFrame]:
    """The file as it is: for "train" and "test" a table with a row per person (index: pid) and a
    column per field, values from 1. Raises `DataError` as `load` does."""
    what = f"the structure {schema.variable} with train and test"
    try:
        content = load_mat(path, what, [schema.variable])
    except DataError as error:
        other = [s.file for s in SCHEMAS.values() if s is not schema and s.variable in str(error)]
        if "no variable" in str(error) and other:
            raise DataError(
                f"{path}: the attribute file of another dataset ({other[0]}); expected {what}"
            ) from error
        raise
    top = content[schema.variable]
    halves = {}
    for half in ("train", "test"):
        if not hasattr(top, half) or not hasattr(getattr(top, half), "_fieldnames"):
            raise DataError(f"{path}: {schema.variable} has no structure {half!r}; expected {what}")
        halves[half] = _half(path, schema, half, getattr(top, half))
    both = sorted(set(halves["train"].index) & set(halves["test"].index))
    if both:
        raise DataError(
            f"{path}: person {both[0]:04d} is in train and in test; expected every person once"
        )
    return halves


def _half(path: Path, schema: Schema, half: str, content: Any) -> pd.DataFrame:
    found = set(content._fieldnames)
    missing = [name for name in (INDEX, *schema.fields) if name not in found]
    if missing:
        extra = sorted(found - {INDEX, *schema.fields})
        raise DataError(
            f"{path}: {half} has no field {missing[0]!r}"
            + (f" ({len(missing)} are missing)" if len(missing) > 1 else "")
            + f"; expected {INDEX} and the {len(schema.fields)} fields of {schema.file}"
            + (f"; found besides: {', '.join(extra)}" if extra else "")
        )
    pids = _persons(path, half, getattr(content, INDEX))
    columns = {}
    for attribute in schema.attributes:
        many = len(attribute.fields) > 1
        most = 2 if many else len(attribute.classes)
        least = 0 if attribute.may_be_0 else 1
        for name in attribute.fields:
            values = np.atleast_1d(np.asarray(getattr(content, name)))
            if values.shape != pids.shape or values.dtype.kind not in "iuf":
                raise DataError(
                    f"{path}: {half}, field {name!r}: {values.size} values of type {values.dtype}; "
                    f"expected a number for each of the {len(pids)} persons of {INDEX}"
                )
            wrong = ~((values >= least) & (values <= most) & (values == np.round(values)))
            if wrong.any():
                at = int(np.argmax(wrong))
                raise DataError(
                    f"{path}: {half}, person {pids[at]:04d}: {name} is {values[at]:g}; expected "
                    f"{least} to {most} ({_meaning(attribute, many)})"
                )
            columns[name] = values.astype(np.int64)
    return pd.DataFrame(columns, index=pd.Index(pids, name="pid"))


def _meaning(attribute: Attribute, many: bool) -> str:
    classes = NO_YES if many else attribute.classes
    zero = ["0 not labeled"] if attribute.may_be_0 else []
    return ", ".join([*zero, *(f"{i} {name}" for i, name in enumerate(classes, start=1))])


def _persons(path: Path, half: str, index: Any) -> np.ndarray:
    names = [str(name) for name in np.atleast_1d(index)]
    # Other scripts have digits, too, and a power of two is one ("²"), but no number.
    wrong = [name for name in names if not (name.isascii() and name.isdigit() and len(name) < 10)]
    if wrong:
        raise DataError(
            f"{path}: {half}, {INDEX}: {shown(wrong[0])!r}; expected persons' numbers as text, "
            "such as '0002'"
        )
    pids = np.array([int(name) for name in names], dtype=np.int64)
    different, times = np.unique(pids, return_counts=True)
    if (times > 1).any():
        first = different[times > 1][0]
        raise DataError(f"{path}: {half}: person {first:04d} stands there twice; expected once")
    return pids


def _check_persons(
    path: Path, dataset: Dataset, values: Mapping[str, pd.DataFrame]
) -> tuple[str, ...]:
    """Of training persons, images and labels must be the same set. The test half may lack persons
    who are only in the gallery, and may have some of whom there is no image: these are notes."""
    in_train = set(dataset.splits["train"]["pid"])
    labeled = {half: set(table.index) for half, table in values.items()}
    asked = set(dataset.splits["query"]["pid"])
    shown = asked | {pid for pid in dataset.splits["gallery"]["pid"] if pid > 0}
    for missing, what in (
        (in_train - labeled["train"], "training persons have no attributes"),
        (asked - labeled["test"], "persons of the queries have no attributes"),
        (labeled["train"] - in_train, "persons of its train half are in no training image"),
    ):
        if missing:
            raise DataError(
                f"{path}: {len(missing):,} {what}, the first is {min(missing):04d}; expected the "
                f"persons of {dataset.root}. Is it the file of another copy or dataset?"
            )
    notes = []
    if more := labeled["test"] - shown:
        notes.append(f"{len(more)} persons have attributes and no image, the first is {min(more)}")
    if without := shown - labeled["test"]:
        notes.append(f"{len(without)} persons of the gallery have no attributes")
    return tuple(notes)


def _classes(schema: Schema, table: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """Classes from 0 (P, A) of the values from 1, and notes about what is not labeled."""
    columns, notes = [], []
    for attribute in schema.attributes:
        values = table[list(attribute.fields)].to_numpy()
        if len(attribute.fields) == 1:
            classes = values[:, 0] - 1  # 0, "not labeled", becomes UNLABELED
        else:
            yes = values == 2
            classes = np.where(yes.sum(1) == 1, yes.argmax(1), UNLABELED)
            several = int((yes.sum(1) > 1).sum())
            if several:
                notes.append(f"{several} persons have several labels for the "
                             f"{IN_WORDS[attribute.name]}: taken as none")  # fmt: skip
        columns.append(classes)
        if without := int((classes == UNLABELED).sum()):
            notes.append(f"{without} persons have no label for the {IN_WORDS[attribute.name]}")
    return np.stack(columns, 1), tuple(notes)
