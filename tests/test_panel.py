"""The search panel without a browser: what its widgets do, and what a page without a kernel has."""

import re

import pytest

widgets = pytest.importorskip("ipywidgets")
nbformat = pytest.importorskip("nbformat")

from nbformat.v4 import new_code_cell, new_notebook, new_output  # noqa: E402

from reidlib.explore import search  # noqa: E402
from reidlib.report import Html  # noqa: E402
from reidlib.report.html import Banner, problems, render_page  # noqa: E402
from reidlib.report.panel import Panel, search_panel  # noqa: E402

MODELS = {
    "CUHK-PEDES": {"SSAN": "ssan", "Baseline": "ssan baseline"},
    "Market-1501": {"GLA": "gla"},
}


@pytest.fixture(scope="module")
def open_panel(engines):
    def opened(**kwargs):
        models = {
            dataset: {name: lambda key=key: engines(key) for name, key in named.items()}
            for dataset, named in MODELS.items()
        }
        return Panel(models, **kwargs)

    return opened


def buttons(panel: Panel) -> list[widgets.Button]:
    found = [item.children[-1] for item in panel.hits.children]
    return [each for each in found if isinstance(each, widgets.Button)]


def drawn(panel: Panel) -> str:
    return "".join(item.children[0].value for item in panel.hits.children)


def test_it_opens_with_the_answer_to_a_test_sentence(open_panel):
    panel = open_panel()
    engine = panel.engine
    assert panel.sentence.placeholder == "Describe a person"
    assert "reid-search" in panel.root._dom_classes
    assert "reid-results" in panel.results._dom_classes
    assert panel.sentence.value == engine.data.test.captions[0]
    assert len(buttons(panel)) == 8 and panel.answer.judged
    # The person meant, then the pictures by rank with a frame each.
    assert drawn(panel).count("meant") >= 1
    for hit in panel.answer.hits:
        mark = {"correct": "✓", "wrong": "✗"}[hit.verdict]
        assert f">{hit.rank} {mark}</span>" in drawn(panel)
        assert f"{hit.score:.3f}" in drawn(panel)
    assert f"has rank {panel.answer.first} of" in panel.said.value


def test_a_typed_sentence_is_answered(open_panel):
    panel = open_panel()
    panel.sentence.value = "A woman with a red jacket & a <b>bag</b>."
    assert panel.answer == search.by_sentence(panel.engine, panel.sentence.value, 8)
    assert not panel.answer.judged and "✓" not in drawn(panel) and "meant" not in drawn(panel)
    assert "Nobody knows who is meant" in panel.said.value
    panel.k.value = 3
    assert len(buttons(panel)) == 3


@pytest.mark.parametrize("sentence", ["", "xylophone zzz"])
def test_what_cannot_be_answered_is_said_and_shows_nobody(open_panel, sentence):
    panel = open_panel()
    panel.sentence.value = sentence
    assert panel.hits.children == ()
    for told in search.in_words(panel.answer):
        assert told in panel.said.value
    panel.search.click()
    assert panel.hits.children == ()


def test_test_sentences_come_one_after_the_other(open_panel):
    panel = open_panel()
    seen = [panel.sentence.value]
    for _ in range(3):
        panel.example.click()
        seen.append(panel.sentence.value)
        assert panel.answer.query == panel.sentence.value
    assert len(set(seen)) > 1 and set(seen) <= set(panel.engine.data.test.captions)


def test_a_button_shows_the_attention_of_its_pair(open_panel):
    panel = open_panel()
    assert panel.pair.value == ""
    buttons(panel)[1].click()
    assert "rank 2" in panel.pair.value and "<figure" in panel.pair.value
    panel.model.value = "Baseline"  # another model answers the same sentence
    assert panel.pair.value == "" and panel.engine.row.slug == "baseline"
    buttons(panel)[0].click()
    assert "no part features" in panel.pair.value


def test_another_dataset_is_searched_by_pictures(open_panel):
    panel = open_panel(k=4)
    panel.dataset.value = "Market-1501"
    assert panel.model.options == ("GLA",) and panel.sentence not in panel.asked.children
    assert panel.asked.children == (panel.query,)
    assert panel.query.max == len(panel.engine.data.query.frame)
    panel.query.value = 3
    assert panel.answer == search.by_image(panel.engine, 2, 4)
    for hit in panel.answer.hits:
        if hit.rank is None:
            assert f"{hit.verdict}, not counted" in drawn(panel)
    assert len(buttons(panel)) == len(panel.answer.hits)
    panel.dataset.value = "CUHK-PEDES"
    assert panel.sentence in panel.asked.children and panel.answer.query == panel.sentence.value


def test_a_query_can_be_given(open_panel):
    assert open_panel(query="A man.").answer.query == "A man."
    panel = open_panel(start=("Market-1501", "GLA"), query=2)
    assert panel.answer.query == 2 and panel.query.value == 3


def page_of(panel: Panel, tmp_path) -> str:
    bundle = panel._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.root.model_id
    cell = new_code_cell("panel", outputs=[new_output("display_data", bundle)])
    path = tmp_path / "n.ipynb"
    title = nbformat.v4.new_markdown_cell("# A title")
    nbformat.write(new_notebook(cells=[title, cell]), path)
    return render_page(path, Banner(True, "smoke", "cpu", "today"))


def test_a_page_without_a_kernel_has_the_first_answer_and_no_dead_widget(open_panel, tmp_path):
    panel = open_panel()
    page = page_of(panel, tmp_path)
    assert problems(page) == []
    assert "here is what it answers first" in page and "A search panel." not in page
    assert page.count("<img") == 9  # the person meant and eight hits
    assert "model_id" not in page
    page = page_of(open_panel(query="zzz"), tmp_path)
    assert "None of these words" in page and "<img" not in page
    page = page_of(open_panel(start=("Market-1501", "GLA")), tmp_path)
    assert problems(page) == [] and "nearest gallery images that count" in page


def test_it_says_so_where_nothing_is_trained(tmp_path, tiny_world, finished):
    session, _ = finished
    nothing = search_panel(session, "ssan")
    assert isinstance(nothing, Html) and "nothing to search with" in str(nothing)
    panel = search_panel(session, "imgnet", row="vgg-ch1-sp1-gs1-ls1-gp1-gn")
    assert isinstance(panel, Panel)
    assert panel.engine.row.slug == "vgg-ch1-sp1-gs1-ls1-gp1-gn"
    assert panel.dataset.options == ("CUHK-PEDES",)
    assert all(re.match(r"Table \d: ", name) for name in panel.model.options)
    buttons(panel)[0].click()
    assert "left out" in panel.pair.value
