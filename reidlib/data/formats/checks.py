"""Checks shared by the loaders; messages say what was expected, what was found, what to do."""

import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from reidlib.errors import DataError

SYNTHETIC = "SYNTHETIC.json"
MAX_PATH = 1_000  # characters
MAX_ID = 2**31 - 1
MAX_CAPTION = 10_000  # characters; those of the releases have some hundreds
MAX_JSON = 1 << 30  # bytes; the largest annotation there is, of COCO, has half of that
_LISTED = 12
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Counts:
    """What can be counted in a split; None where the dataset has no such thing or no number."""

    images: int | None
    ids: int | None
    captions: int | None = None


def locate(root: Path, folder: str, annotation: str | Sequence[str], tree: str) -> Path:
    """Return `root / folder`, or raise `DataError` with the path that should have been given.

    `annotation` is a file or folder, or several spellings of its name, that only this dataset has
    directly below `folder`; it is how a dataset is recognized in a place where it should not be.
    `tree` is the expected layout.
    """
    annotations = (annotation,) if isinstance(annotation, str) else annotation
    root = Path(root)
    wanted = root / folder
    if _has_one(wanted, annotations):
        return wanted
    advice = _advice(root, folder, annotations)
    if advice is None and wanted.is_dir():
        return wanted  # the right place; what it lacks is for the loader to say
    problem = f"there is no folder {folder} in {root}" if root.is_dir() else f"no folder {root}"
    raise DataError(
        f"{folder} not found: {problem}.\n"
        + (f"{advice}\n" if advice else "")
        + expected_and_found(tree, root)
    )


def _has_one(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).exists() for name in names)


def _advice(root: Path, folder: str, annotations: Sequence[str]) -> str | None:
    """Look above `root` and up to two folders below it; a sentence that says what to pass."""
    above = [place for place in (root, *root.absolute().parents) if _has_one(place, annotations)]
    below: list[Path] = []
    if root.is_dir() and not above:
        for depth in ("*", "*/*", f"*/*/{folder}"):
            for name in annotations:
                below += sorted(hit.parent for hit in root.glob(f"{depth}/{name}"))
    places = above or sorted(below, key=lambda place: place.name != folder)
    if not places:
        return None
    place = places[0].absolute()
    kind = "synthetic data" if (place / SYNTHETIC).exists() else "it"
    if place.name != folder:
        return f"{place} looks like {kind}: rename that folder to {folder} and pass {place.parent}"
    if above:
        return f"The data folder is the one that contains {folder}: pass {place.parent}"
    return f"There is {kind} in a folder below: pass {place.parent}"


def expected_and_found(tree: str, folder: Path) -> str:
    """The expected layout and a short listing of what `folder` holds."""
    return f"Expected:\n{_indent(tree)}\nFound:\n{_indent(listing(folder))}"


def listing(folder: Path) -> str:
    """Up to a dozen entries of `folder`, folders first and marked by a slash."""
    if not folder.exists():
        return f"{folder} does not exist"
    if not folder.is_dir():
        return f"{folder} is a file"
    entries = sorted(folder.iterdir(), key=lambda entry: (not entry.is_dir(), entry.name))
    lines = [f"{folder}/"]
    lines += [f"  {entry.name}{'/' if entry.is_dir() else ''}" for entry in entries[:_LISTED]]
    if len(entries) > _LISTED:
        lines.append(f"  ... and {len(entries) - _LISTED} more")
    if not entries:
        lines.append("  (empty)")
    return "\n".join(lines)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip("\n").splitlines())


def path_problem(name: str) -> str:
    """Why `name`, as an annotation gives it, is no path below a dataset's folder; "" if it is one.

    The one guard of all loaders: nothing outside of the dataset is read.
    """
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or ":" in parts[0]:
        return "expected a relative path with forward slashes"
    if any(part in ("", ".", "..") for part in parts):
        return "expected a relative path without empty parts, '.' and '..'"
    if _HALF.search(name) or any(ord(sign) < 32 for sign in name):
        return "expected a path of printable characters"
    if len(name) > MAX_PATH or any(len(part.encode()) > 255 for part in parts):
        return f"expected at most {MAX_PATH} characters, and 255 bytes for a name"
    return ""


def read_captions(value: Any) -> tuple[list[str], str]:
    """The captions of an annotation's entry, and what is wrong with them ("" if nothing is).

    No list at all is an empty one. Halves of characters, which some writers of JSON leave behind,
    become the replacement character, which no word holds.
    """
    captions = value or []
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        return [], "captions must be a list of strings"
    if any(len(text) > MAX_CAPTION for text in captions):
        return [], f"expected captions of at most {MAX_CAPTION:,} characters"
    return [_HALF.sub("\ufffd", text) for text in captions], ""


def read_tokens(value: Any, captions: int) -> tuple[list[list[str]], str]:
    """The words of an entry's captions, a list for each, and what is wrong with them ("" if nothing
    is). Where there is no caption, none are expected."""
    tokens = value if captions else value or []
    if not isinstance(tokens, list) or len(tokens) != captions:
        number = "a list of words" if captions == 1 else f"{captions} lists of words"
        return [], f"expected {number} in processed_tokens, one for each caption"
    for words in tokens:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return [], "processed_tokens must be lists of strings"
        if sum(len(word) + 1 for word in words) > MAX_CAPTION:
            return [], f"expected processed_tokens of at most {MAX_CAPTION:,} characters"
    return [[_HALF.sub("\ufffd", word) for word in words] for words in tokens], ""


