"""Damaged files of every kind: `python -m tests.fuzz --cases 20000` from the checkout.

A case takes one file of a tiny dataset, cache, run or checkpoint, damages it, and reads it as the
suite does. What may come of it: the right result; an error of the project's own that names the
file; for the user's own data, whose content is the user's, another result under another
fingerprint. What may not: any other exception, a crash, a hang, much memory, another number under
the same name.

The cases run in a process of their own, so that a crash or a hang is a finding, too. Case n of a
seed is always the same: `--only n` repeats it. In parts, killed or not, that add up to 20,000:

    python -m tests.fuzz --cases 500 --add-to fuzz.json        again and again
"""

import argparse
import contextlib
import hashlib
import io
import json
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reidlib import doctor
from reidlib.data import content
from reidlib.data.batches import pose_people
from reidlib.data.batches.borrowed_captions import join_captions
from reidlib.data.batches.images import image_cache, read_resized
from reidlib.data.batches.masks import mask_cache
from reidlib.data.batches.pairs import encoded
from reidlib.data.dataset import Dataset
from reidlib.data.extras import extra_files
from reidlib.data.formats import attributes, imagefolder, keypoints, peta
from reidlib.data.formats.checks import SYNTHETIC
from reidlib.data.formats.mask_files import mask_paths
from reidlib.data.generated import SUMS
from reidlib.data.language.tagger import load_tagger
from reidlib.data.language.words import Vocabulary
from reidlib.data.load import load
from reidlib.data.register import FORMATS, loader_of
from reidlib.errors import DataError, ReidlibError
from reidlib.experiment import Stage, Training
from reidlib.report.index import update_summary, write_index
from reidlib.run import reference
from reidlib.run.runner import failure
from reidlib.run.session import Session
from reidlib.run.store import Store, write_history
from reidlib.train import Compute, fit
from reidlib.world.write import write

LONGEST = 10.0  # seconds of computing that a case may take
MOST = 1 << 30  # bytes that a case may add to the memory of the process
KEY = "0123456789abcdef"
WORLD = {
    "cuhk-pedes": (4, 1, 2), "icfg-pedes": (3, 2), "rstpreid": (2, 1, 1), "market1501": (3, 3),
    "dukemtmc-reid": (3, 3), "cuhk03": (4, 3), "cuhk01": (4,), "cuhk-sysu": (2, 2), "viper": (4,),
    "peta": (30,), "coco-keypoints": (6, 2), "strangers": (3, 2),
}  # fmt: skip
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
# The name under which each format is loaded, where it is not its own.
NAMES = {"cuhk03": "cuhk03-classic-labeled"}


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    `look` returns what was read, as something that can be compared; with `own` it returns that and
    a fingerprint, and what was read may differ where the fingerprint does.
    """

    name: str
    files: tuple[Path, ...]
    look: Callable[[], Any]
    own: bool = False
    weight: float = 1.0


@dataclass
class Report:
    """What a number of cases came to."""

    outcomes: Counter = field(default_factory=Counter)  # (target, outcome) -> cases
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds of a case
    memory: int = 0  # bytes that the process grew by


# ------------------------------------------------------------------ damage


def damaged(path: Path, rng: random.Random) -> bytes:
    """The content of a file, damaged: by what it holds, or byte by byte."""
    data = path.read_bytes()
    kinds: list[Callable[[bytes, random.Random], bytes]] = [flipped, shuffled]
    name = path.name
    if name.endswith((".json", ".jsonl")):
        kinds += [other_json] * 4
    elif name.endswith(".npz"):
        kinds += [other_npz] * 3
    elif name.endswith(".npy"):
        kinds += [other_npy]
    elif name.endswith(".png"):
        kinds += [other_png]
    elif name.endswith(".mat") and data[124:126] in (b"\x00\x01", b"\x01\x00"):
        kinds += [other_mat] * 3
    elif name.endswith((".txt", ".sha256")) or name == SUMS:
        kinds += [other_text] * 2
    return rng.choice(kinds)(data, rng)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """A few bits or bytes that are others."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 40))):
        if changed:
            place = rng.randrange(len(changed))
            changed[place] = rng.choice((changed[place] ^ 1 << rng.randrange(8), 0, 255, 0x7F))
    return bytes(changed)


