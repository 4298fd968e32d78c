"""The doctor's findings, and their text."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reidlib import doctor
from reidlib.cli import main
from reidlib.data.formats import market1501
from reidlib.data.formats.cuhk_pedes import ANNOTATION, FOLDER
from reidlib.errors import DataError
from reidlib.world.write import write


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where torch.hub would look for weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def cuhk_pedes(root: Path) -> list[doctor.Finding]:
    return [row for row in doctor.datasets(root) if row["name"] == "cuhk-pedes"]


def test_found_dataset_comes_with_its_counts(tiny_world: Path) -> None:
    (row,) = cuhk_pedes(tiny_world)
    assert row["state"] == "ok" and row["synthetic"]
    images = {c["split"]: (c["found"], c["expected"]) for c in row["counts"] if c["unit"] == "ids"}
    assert images == {"train": (12, 12), "val": (3, 3), "test": (6, 6)}
    assert "12 / 12" in row["detail"] and "synthetic" in row["detail"]


def test_missing_and_rendered_datasets(tiny_world: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_world, tmp_path / "synthetic" / "demo" / "cuhk-pedes-seed0")
    real, rendered = cuhk_pedes(tmp_path)
    assert real["state"] == "missing" and "data/README.md" in real["detail"]
    assert rendered["state"] == "ok" and rendered["path"].startswith(str(tmp_path / "synthetic"))
    assert {row["state"] for row in doctor.datasets(tmp_path / "nowhere")} == {"missing"}


def test_broken_dataset_says_what_the_loader_says(tiny_world: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_world, tmp_path / "data")
    (tmp_path / "data" / FOLDER / "SYNTHETIC.json").unlink()  # now it passes for real data
    (row,) = cuhk_pedes(tmp_path / "data")
    assert row["state"] == "wrong" and not row["synthetic"]
    assert "37 / 34,054 *" in row["detail"]
    (tmp_path / "data" / FOLDER / ANNOTATION).write_text("[")
    (row,) = cuhk_pedes(tmp_path / "data")
    assert row["state"] == "wrong" and "not valid JSON" in row["detail"]


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with all nine datasets, tiny."""
    root = tmp_path_factory.mktemp("nine")
    sizes = {
        "cuhk-pedes": (4, 1, 2), "icfg-pedes": (3, 2), "rstpreid": (2, 1, 1), "market1501": (3, 3),
        "cuhk03": (4, 3), "cuhk01": (4,), "cuhk-sysu": (3, 3), "viper": (4,),
        "dukemtmc-reid": (3, 3),
    }  # fmt: skip
    for name, ids in sizes.items():
        write(name, root, seed=3, ids=ids, size=(32, 16))
    return root


def present(root: Path) -> list[doctor.Finding]:
    """The findings about datasets that are there at all."""
    return [row for row in doctor.datasets(root) if row["state"] != "missing"]


def state_of(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in sorted(root.rglob("*"))
    }


def test_nothing_is_written(nine: Path) -> None:
    """Also not the images of CUHK03 and the crops of CUHK-SYSU."""
    before = state_of(nine)
    rows = present(nine)
    assert len(rows) == 12 and {row["state"] for row in rows} == {"ok"}, rows
    assert all(c["found"] == c["expected"] for row in rows for c in row["counts"])
    assert state_of(nine) == before
    assert doctor.is_fine(rows)