def shown(value: Any, most: int = 160) -> str:
    """A value as a short text that any terminal prints."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 3] + "..."


def read_json(path: Path, what: str) -> Any:
    """Parse a JSON file; `DataError` names the file and the line where it stops making sense."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_JSON:
            raise DataError(
                f"{path}: {status.st_size:,} bytes; expected {what}, a file of at most "
                f"{MAX_JSON:,} bytes"
            )
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {what}") from error
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        ended = error.pos >= len(error.doc) - 1 or error.msg.startswith("Unterminated string")
        cut = " (the file ends too early: truncated?)" if ended else ""
        raise DataError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}, "
            f"character {error.pos} of {len(error.doc)}{cut}; expected {what}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not text in UTF-8: byte {error.start} of {len(content)}; expected {what}"
        ) from error
    except (RecursionError, ValueError) as error:  # brackets in brackets, numbers of 5,000 digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{path}: not readable as JSON: {reason}; expected {what}") from error


def read_synthetic(folder: Path) -> dict[str, Any] | None:
    """Parameters of a generated dataset, None where `folder` has no SYNTHETIC.json (real data)."""
    path = folder / SYNTHETIC
    if not path.exists():
        return None
    content = read_json(path, "the parameters of a generated dataset")
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def expected_counts(
    published: Mapping[str, Counts],
    synthetic: Mapping[str, Any] | None,
    folder: Path,
    name: str = "",
) -> dict[str, Counts]:
    """Published counts, or for generated data those it was written with.

    Args:
        published: a row per split or part.
        synthetic: SYNTHETIC.json of generated data, None for real data.
        folder: where it lies, for the message.
        name: of the dataset, where the format has several with counts of their own.

    Raises:
        DataError: the generated data does not say its counts in the form of this version.
    """
    if synthetic is None:
        return dict(published)
    try:
        counts = synthetic["counts"]
        counts = counts.get(name, counts)
        found = {row: Counts(**counts[row]) for row in published}
        if any(type(n) is not int for row in found.values() for n in astuple(row) if n is not None):
            raise TypeError("a count that is no number")
        return found
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / SYNTHETIC}: expected the counts of {', '.join(published)} in it; this copy "
            f"was written by another version: delete {folder}; it is drawn anew when it is needed, "
            "or by `python -m reidlib synth`"
        ) from error


def check_counts(
    name: str, where: Path, found: Mapping[str, Counts], expected: Mapping[str, Counts], hint: str
) -> None:
    """Raise `DataError` with a table if any split's counts differ from the expected ones."""
    if dict(found) == dict(expected):
        return
    raise DataError(f"{name}: wrong counts in {where}\n{counts_table(found, expected)}\n{hint}")


def changed_after(folder: Path) -> str:
    """What to do about generated data that is not what was written."""
    return (
        f"Generated data was changed after it was written: delete {folder}; it is drawn anew when "
        "it is needed, or by `python -m reidlib synth`."
    )


def counts_table(found: Mapping[str, Counts], expected: Mapping[str, Counts]) -> str:
    """Aligned text table, a row per split: found / expected, differing cells marked with `*`."""
    names = [field.name for field in fields(Counts)]
    rows = [["split", *names]]
    for split in [*expected, *(split for split in found if split not in expected)]:
        have, want = found.get(split), expected.get(split)
        cells = []
        for i in range(len(names)):
            left = astuple(have)[i] if have else 0
            right = astuple(want)[i] if want else 0
            mark = "" if left == right or (want and right is None) else " *"
            cells.append(f"{_number(left)} / {_number(right)}{mark}")
        rows.append([split, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(names) + 1)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(["(found / expected)", *lines])


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def check_named_apart(folder: Path, names: Sequence[str], images: Sequence[str], what: str) -> None:
    """Raise `DataError` if two images would have the same file beside them: `names`, one for each,
    in `folder`; `what` says what such a file is to them, such as "be the mask of"."""
    owners: dict[str, str] = {}
    for name, image in zip(names, images, strict=True):
        if owners.setdefault(name, image) != image:
            raise DataError(
                f"{folder / name}: would {what} both {owners[name]} and {image}; expected images "
                "whose names differ in more than their suffix"
            )


def check_files(name: str, images: Path, paths: Sequence[str], sizes: Sequence[int]) -> None:
    """Raise `DataError` if image files are missing (size -1) or empty (size 0)."""
    missing = [path for path, size in zip(paths, sizes, strict=True) if size < 0]
    if missing:
        folders = sorted({path.partition("/")[0] for path in missing})
        generated = [place for place in (images, images.parent) if (place / SYNTHETIC).exists()]
        advice = (
            changed_after(generated[0])
            if generated
            else "Partial downloads are common: unpack the archive again and compare its size with "
            "the one given by whoever provides it."
        )
        raise DataError(
            f"{name}: {len(missing):,} of {len(paths):,} image files named by the annotation are "
            f"missing below {images}, in {', '.join(folders)}; the first:\n{first_of(missing)}\n"
            f"{advice}"
        )
    empty = [path for path, size in zip(paths, sizes, strict=True) if size == 0]
    if empty:
        raise DataError(
            f"{name}: {len(empty):,} image files below {images} have zero bytes (an interrupted "
            f"copy?); the first:\n{first_of(empty)}"
        )


def first_of(paths: Iterable[str], number: int = 5) -> str:
    """The first few of a long list, a line each."""
    return "\n".join(f"  {path}" for path in list(paths)[:number])