def shuffled(data: bytes, rng: random.Random) -> bytes:
    """Cut, doubled, moved, filled, or longer."""
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    last = min(last, first + rng.choice((1, 16, 512, len(data) + 1)))
    part = data[first:last]
    noise = rng.randbytes(min(len(part), 4096))
    return rng.choice((
        data[:first], data[last:], data[:first] + data[last:], data[:last] + part + data[last:],
        data[:first] + bytes(len(part)) + data[last:], data[:first] + noise + data[last:],
        data + part, data[::-1], b"", noise,
    ))  # fmt: skip


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1.5, 2**31, 2**63, -(10**30), 1e308, math.nan, math.inf, "", "x", "\0",
    "\ud800", "../../secret.jpg", "/etc/passwd", "a" * 20_000, "<!--" * 2_000, "<script>", [], {},
    [[]], {"": None}, "nul:x", "0001", " 3 ",
)  # fmt: skip


def other_json(data: bytes, rng: random.Random) -> bytes:
    """A value replaced by an odd one, a key or an entry lost, doubled or renamed; or no JSON."""
    if rng.random() < 0.06:
        return rng.choice(
            (b"[" * 100_000, b"9" * 5_000, b"[1e999]", b"null", b'"x"', b"\xff", b"{")
        )
    lines = data.splitlines(keepends=True) if data.count(b"\n{") > 1 else [data]
    number = rng.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except ValueError:
        return flipped(data, rng)
    holder: list[Any] = [value]
    parent, key = holder, 0
    while isinstance(parent[key], (list, dict)) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
    how = rng.random()
    if how < 0.6:
        old = parent[key]
        near = [old + 1, -old, old * 1000, str(old)] if type(old) in (int, float) else []
        parent[key] = rng.choice((*ODD, *near, *near))
    elif how < 0.75:
        del parent[key]
    elif isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key) if how < 0.9 else parent[key]
    else:
        parent.insert(rng.randrange(len(parent) + 1), parent[key])
    lines[number] = json.dumps(holder[0] if holder else None).encode() + b"\n"
    return b"".join(lines)


def other_text(data: bytes, rng: random.Random) -> bytes:
    """A number or a word of a text replaced by another, or a line lost or doubled."""
    text = data.decode("latin-1")
    lines = text.splitlines(keepends=True)
    if lines and rng.random() < 0.4:
        number = rng.randrange(len(lines))
        lines[number] = rng.choice(("", lines[number] * 2, "\n", "\0\n", lines[number][::-1]))
        return "".join(lines).encode("latin-1")
    words = list(re.finditer(r"[\w.]+", text))
    if not words:
        return flipped(data, rng)
    word = rng.choice(words)
    odd = rng.choice(("0", "-1", "9" * 30, "nan", "x", "", "1e5", "../..", word[0] + "0"))
    return (text[: word.start()] + odd + text[word.end() :]).encode("latin-1")