def test_nine_damaged_datasets_tell_nine_stories(nine: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(nine, root)
    pedes, icfg, rstp = root / "CUHK-PEDES", root / "ICFG-PEDES", root / "RSTPReid"
    (pedes / "reid_raw.json").write_text("[" * 100_000)
    first = sorted((icfg / "imgs").rglob("*.jpg"))[0]
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    entries = json.loads((rstp / "data_captions.json").read_text())
    entries[0]["img_path"] = "../../secret.jpg"
    (rstp / "data_captions.json").write_text(json.dumps(entries))
    shutil.rmtree(root / "Market-1501-v15.09.15" / "query")
    mat = root / "cuhk03_release" / "cuhk-03.mat"
    mat.write_bytes(mat.read_bytes()[:1000])
    (root / "CUHK01" / "SYNTHETIC.json").unlink()
    (root / "DukeMTMC-reID" / "SYNTHETIC.json").unlink()
    (root / "CUHK-SYSU" / "annotation" / "Images.mat").write_bytes(b"MATLAB 5.0 MAT-file, not")
    shutil.rmtree(root / "VIPeR")
    (root / "VIPeR").symlink_to(tmp_path / "nowhere")
    before = state_of(root)
    rows = present(root)
    assert {row["state"] for row in rows} == {"wrong"} and len(rows) == 12
    expected = {
        "cuhk-pedes": "nested too deeply", "icfg-pedes": f"1 changed.*{first.name}",
        "rstpreid": "entry 0.*without empty parts", "market1501": "query is not a folder",
        "cuhk03-np-labeled": "HDF5.*truncated", "cuhk01": r"found / expected.*\*",
        "cuhk-sysu": r"Images\.mat", "viper": "VIPeR", "dukemtmc-reid": "withdrawn in 2019",
    }  # fmt: skip
    details = {row["name"]: row["detail"] for row in rows}
    for name, story in expected.items():
        assert re.search(story, details[name], re.DOTALL), details[name]
    assert not doctor.is_fine(rows) and state_of(root) == before
    assert doctor.format_findings(rows)


def test_what_nobody_published_counts_of_is_examined_where_it_is(tmp_path: Path) -> None:
    """COCO's key points, which a pose net is trained on, and drawn strangers."""
    assert not {"coco-keypoints", "strangers"} & {row["name"] for row in doctor.datasets(tmp_path)}
    write("coco-keypoints", tmp_path, seed=3, ids=(6, 2), size=(32, 16))
    write("strangers", tmp_path, seed=3, ids=(3, 2), size=(32, 16))
    rows = {row["name"]: row for row in present(tmp_path)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "coco-keypoints": "ok", "strangers": "ok",
    }  # fmt: skip
    assert re.search(r"\ntrain: \d+ images\nval: \d+ images", rows["coco-keypoints"]["detail"])
    annotation = tmp_path / "coco" / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(annotation.read_text())
    for entry in content["annotations"]:
        del entry["keypoints"]
    annotation.write_text(json.dumps(content))
    next((tmp_path / "strangers").rglob("*.jpg")).unlink()
    rows = {row["name"]: row for row in present(tmp_path)}
    assert {row["state"] for row in rows.values()} == {"wrong"} and len(rows) == 2
    assert "instances files have boxes" in rows["coco-keypoints"]["detail"]
    assert "delete" in rows["strangers"]["detail"]


def test_an_unforeseen_error_does_not_end_it(nine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("unforeseen \udcff")

    monkeypatch.setattr("reidlib.data.formats.market1501.load", broken)
    rows = {row["name"]: row for row in doctor.datasets(nine)}
    assert rows["market1501"]["state"] == "wrong"
    assert "ZeroDivisionError" in rows["market1501"]["detail"]
    assert rows["viper"]["state"] == "ok"
    doctor.format_findings(list(rows.values())).encode()


def test_files_without_an_end_are_named_at_once(
    nine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lacks only JPEG's end marker would stop trainings on real data, one after the other."""
    root = tmp_path / "data"
    shutil.copytree(nine / market1501.FOLDER, root / market1501.FOLDER)
    dataset = market1501.load(root)
    monkeypatch.setattr(market1501, "load", lambda *_: replace(dataset, synthetic=None))
    monkeypatch.setattr(market1501, "PUBLISHED", {"market1501": market1501.count(dataset.splits)})
    (row,) = [row for row in doctor.datasets(root) if row["name"] == "market1501"]
    assert row["state"] == "ok"
    cut = [*dataset.image_paths("train")[2:9], *dataset.image_paths("query")[:2]]
    for path in cut:
        path.write_bytes(path.read_bytes()[:-2])
    (row,) = [row for row in doctor.datasets(root) if row["name"] == "market1501"]
    assert row["state"] == "wrong" and f"9 of {len(dataset.files)} image files" in row["detail"]
    assert all(path.name in row["detail"] for path in cut)


def test_weights_are_compared_with_their_names(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {row["state"] for row in doctor.weights()} == {"missing"}
    content = b"weights"
    good = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    names = {("vgg16", "V1"): good, ("resnet50", "V1"): "net-00000000.pth"}
    monkeypatch.setattr("reidlib.models.parts.backbones.IMAGENET_FILES", names)
    monkeypatch.setattr(doctor, "IMAGENET_FILES", names)
    (checkpoints / good).write_bytes(content)
    (checkpoints / "net-00000000.pth").write_bytes(content)
    fine, wrong = doctor.weights()
    assert fine["state"] == "ok" and fine["path"] == str(checkpoints / good)
    assert wrong["state"] == "wrong" and "expected 00000000" in wrong["detail"]


def test_unreadable_tagger_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise DataError("folder: expected the tagger")

    monkeypatch.setattr(doctor, "load_tagger", broken)
    assert doctor.tagger()["state"] == "wrong"


def test_text_of_everything(tiny_world: Path, checkpoints: Path) -> None:
    findings = doctor.examine(tiny_world)
    text = doctor.format_findings(findings)
    topics = ("version", "device", "dataset", "weights", "tagger", "disk")
    positions = [text.splitlines().index(topic) for topic in topics]
    assert positions == sorted(positions)
    for finding in findings:
        assert finding["state"] in ("ok", "missing", "wrong")
        assert finding["detail"].splitlines()[0] in text
    assert torch.__version__.partition("+")[0] in text
    assert doctor.format_findings([]) == ""


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert str(tmp_path) in doctor.disk(tmp_path / "a" / "b")["detail"]


def test_runs_of_other_source_are_counted(finished):
    session, planned = finished
    (row,) = doctor.runs(session.results)
    assert row["name"] == "smoke" and row["detail"].startswith(f"{len(planned) + 1} finished runs")
    # The pretraining counts, too; the folder of locks does not.
    assert "other source" not in row["detail"] and "damaged" not in row["detail"]


def test_runs_of_other_source_are_told(finished, monkeypatch):
    session, planned = finished
    monkeypatch.setattr(doctor, "is_todays", lambda paper, recorded: False)
    (row,) = doctor.runs(session.results)
    assert f"{len(planned) + 1} of them were computed by other source than today's" in row["detail"]


def test_status_of_the_command(
    tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(tiny_world, tmp_path / "data")
    for status, state in ((0, "ok "), (1, "wrong")):
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--data", str(tmp_path / "data")])
        printed = capsys.readouterr().out
        assert ended.value.code == status and f"  {state}" in printed, printed
        (tmp_path / "data" / FOLDER / ANNOTATION).write_text("[")
