"""Tables 1, 2 and 12 as computed from the code, against what is printed."""

import dataclasses
from pathlib import Path

import pytest
import torch

from reidlib.data.formats import cuhk03, dukemtmc, market1501
from reidlib.models.attention_driven import VARIANTS, AttentionDrivenConfig, Base
from reidlib.papers.attention_driven.computed import (
    Complexity,
    as_built,
    as_printed,
    complexity_table,
    data_table,
    layer_table,
)
from reidlib.papers.tables import load_tables
from reidlib.world.write import write

TABLES = load_tables("attention_driven")


def test_table_1_is_the_network() -> None:
    with torch.device("meta"):
        computed = layer_table(Base(AttentionDrivenConfig(ids=1)))
        narrow = layer_table(Base(AttentionDrivenConfig(ids=1, width=0.25, units=(1, 2, 1, 1))))
    assert computed == [dict(row.values) for row in TABLES[1].rows]
    assert narrow[2]["Layer #"] == "6" and narrow[2]["Global Branch"] == "[1x1, 16; 3x3, 16; 1x1, 32] x2"


def test_full_model_and_base_as_printed() -> None:
    """10.4 M and 2.69e9 come out, and so does the base's 6.8 M; 2.26e9 does not."""
    full, base = as_printed(attention=True), as_printed(attention=False)
    assert (full.weights, base.weights) == (10_405_344, 6_789_984)
    assert f"{full.weights / 1e6:.1f}" == "10.4" and f"{full.multiply_adds:.2e}" == "2.69e+09"
    assert f"{base.weights / 1e6:.1f}" == "6.8" and f"{base.multiply_adds:.2e}" == "1.96e+09"


def test_counts_of_the_built_network() -> None:
    """Papers' recount: base 6.963 M weights and FC_reduce 0.262 M, 2.012e9; full 10.669 M, 2.69e9."""
    config = AttentionDrivenConfig(ids=751)
    full = as_built(config)
    base = as_built(dataclasses.replace(config, **VARIANTS["aligned"]))
    assert base.weights == 6_963_040 + 512 * 256 + 4 * 256 * 128 == 7_225_184
    assert full.weights - base.weights == 3_443_328
    assert round(base.multiply_adds / 1e9, 3) == 2.012
    assert round(full.multiply_adds / 1e9, 3) == 2.693


def test_reference_networks() -> None:
    """By the convention of Table 12, within what other versions of these networks differ by."""
    computed = complexity_table()
    assert list(computed) == [row.slug for row in TABLES[12].rows]
    assert computed["vgg"].weights == 134_248_128 and computed["resnet50"].weights == 23_454_912
    for row, weights, operations in (
        ("vgg", 0.001, 0.02), ("resnet50", 0.005, 0.02), ("googlenet", 0.08, 0.06),
        ("alexnet", 0.03, 0.11), ("full-model", 0.005, 0.005),
    ):  # fmt: skip
        found, printed = computed[row], TABLES[12].printed
        assert found.weights / 1e6 == pytest.approx(printed(row, "PN (million)"), rel=weights)
        assert found.multiply_adds == pytest.approx(printed(row, "FLOPs"), rel=operations)
    streams = [str(found.streams) for found in computed.values()]
    assert streams == [row.values["Stream"] for row in TABLES[12].rows]
    # "the 2nd smallest model size and the 2nd smallest FLOPs"
    for field in dataclasses.fields(Complexity)[:2]:
        of_others = [getattr(computed[row], field.name)
                     for row in ("alexnet", "vgg", "resnet50", "googlenet")]  # fmt: skip
        assert sum(getattr(computed["basemodel"], field.name) > other for other in of_others) == 1


def test_data_table(tmp_path: Path) -> None:
    for name, ids in (("market1501", (5, 4)), ("dukemtmc-reid", (4, 3)), ("cuhk03", (4, 3))):
        write(name, tmp_path, ids=ids, size=(16, 8))
    market = market1501.load(tmp_path)
    found = data_table(market)
    assert {k: found[k] for k in ("IDs", "Train IDs", "Test IDs")} == {
        "IDs": 9, "Train IDs": 5, "Test IDs": 4,
    }  # fmt: skip
    assert found["Images"] == len(market.splits["train"]) + len(market.splits["gallery"])
    duke = dukemtmc.load(tmp_path)
    found = data_table(duke)
    assert (found["IDs"], found["Images"]) == (7, sum(len(t) for t in duke.splits.values()))
    labeled = cuhk03.load(tmp_path, "cuhk03-classic-labeled")
    found = data_table(labeled)
    assert found["Cams"] == 2 and found["IDs"] == 7
    assert found["Images"] == sum(len(labeled.splits[name]) for name in ("train", "query"))