def other_npz(data: bytes, rng: random.Random) -> bytes:
    """An archive of arrays with an array that is another, or that claims to be huge."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {entry: archive.read(entry) for entry in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error):
        return flipped(data, rng)
    if members:
        name = rng.choice(sorted(members))
        if rng.random() < 0.2:
            members[f"{name[:-4]}x.npy"] = members.pop(name)
        elif rng.random() < 0.2:
            del members[name]
        else:
            members[name] = other_npy(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            entry = zipfile.ZipInfo(name)  # of no date: a case is the same at any time
            archive.writestr(entry, member, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def other_npy(data: bytes, rng: random.Random) -> bytes:
    """An array of another kind, size or content, or one whose header lies."""
    if rng.random() < 0.3:
        shape = rng.choice((b"(1099511627776,)", b"(-1,)", b"(65536, 65536)", b"()", b"(3,)"))
        return re.sub(rb"\(\d*,? ?\d*\)", lambda _: shape, data, count=1)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return flipped(data, rng)
    changed = rng.choice((
        lambda a: a[:-1] if a.ndim else a, lambda a: a[..., None], lambda a: a.astype("U"),
        lambda a: a.ravel()[::-1], lambda a: np.zeros(0), lambda a: a.astype(np.complex64),
        lambda a: np.zeros(1 << 20, np.uint8), lambda a: a + 1, lambda a: -a, lambda a: a * np.nan,
        lambda a: np.array([None, {}]),
    ))  # fmt: skip
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.save(buffer, changed(array), allow_pickle=True)
    except (TypeError, ValueError, np.exceptions.AxisError):
        return flipped(data, rng)
    return buffer.getvalue()


def other_png(data: bytes, rng: random.Random) -> bytes:
    """A PNG file whose header says another size or kind, with a check sum that fits."""
    if len(data) < 33:
        return flipped(data, rng)
    header = bytearray(data[12:29])
    place = rng.choice((4, 8, 12, 13, 16))
    if place < 12:
        sides = (0, 1, 2, 7, 65_535, 2**31 - 1)
        header[place : place + 4] = struct.pack(">I", rng.choice(sides))
    else:
        header[place] = rng.choice((0, 1, 2, 3, 4, 6, 16, 255))
    return data[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + data[33:]


def other_mat(data: bytes, rng: random.Random) -> bytes:
    """A MATLAB file damaged below its compression, which would notice most of what is done to it"""
    parts, place = [data[:128]], 128
    while place + 8 <= len(data):
        kind, size = struct.unpack("<II", data[place : place + 8])
        parts.append(data[place : place + 8 + size])
        place += 8 + size
        if kind == 15:
            try:
                inside = zlib.decompress(parts[-1][8:])
            except zlib.error:
                continue
            if rng.random() < 0.7:
                packed = zlib.compress(rng.choice((flipped, flipped, shuffled))(inside, rng))
                parts[-1] = struct.pack("<II", 15, len(packed)) + packed
    return b"".join(parts)


def spoil(path: Path, rng: random.Random) -> Callable[[], None]:
    """Damage a file, or what stands in its place; returns what puts everything back."""
    before = path.read_bytes()

    renamed = path

    def mend() -> None:
        if renamed != path:
            renamed.unlink(missing_ok=True)
        restore(path, before)

    if path.suffix.lower() in PICTURES and rng.random() < 0.3:
        other = path.with_name(other_name(path.name, rng))
        if not os.path.lexists(other):
            renamed = other
            path.rename(renamed)
            return mend
    if rng.random() < 0.04:
        path.unlink()
        instead = rng.randrange(5)
        if instead == 1:
            path.mkdir()
        elif instead == 2:
            path.symlink_to(path.parent / "nowhere")
        elif instead == 3:
            os.mkfifo(path)
        elif instead == 4:
            path.symlink_to(path)
    else:
        path.write_bytes(damaged(path, rng))
    return mend


def other_name(name: str, rng: random.Random) -> str:
    """An odd name, or one that says something else: some datasets are annotated by names alone."""
    stem, dot, suffix = name.rpartition(".")
    numbers = list(re.finditer(r"\d+", stem)) or [re.match("", stem)]
    number = rng.choice(numbers)
    other = rng.choice(("", "0", "-1", "9" * 12, "9" * 200, "1", number[0] + "7", "x", "٣"))
    changed = stem[: number.start()] + other + stem[number.end() :]
    return rng.choice((
        changed + dot + suffix, changed + dot + suffix, f"{stem}.jpg.jpg",
        f"{stem}\udcff.{suffix}",
        f"{stem}\n.{suffix}", f"{stem} ({suffix})", f".{name}", f"{stem}.{suffix.upper()}", stem,
        name[::-1],
    ))  # fmt: skip


def restore(path: Path, content: bytes) -> None:
    """Put a file back, whatever stands in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# ------------------------------------------------------------------ what is damaged


