"""The check of a GPU: its parts on the CPU as a dry run, how it resumes, what its page says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reidlib.arguments import PAPERS
from reidlib.cli import main
from reidlib.errors import DeviceError, UsageError
from reidlib.gpu_check import memory, page, parts, steps
from reidlib.gpu_check.parity import SameDraws, compare_steps, compare_tests, encode_in_bf16
from reidlib.gpu_check.parts import PARTS, Place, check, chosen
from reidlib.papers import driver
from reidlib.papers.driver import Evaluated
from reidlib.run.session import Session
from reidlib.train import Compute

# ---------------------------------------------------------------- as a whole


def test_dry_run(tmp_path, capsys):
    names = ("machine", "smoke-gla", "parity-gla", "speed-gla", "memory-gla", "bench-gla")
    place = Place("cpu", tmp_path / "check")
    assert check(place, names) == 0, capsys.readouterr().out
    records = {n: json.loads((place.folder / f"{n}.json").read_text()) for n in names}
    assert {record["status"] for record in records.values()} == {"ok"}
    found = records["parity-gla"]["result"]
    assert found["agrees"] and found["step"]["gradient_difference"] == 0
    assert records["smoke-gla"]["result"]["device"] == "cpu"
    bench = records["bench-gla"]["result"]
    assert bench["trainings"] == len(driver.experiments("gla", "smoke", 1))
    own = bench["runs"][-1]
    assert steps.MAIN["gla"] in own["experiment"]
    assert bench["all_trainings_min"] == pytest.approx(bench["trainings"] * own["wall_s"] / 60)
    text = (place.folder / page.PAGE).read_text()
    assert f"| {bench['trainings']} | {bench['all_trainings_min']:.1f} |" in text
    assert "dry run" in text and "Top-1" in text and "| missing |" in text
    everything = json.loads((place.folder / page.ALL).read_text())
    assert set(everything["parts"]) == {part.name for part in PARTS}
    assert everything["parts"]["tests"] is None
    capsys.readouterr()
    assert check(place, names) == 0  # nothing is left to do
    assert "[" not in capsys.readouterr().out


def test_a_part_out_of_time_is_not_finished_and_is_run_again(tmp_path, capsys):
    place = Place("cpu", tmp_path)
    assert check(place, ["machine"], limit=0.01) == 1
    record = json.loads((tmp_path / "machine.json").read_text())
    assert record["status"] == parts.UNFINISHED
    assert "machine: unfinished" in (tmp_path / page.PAGE).read_text()
    assert "goes on with machine" in capsys.readouterr().err
    assert parts.finished(place, PARTS[0]) is None


def test_records_of_other_code_or_another_machine_are_made_anew(tmp_path):
    place, part = Place("cpu", tmp_path), PARTS[0]
    record = {"part": "machine", "status": "ok", "seconds": 1.0, "result": {}}
    file = tmp_path / "machine.json"
    file.write_text(json.dumps({**record, "made_by": parts.made_by("cpu")}))
    assert parts.finished(place, part)
    for made_by in ({**parts.made_by("cpu"), "git": "another"}, None):
        file.write_text(json.dumps({**record, "made_by": made_by}))
        assert parts.finished(place, part) is None
    file.write_text('{"part": "mach')
    assert parts.finished(place, part) is None


def test_no_gpu_is_a_clear_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"no usable CUDA GPU.*--device cpu"):
        check(Place("cuda", tmp_path / "new"), [])
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit) as ended:
        main(["gpu-check", "--results", str(tmp_path / "new")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: gpu-check: this machine has no usable CUDA")


def test_what_was_kept_elsewhere_is_not_measured_here(tmp_path):
    assert Session.create("study").store.references is not None
    assert Place("cpu", tmp_path).session("study").store.references is None


def test_parts_by_name():
    assert chosen([]) == list(PARTS)
    assert [part.name for part in chosen(["smoke"])] == [f"smoke-{paper}" for paper in PAPERS]
    assert [part.name for part in chosen(["bench-gla", "tests"])] == ["tests", "bench-gla"]
    assert len({part.name for part in PARTS}) == len(PARTS)
    with pytest.raises(UsageError, match="no part 'smok'"):
        chosen(["smok"])


# ---------------------------------------------------------------- parity


def test_same_draws_are_those_of_the_cpu_on_every_device():
    x = torch.ones(50, 40)
    with SameDraws(3):
        first = torch.rand_like(x), torch.rand(5, device="cpu"), F.dropout(x, 0.25, True)
    with SameDraws(3):
        second = torch.rand_like(x), torch.rand(5, device="cpu"), F.dropout(x, 0.25, True)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    dropped = first[2]
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.04)
    with SameDraws():
        assert F.dropout(x, 0.5, False) is x
        dropout = nn.Dropout(0.5)(x)
    assert 0.4 < (dropout == 0).float().mean() < 0.6


def test_bf16_is_of_the_encoding_alone():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.seen: list[torch.dtype] = []

        def embed(self, x: torch.Tensor) -> torch.Tensor:
            found = self.layer(x)
            self.seen.append(found.dtype)
            return found

    model, x = Model(), torch.randn(4, 3)
    plain = model.embed(x)
    encode_in_bf16(model, "cpu")
    half = model.embed(x)
    assert model.seen == [torch.float32, torch.bfloat16] and half.dtype == torch.float32
    assert not torch.equal(plain, half)
    torch.testing.assert_close(plain, half, rtol=0.05, atol=0.05)


def test_differences_of_a_step():
    one = {
        "losses": {"a": 2.0, "b": 4.0},
        "gradients": {"v": torch.tensor([3.0]), "w": torch.tensor([4.0])},
    }
    other = {
        "losses": {"a": 2.0, "b": 4.4},
        "gradients": {"v": torch.tensor([3.0]), "w": torch.tensor([4.5])},
    }
    found = compare_steps(one, other)
    assert found["loss_difference"] == pytest.approx(0.1)
    assert found["gradient_difference"] == pytest.approx(0.5 / 5)
    assert next(iter(found["worst_parameters"])) == "w"
    assert compare_steps(one, one)["gradient_difference"] == 0


def test_differences_of_a_test():
    one = Evaluated(
        {"single query": {"Top-1": 50.0, "mAP": 40.0}}, "", 4, 9,
        ranks={"single query": np.array([1, 2, 3, 1], np.int32)},
    )  # fmt: skip
    other = replace(
        one,
        evaluations={"single query": {"Top-1": 25.0, "mAP": 41.0}},
        ranks={"single query": np.array([3, 2, 3, 1], np.int32)},
    )
    assert compare_tests(one, other) == {
        "single query": {
            "metric_points": 25.0, "ranks_changed": 0.25, "most_places": 2, "queries": 4,
        }
    }  # fmt: skip


# ---------------------------------------------------------------- speed and memory


@pytest.mark.parametrize("profile", ("smoke", "study", "bench", "paper"))
def test_every_paper_has_its_own_row_in_every_profile(profile):
    for paper in PAPERS:
        experiment = steps.main_experiment(paper, profile)
        assert experiment.paper == paper and experiment.seed == 0


def test_memory_is_of_every_network_of_the_profile():
    for paper in ("imgnet", "gla"):
        every = {
            (type(cell.experiment.model), cell.experiment.training.image_size)
            for cell in driver.get_paper(paper).cells("paper").values()
        }
        found = memory.networks(paper)
        assert {(type(e.model), e.training.image_size) for e in found} == every


def test_what_data_takes():
    experiment = steps.main_experiment("gla", "paper")
    assert experiment.training.image_size == (256, 128)
    images = sum(row.images for row in steps.published("market1501").values())
    assert memory.data_gib(experiment) == pytest.approx(images * 256 * 128 * 3 / 2**30)


def test_encoders_leave_nothing_behind_and_steps_are_counted(tmp_path):
    experiment = steps.main_experiment("gla", "smoke")
    bench = steps.set_up(experiment, "smoke", tmp_path, Compute("cpu"), batch_size=4)
    batch = bench.batch()
    assert len(batch) == 4 and len(bench.batch()) == 4
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    bench.model.eval()  # running statistics stay
    steps.encoders(bench, batch)()
    assert all(p.grad is None for p in bench.model.parameters())
    for name, value in bench.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    with FlopCounterMode(display=False) as counter:
        bench.model.backbone(batch.images)
    # Three times that of the backbone, but that nothing flows back into the images.
    assert steps.step_flops(bench, batch) > 2 * counter.get_total_flops() > 0
    record = bench.fit(2)
    assert record["images"] == 8 and np.isfinite(record["loss"])


# ---------------------------------------------------------------- the page


def test_the_page_says_what_failed():
    what = {"machine": "a", "tests": "b", "smoke-gla": "c"}
    records = {
        "machine": None,
        "tests": {
            "status": "failed", "seconds": 3.0,
            "result": {"summary": "1 failed", "output": "E  assert 1 == 2"},
        },
        "smoke-gla": {
            "status": "ok", "seconds": 9.0,
            "result": {"experiment": "a | b", "headline": "Top-1 1.0", "precision": "fp32",
                       "images_per_s": 3.0, "wall_s": 2.0},
        },
    }  # fmt: skip
    text = page.text(records, what, "cuda")
    assert "dry run" not in text and "| machine | a | missing |" in text
    assert "tests: failed" in text and "E  assert 1 == 2" in text
    assert "a \\| b" in text


def test_the_page_has_minutes_to_a_tenth():
    run = {"experiment": "a", "headline": "b", "images_per_s": 3.0, "training_s": 1.0,
           "evaluation_s": 1.0, "wall_s": 2.0}  # fmt: skip
    result = {"profile": "bench", "runs": [run], "trainings": 30}
    for minutes, said in ((0.96, "1.0"), (1234.56, "1234.6")):
        bench = {"status": "ok", "seconds": 1.0, "result": {**result, "all_trainings_min": minutes}}
        text = page.text({"bench-gla": bench}, {"bench-gla": "a"}, "cuda")
        assert f"| 30 | {said} |" in text
