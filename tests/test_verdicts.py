"""How verdicts look: one list for words, signs, shapes and colors."""

import re

import pytest

from reidlib.papers.claims import VERDICTS
from reidlib.report.verdicts import (
    LOOKS,
    bar,
    counted,
    counts,
    kind_in,
    label,
    leaning,
    rules,
    word,
)


def test_every_verdict_has_a_look_and_failed_is_none_of_them() -> None:
    assert set(LOOKS) == {*VERDICTS, "failed"}
    for attribute in ("word", "mark", "color"):
        values = [getattr(look, attribute) for look in LOOKS.values()]
        assert len(set(values)) == len(values), attribute
    shapes = {(look.marker, look.filled) for look in LOOKS.values() if look.kind != "not_run"}
    assert len(shapes) == len(LOOKS) - 1


def test_failed_looks_unlike_contradicted() -> None:
    failed, contradicted = LOOKS["failed"], LOOKS["contradicted"]
    assert failed.color != contradicted.color and failed.mark != contradicted.mark
    assert failed.marker != contradicted.marker and failed.hatch != contradicted.hatch


def test_words_and_labels() -> None:
    assert word("not_run") == "not run" and word("cited") == "cited"
    assert leaning("reproduced") == "leans to reproduced" and leaning("") == ""
    assert label("contradicted") == (
        '<span class="contradicted"><span aria-hidden="true">✗</span> contradicted</span>'
    )


def test_counts_name_all_verdicts_and_failures_if_any() -> None:
    found = counts(["reproduced", "not_run", "reproduced"])
    assert counted(found) == "2 reproduced, 0 contradicted, 0 undecided, 1 not run"
    assert counts(["failed"])["failed"] == 1
    assert kind_in({"verdict": "not_run", "failed": True}) == "failed"
    assert kind_in({"verdict": "not_run"}) == "not_run"


def test_a_bar_is_as_long_as_its_counts_and_says_them() -> None:
    html = bar(counts(["reproduced"] * 3 + ["not_run"]))
    assert 'aria-label="3 reproduced, 0 contradicted, 0 undecided, 1 not run"' in html
    parts = re.findall(r'<span class="(\w+)" style="flex-grow:(\d+)"[^>]*>([^<]*)</span>', html)
    assert parts == [("reproduced", "3", "✓ 3"), ("not_run", "1", "– 1")]


@pytest.mark.parametrize("kind", list(LOOKS))
def test_css_has_a_rule_for_text_and_for_bars(kind: str) -> None:
    css = rules()
    assert re.search(rf"^\.{kind} {{ color: var\(--r-{LOOKS[kind].color.name}\)", css, re.MULTILINE)
    assert f".bar .{kind} {{" in css