def build(root: Path) -> list[Target]:
    """Everything that is read, tiny, below `root`."""
    world = root / "world"
    assert set(WORLD) == set(FORMATS)  # a new format is damaged, too
    for name, ids in WORLD.items():
        write(name, world, seed=3, ids=ids, size=(32, 16))
    shutil.copytree(world, root / "sealed")
    found = {name: load(world, NAMES.get(name, name), root / "exports") for name in WORLD}
    return [
        *(target for name in WORLD for target in _formats(name, world, root / "sealed")),
        *_beside(found),
        *_pictures(found, root),
        *_caches(found, root),
        *_exports(world, root),
        *_runs(root),
        _checkpoint(root),
        _references(root),
        _summary(root),
    ]


def _formats(name: str, world: Path, sealed: Path) -> Iterator[Target]:
    """A dataset whose content is the user's, and one that was generated and may not change."""
    form = FORMATS[name]
    base = NAMES.get(name, name)
    arguments = {"name": base} if len(form.datasets) > 1 else {}
    if form.exports:
        arguments["export"] = False

    def own() -> tuple[str, str]:
        dataset = loader_of(base).load(world, **arguments)
        paths = [dataset.root / file for file in dataset.files]
        return _frames(dataset), content.combined(
            zip(dataset.files, content.digests(paths), strict=True)
        )

    def generated() -> str:
        return _frames(load(sealed, base, sealed.parent / "sealed-exports"))

    read = loader_of(base).load(world, **arguments).files
    pictures = [name for name in read if name.lower().endswith(PICTURES)]
    notes = [*(name for name in read if name not in pictures), SYNTHETIC]
    shown = pictures[:: max(1, len(pictures) // 6)]
    folders = world / form.folder, sealed / form.folder
    yield Target(
        f"{name} (own)", tuple(folders[0] / n for n in (*notes, *notes, *shown)), own, own=True
    )
    unread = sorted(path for path in folders[1].rglob("*") if path.is_file())
    files = (*(folders[1] / n for n in (*notes, SUMS, *shown)), *unread[:: len(unread) // 3])
    yield Target(f"{name} (generated)", files, generated, weight=0.3)


def _frames(dataset: Dataset) -> str:
    rows = {name: frame.to_dict("list") for name, frame in dataset.splits.items()}
    return _sum([rows, dataset.notes])


def _sum(value: Any) -> str:
    with np.printoptions(threshold=sys.maxsize):
        return hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()


def _arrays(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _beside(found: dict[str, Dataset]) -> Iterator[Target]:
    """Key points, attributes, masks, and captions that lie beside a dataset."""
    market, pedes, people = found["market1501"], found["cuhk-pedes"], found["peta"]

    def own(need: str, dataset: Dataset, look: Callable[[], Any], *files: Path) -> Target:
        files = files or tuple(extra_files(need, dataset))
        return Target(
            f"{need} of {dataset.name}",
            files,
            lambda: (look(), "".join(content.digests(files))),
            own=True,
        )

    def points() -> str:
        return _sum(keypoints.load(market, "query"))

    def masks() -> str:
        with tempfile.TemporaryDirectory() as cache:
            return _arrays(mask_cache(mask_paths(pedes, "train"), (32, 16), Path(cache)))

    yield own("keypoints", market, points, *keypoints.openpose_paths(market, "query"))
    yield own("attributes", market, lambda: _sum(attributes.load(market)))
    yield own("attributes", people, lambda: _sum(peta.load_attributes(people)))
    yield own("captions", market, lambda: _sum(join_captions(market)))
    yield own("masks", pedes, masks)


def _pictures(found: dict[str, Dataset], root: Path) -> Iterator[Target]:
    """Pictures: whatever becomes of them, a cache never holds anything but what they show now."""
    folder = root / "pictures"
    for k, (name, split) in enumerate((("market1501", "train"), ("peta", "train"))):
        for path in found[name].image_paths(split)[:6]:
            (folder / f"class-{k}").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"class-{k}")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    from PIL import Image

    for k, kind in enumerate(("png", "bmp", "jpg")):
        paths.append(folder / f"class-{k % 2}" / f"other.{kind}")
        Image.open(paths[0]).save(paths[-1])
    paths = sorted(paths)

    def look() -> bool:
        now = image_cache(paths, (32, 16), root / "picture-cache")
        with_nothing = np.stack([read_resized(path, (32, 16)) for path in paths])
        return np.array_equal(now, with_nothing)

    def listed() -> tuple[str, str]:
        dataset = imagefolder.load(folder)
        return _frames(dataset), dataset.fingerprint

    yield Target("pictures", tuple(paths), look, weight=4.0)
    yield Target("image folder", tuple(paths), listed, own=True, weight=0.3)


def _caches(found: dict[str, Dataset], root: Path) -> Iterator[Target]:
    """Caches of pictures, words and poses: damaged ones are made anew."""
    cache = root / "cache"
    paths = found["viper"].image_paths("train")
    captions = [text for texts in found["cuhk-pedes"].splits["train"]["captions"] for text in texts]
    vocabulary, tagger = Vocabulary.build(captions), load_tagger()
    scenes = found["coco-keypoints"]

    def pictures() -> str:
        return _arrays(image_cache(paths, (24, 12), cache / "pictures"))

    def words() -> str:
        text = encoded(captions[:6], vocabulary, tagger, 100, cache / "words")
        return _arrays(
            text.tokens, text.lengths, text.phrases, text.phrase_lengths, text.phrase_offsets
        ) + repr(text.warnings)

    def poses() -> str:
        people = pose_people.people_of(scenes, "train", (32, 16), cache / "poses", "cpu")
        taken = people.pixels.take(torch.arange(len(people)))
        return _arrays(taken, people.joints, people.heights)

    for name, look in (("pictures", pictures), ("words", words), ("poses", poses)):
        look()
        time.sleep(0.12)  # so that the digests are old enough to be remembered
        look()
        files = sorted(p for p in (cache / name).rglob("*") if p.is_file() and p.suffix != ".lock")
        weight = 0.5 if name == "poses" else 1.0
        yield Target(f"cache of {name}", tuple(files), look, weight=weight)


def _exports(world: Path, root: Path) -> Iterator[Target]:
    for name in ("cuhk03", "cuhk-sysu"):
        place = root / f"exports-{name}"

        def look(name: str = name, place: Path = place) -> str:
            dataset = load(world, NAMES.get(name, name), place)
            pictures = [p.read_bytes() for p in dataset.image_paths("train")]
            return _frames(dataset) + _sum(pictures)

        look()
        files = sorted(p for p in place.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
        indexes = [path for path in files if path.suffix == ".json"]
        files = (*indexes, *indexes, *files[:: max(1, len(files) // 3)])
        yield Target(f"exports of {name}", files, look, weight=0.2)


def _finished(store: Store, key: str) -> None:
    """A finished run, without training one."""
    rng = np.random.default_rng(0)
    folder = store.folder(key)
    folder.mkdir(parents=True)
    experiment = {"paper": "imgnet", "name": "toy", "data": {"synthetic": True}}
    (folder / "experiment.json").write_text(json.dumps(experiment))
    write_history(folder / "history.jsonl", [{"epoch": e, "loss": 1.5 - e} for e in range(3)])
    ranks = {name: rng.integers(1, 20, 40).astype(np.int32) for name in ("GS", "LS")}
    scores = {"GS": {"mAP (step)": rng.random(40)}}
    evaluations = {
        name: {f"Top-{k}": float(100 * np.mean(values <= k)) for k in (1, 5, 10)}
        for name, values in ranks.items()
    }
    evaluations["GS"]["mAP (step)"] = float(100 * scores["GS"]["mAP (step)"].mean())
    store.finish(
        key,
        weights=rng.bytes(4000),
        ranks=ranks,
        people={name: np.arange(40) // 4 for name in ranks},
        scores=scores,
        provenance={"device": "cpu", "precision": "fp32", "source": None, "wall_s": 1.0},
        metrics={"evaluations": evaluations, "headline": "Top-1 5.00", "queries": 40},
    )


def _numbers(run: Any) -> str:
    names = sorted(run.metrics["evaluations"])
    scores = [run.scores(n, m) for n in names for m in sorted(run.metrics["evaluations"][n])]
    evaluations = json.dumps(run.metrics["evaluations"], sort_keys=True)
    rows = [run.history, evaluations, run.metrics["headline"], dict(run.provenance), run.experiment]
    arrays = [a for n in names for a in (run.ranks(n), run.people(n))]
    return _sum(rows) + _arrays(*arrays) + _sum([s if s is None else s.tolist() for s in scores])


def _runs(root: Path) -> Iterator[Target]:
    session = Session.create("smoke", results=root / "results", data=root / "world")
    _finished(session.store, KEY)
    folder = session.store.folder(KEY)
    whole = session.store.load_trained(KEY)
    expected = _numbers(whole)
    weights = whole.weights.read_bytes()
    (folder / "failure.txt").write_text("the loss is not a finite number\n", encoding="utf-8")

    def look() -> bool:
        """Right, or not taken for a finished run at all."""
        assert isinstance(failure(session, KEY), str)
        doctor.runs(session.results)
        run = session.store.load_trained(KEY)
        if run is None:
            return True
        try:
            assert run.weights.read_bytes() == weights
        except ReidlibError as error:
            assert "model.safetensors" in str(error)
        return _numbers(run) == expected

    files = tuple(sorted(path for path in folder.iterdir() if path.is_file()))
    yield Target("run", (*files, folder / "metrics.json", folder / "ranks.npz"), look, weight=3.0)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)


def _checkpoint(root: Path) -> Target:
    training = Training((Stage("all", (1e-2, 1e-2, 1e-3)),), batch_size=4, image_size=(1, 3))
    path = root / "checkpoint.pt"

    def batches(generator: torch.Generator) -> Iterator[torch.Tensor]:
        for _ in range(2):
            yield torch.randn(4, 3, generator=generator)

    def train(stop_after: int = 3) -> str:
        model = _Net()

        def stop(record: dict[str, Any]) -> None:
            if record["epoch"] + 1 == stop_after < 3:
                raise KeyboardInterrupt

        history = fit(
            model,
            batches,
            lambda batch, stage: {"square": (model.head(model.backbone(batch)) ** 2).mean()},
            training,
            seed=1,
            compute=Compute("cpu", 1),
            checkpoint=path,
            key=KEY,
            on_epoch=stop,
        )
        return _arrays(*model.state_dict().values()) + _sum([h["loss"] for h in history])

    with contextlib.suppress(KeyboardInterrupt):
        train(stop_after=2)
    return Target("checkpoint", (path,), train, weight=3.0)


def _references(root: Path) -> Target:
    store, folder = Store(root / "trained"), root / "references"
    for key in (KEY, KEY[::-1]):
        _finished(store, key)
    compared = {"GS": {"Top-1", "mAP (step)"}, "LS": {"Top-5"}}
    reference.save(folder, "imgnet", [(store.load(key), compared) for key in (KEY, KEY[::-1])])

    def look() -> str:
        reference.load.cache_clear()
        runs = reference.load(folder)
        if not runs:  # without the file nothing is kept, and all is trained
            raise DataError(f"{folder}: no reference runs")
        return _sum([(key, _numbers_of(run)) for key, run in sorted(runs.items())])

    def _numbers_of(run: reference.ReferenceRun) -> str:
        rows = [run.metrics, run.history, run.provenance, run.experiment]
        arrays = [run.ranks("GS"), run.ranks("LS"), run.people("GS"), run.people("LS")]
        return json.dumps(rows, sort_keys=True) + _arrays(*arrays, run.scores("GS", "mAP (step)"))

    return Target("references", tuple(sorted(folder.iterdir())), look, weight=2.0)


def _summary(root: Path) -> Target:
    folder = root / "summary"
    header = {"profile": "smoke", "data": "synthetic", "device": "cpu", "versions": {}, "git": ""}
    claim = {"id": "c", "table": 1, "says": "A beats B", "verdict": "reproduced"}
    claims = [{**claim, "difference": 1.0, "ci_low": 0.5, "ci_high": 1.5}]
    entry = {
        "status": "ok", "title": "A paper", "error": "", "wall_s": 1.0,
        "finished": "2030-01-02T03:04+00:00", "claims": claims,
        "tables": {"1": {"own": 2, "measured": 1, "cited": 0}},
    }  # fmt: skip
    update_summary(folder, header, {"imgnet": entry})

    def look() -> bool:
        """Free text: that it is read, or refused."""
        return write_index(folder).stat().st_size > 0

    return Target("summary", (folder / "summary.json",), look, weight=0.5)


# ------------------------------------------------------------------ the cases


def run_case(targets: Sequence[Target], right: dict[str, Any], seed: int, n: int) -> tuple:
    """(target, file, outcome, failure) of a case; the failure is "" if all is well."""
    rng = random.Random(f"{seed}/{n}")
    target = rng.choices(targets, [target.weight for target in targets])[0]
    path = rng.choice(target.files)
    mend = spoil(path, rng)
    outcome, why = "", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen = target.look()
        before = right[target.name]
        if seen == before or (target.own and seen[0] == before[0]):
            outcome = "right"
        elif target.own and seen[1] != before[1]:
            outcome = "other data, and known to be"
        else:
            outcome, why = "different", "another result, and nothing says so"
    except ReidlibError as error:
        outcome = "refused"
        if not _named(str(error), path):
            why = f"the error does not name the file: {error}"
    except MemoryError:
        outcome, why = "crashed", "out of memory"
    except Exception:  # any error but the project's own is what is looked for: a finding
        outcome, why = "crashed", traceback.format_exc()
    finally:
        mend()
    return target.name, str(path), outcome, why


def _named(message: str, path: Path) -> bool:
    """Whether a message says where to look: at the file, or at its folder or the dataset's."""
    plain = path.name.encode("utf-8", "backslashreplace").decode()
    return plain in message or any(str(folder) in message for folder in list(path.parents)[:3])


def _work(
    targets: Sequence[Target], right: dict, copies: dict[Path, bytes], seed: int,
    cases: Sequence[int], pipe: Any,
) -> None:  # fmt: skip
    before = _memory()
    torch.set_num_threads(1)
    for n in cases:
        for path, whole in copies.items():  # a file beside the damaged one may be gone with it
            if not path.is_file():
                restore(path, whole)
        pipe.send(("begin", n))
        started = time.process_time()  # of a busy machine this says more than a clock
        found = run_case(targets, right, seed, n)
        pipe.send(("end", n, *found, time.process_time() - started, _memory() - before))
    pipe.send(("done",))
    pipe.close()


def _memory() -> int:
    """Bytes: the most that this process ever had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def fuzz(
    root: Path, cases: Sequence[int], seed: int = 0, say: Callable = lambda *_: None
) -> Report:
    """Run cases on what `build` makes below `root`."""
    torch.set_num_threads(1)
    targets = build(root)
    right = {target.name: target.look() for target in targets}
    again = {target.name: target.look() for target in targets}
    assert right == again, [name for name in right if right[name] != again[name]]
    copies = {path: path.read_bytes() for target in targets for path in target.files}
    report = Report()
    context = multiprocessing.get_context("fork")
    left = list(cases)
    while left:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(targets, right, copies, seed, left, theirs))
        child.start()
        theirs.close()
        begun, done = None, False
        try:
            while ours.poll(6 * LONGEST):
                kind, *values = ours.recv()
                if kind == "begin":
                    (begun,) = values
                elif kind == "done":
                    done = True
                    break
                else:
                    n, name, file, outcome, why, seconds, memory = values
                    left.remove(n)
                    begun = None
                    report.outcomes[name, outcome] += 1
                    report.slowest = max(report.slowest, seconds)
                    if seconds > LONGEST:
                        why = why or f"{seconds:.1f} s"
                    if memory > MOST and report.memory <= MOST:
                        why = why or f"the process grew by {memory / 2**20:,.0f} MiB"
                    report.memory = max(report.memory, memory)
                    if why:
                        report.failures.append(f"case {n}, {name}, {file}: {why}")
                    say(report)
            hung = not done
        except EOFError:
            hung = False
        if not done:
            how = f"no end after {6 * LONGEST:.0f} s" if hung and child.is_alive() else "it died"
            child.kill()
            child.join()
            if begun is None:
                raise RuntimeError(f"the process ended between cases ({child.exitcode})")
            rng = random.Random(f"{seed}/{begun}")
            target = rng.choices(targets, [target.weight for target in targets])[0]
            report.failures.append(f"case {begun}, {target.name}: {how} ({child.exitcode})")
            report.outcomes[target.name, "died"] += 1
            left.remove(begun)
            for path, before in copies.items():  # whatever it left behind
                if path.is_symlink() or not path.is_file() or path.read_bytes() != before:
                    restore(path, before)
        child.join()
    return report


def table(report: Report) -> str:
    """Cases by target and outcome, as text."""
    outcomes = sorted({outcome for _, outcome in report.outcomes})
    names = sorted({name for name, _ in report.outcomes})
    rows = [["", *outcomes]]
    rows += [[name, *(str(report.outcomes[name, o] or "") for o in outcomes)] for name in names]
    rows.append(["all", *(str(sum(report.outcomes[n, o] for n in names)) for o in outcomes)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))
        )
        for r in rows
    )


def merged(one: Report, other: Report) -> Report:
    """What two parts came to together."""
    return Report(
        one.outcomes + other.outcomes,
        one.failures + other.failures,
        max(one.slowest, other.slowest),
        max(one.memory, other.memory),
    )


def read_part(path: Path, seed: int) -> Report:
    """What the cases so far came to: an empty report if there is no such file yet."""
    if not path.exists():
        return Report()
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["seed"] != seed:
        raise SystemExit(f"{path} counts the cases of seed {kept['seed']}, not of {seed}")
    outcomes = Counter({(target, outcome): n for target, outcome, n in kept["outcomes"]})
    return Report(outcomes, kept["failures"], kept["slowest"], kept["memory"])


def write_part(path: Path, seed: int, report: Report) -> None:
    outcomes = [[*place, n] for place, n in sorted(report.outcomes.items())]
    kept = {"seed": seed, **vars(report), "outcomes": outcomes}
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    part.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--from", type=int, default=0, dest="first", metavar="N", help="case N on")
    which.add_argument("--only", type=int, metavar="N", help="only case N")
    which.add_argument(
        "--add-to", type=Path, metavar="FILE", help="go on after the cases that FILE counts"
    )
    arguments = parser.parse_args(argv)
    before = read_part(arguments.add_to, arguments.seed) if arguments.add_to else Report()
    first = arguments.first or before.outcomes.total()
    cases = range(first, first + arguments.cases)
    if arguments.only is not None:
        cases = [arguments.only]
    told, started = 0, time.time()

    def say(report: Report) -> None:
        nonlocal told
        for line in report.failures[told:]:
            print(line, flush=True)
        told = len(report.failures)
        if arguments.add_to:
            write_part(arguments.add_to, arguments.seed, merged(before, report))

    with tempfile.TemporaryDirectory() as root:
        report = fuzz(Path(root), cases, arguments.seed, say)
    say(report)
    total = merged(before, report)
    print(table(total))
    print(
        f"{total.outcomes.total():,} cases, the last {report.outcomes.total():,} in "
        f"{time.time() - started:.0f} s, {len(total.failures)} failures; the slowest took "
        f"{total.slowest:.1f} s, the most memory was {total.memory / 2**20:,.0f} MiB"
    )
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
