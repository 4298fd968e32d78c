"""Tables 1, 2 and 12 as computed from the code, against what is printed."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch

from reidlib.data.dataset import Dataset
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

TABLES = load_tables("attention_driven")


def test_table_1_is_the_network() -> None:
    with torch.device("meta"):
        computed = layer_table(Base(AttentionDrivenConfig(ids=1)))
        narrow = layer_table(Base(AttentionDrivenConfig(ids=1, width=0.25, units=(1, 2, 1, 1))))
    assert computed == [dict(row.values) for row in TABLES[1].rows]
    assert (
        narrow[2]["Layer #"] == "6"
        and narrow[2]["Global Branch"] == "[1x1, 16; 3x3, 16; 1x1, 32] x2"
    )


def test_full_model_and_base_as_printed() -> None:
    """10.4 M and 2.69e9 come out, and so does the base's 6.8 M; 2.26e9 does not."""
    full, base = as_printed(attention=True), as_printed(attention=False)
    assert (full.weights, base.weights) == (10_405_344, 6_789_984)
    assert f"{full.weights / 1e6:.1f}" == "10.4" and f"{full.multiply_adds:.2e}" == "2.69e+09"
    assert f"{base.weights / 1e6:.1f}" == "6.8" and f"{base.multiply_adds:.2e}" == "1.96e+09"


def test_counts_of_the_built_network() -> None:
    """Base 6.963 M weights and FC_reduce 0.262 M, 2.012e9; full 10.669 M, and 2.69e9 with the last
    convolution of every attention path at all positions instead of one."""
    config = AttentionDrivenConfig(ids=751)
    full = as_built(config)
    base = as_built(dataclasses.replace(config, **VARIANTS["aligned"]))
    assert base.weights == 6_963_040 + 512 * 256 + 4 * 256 * 128 == 7_225_184
    assert full.weights - base.weights == 3_443_328
    assert round(base.multiply_adds / 1e9, 3) == 2.012
    of_whole = ((128, 48 * 24), (256, 24 * 12), (512, 24 * 12))
    of_parts = ((64, 24 * 24), (128, 12 * 12), (256, 12 * 12))
    spared = sum(n * c**2 * (positions - 1) for n, sizes in ((1, of_whole), (4, of_parts))
                 for c, positions in sizes)  # fmt: skip
    assert round(spared / 1e9, 3) == 0.169
    assert round((full.multiply_adds + spared) / 1e9, 3) == 2.692


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


def made_up(name: str, **splits: tuple[list[int], int]) -> Dataset:
    """A dataset with an image of each person by each camera: split -> (pids, cameras)."""
    tables = {}
    for split, (pids, cameras) in splits.items():
        rows = [(pid, camid) for pid in pids for camid in range(1, cameras + 1)]
        table = pd.DataFrame(rows, columns=["pid", "camid"])
        # Query and gallery of CUHK03's classic protocol are the same images.
        where = "test" if name.startswith("cuhk03") and split != "train" else split
        tables[split] = table.assign(path=[f"{where}/{pid}_{camid}" for pid, camid in rows])
    return Dataset(name, Path(), Path(), tables, (), None)


def test_data_table() -> None:
    halves = {"train": ([1, 2, 3], 4), "query": ([4, 5], 2), "gallery": ([-1, 0, 4, 5], 6)}
    assert data_table(made_up("market1501", **halves)) == {
        "Cams": 6, "IDs": 5, "Train IDs": 3, "Test IDs": 2, "Images": 12 + 24,
    }  # fmt: skip
    assert data_table(made_up("dukemtmc-reid", **halves))["Images"] == 12 + 4 + 24
    labeled = made_up("cuhk03-classic-labeled", train=([1], 2), query=([2], 2), gallery=([2], 2))
    assert data_table(labeled)["Images"] == 4
