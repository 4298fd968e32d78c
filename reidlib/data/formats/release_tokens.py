"""The words into which a release's authors cut its captions: `processed_tokens` in the annotation.

Nothing reads them unless a training asks for it (`Training.release_tokens`): captions are cut into
words anew, because not every copy of the data has the tokens. CUHK-PEDES and ICFG-PEDES come with
them, RSTPReid does not.
"""

from pathlib import Path

from reidlib.data.dataset import Dataset
from reidlib.data.formats import checks
from reidlib.errors import DataError


def load(dataset: Dataset) -> dict[str, list[list[str]]]:
    """Per split the words of each caption, in the order of `reidlib.data.dataset.captions_frame`.

    The empty caption that stands in for none has no words.

    Raises:
        DataError: the dataset has no annotation with captions, or an image has not a list of words
            for each of its captions; names the file and the entry.
    """
    annotation = dataset.root / dataset.files[0]
    if "captions" not in dataset.splits["train"] or annotation.suffix != ".json":
        raise DataError(
            f"{dataset.root}: {dataset.name} has no captions of its own, and so no tokens of them "
            "that could be read (release_tokens)"
        )
    of_path = _read(annotation)
    found = {}
    for split, frame in dataset.splits.items():
        rows = [of_path[path] for path in frame["path"]]
        problems = [problem for _, problem in rows if problem]
        if problems:
            raise DataError(f"{annotation}: {problems[0]}")
        found[split] = [words for tokens, _ in rows for words in tokens]
        assert len(found[split]) == frame["captions"].map(len).sum(), split
    return found


def _read(annotation: Path) -> dict[str, tuple[list[list[str]], str]]:
    """Image to its captions' words and what is wrong with them, of an annotation that was loaded
    before: entries of domains that are not at hand may be wrong."""
    read = {}
    for number, entry in enumerate(checks.read_json(annotation, "an array with captions")):
        captions, _ = checks.read_captions(entry.get("captions"))
        tokens, problem = checks.read_tokens(entry.get("processed_tokens"), len(captions))
        if problem:
            problem = f"entry {number} (counted from 0): {problem}; it is {checks.shown(entry)}"
        path = entry["img_path"] if "img_path" in entry else entry["file_path"]
        read[path] = tokens or [[]], problem
    return read
