"""Figures: rows of pictures, heat maps, charts, and claims with their intervals."""

import base64
import io
import re
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from reidlib.data.batches.masks import LABELS
from reidlib.papers.claims import Claim, ClaimResult, Side
from reidlib.papers.intervals import Difference
from reidlib.report import Html

pytest.importorskip("matplotlib")
pytest.importorskip("nbformat")

from reidlib.report import figures, palette
from reidlib.report.figures import attention, sweeps
from reidlib.report.figures.attention import is_flat, overlay
from reidlib.report.html import problems
from reidlib.report.style import fragment_css

IMAGE = np.full((32, 16, 3), 200, np.uint8)


def images(n: int, height: int = 48, width: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(n)]


def photos(html: Html) -> list[np.ndarray]:
    found = re.findall(r'data:image/(?:png|jpeg);base64,([^"]+)"', html.html)
    opened = (Image.open(io.BytesIO(base64.b64decode(encoded))) for encoded in found)
    return [np.asarray(image.convert("RGB")).astype(int) for image in opened]


def svgs(html: Html) -> list[ElementTree.Element]:
    found = re.findall(r'data:image/svg\+xml;base64,([^"]+)"', html.html)
    return [ElementTree.fromstring(base64.b64decode(encoded)) for encoded in found]


def alts(html: Html) -> list[str]:
    return re.findall(r'<img[^>]* alt="([^"]*)"', html.html)


def label_of(html: Html) -> str:
    return re.search(r'role="group" aria-label="([^"]*)"', html.html)[1]


def caption_of(html: Html) -> str:
    found = re.search(r"<figcaption>(.*?)</figcaption>", html.html)[1]
    return found.replace("\N{WORD JOINER}", "")


def kinds(html: Html) -> list[str]:
    """Classes of the pictures of a row, in their order."""
    return [
        c.removeprefix("picture").strip() for c in re.findall(r'class="(picture[^s"]*)"', html.html)
    ]


def texts(html: Html, where: str) -> list[str]:
    found = re.findall(rf'<span class="{where}"[^>]*>([^<]*)</span>', html.html)
    return [text.replace("\N{WORD JOINER}", "") for text in found]


def result(verdict: str, difference: float | None, says: str = "a claim $x$") -> ClaimResult:
    side = Side(1, "a", "Top-1")
    claim = Claim("c", "4", 1, says, "", "Top-1", ((side, side),))
    if difference is None:
        return ClaimResult(claim, verdict, side, side, 1.0, reason="because")
    return ClaimResult(
        claim, verdict, side, side, 1.0, difference, difference - 2, difference + 2, 1, 9
    )


HISTORY = [
    {"epoch": n, "stage": "1" if n < 2 else "2", "lr": 0.1 / (n + 1), "seconds": 1.0}
    | {"images_per_s": 9.0, "loss": 3.0 - n, "id": 2.0 - n / 2}
    for n in range(3)
]


@cache
def all_figures() -> dict[str, Html]:
    pictures = images(4)
    maps = np.random.default_rng(0).random((4, 6, 2))
    return {
        "curves": figures.curves(HISTORY),
        "gallery": figures.gallery("a $man$ in <red>", pictures, [True, False, False, True]),
        "image query": figures.gallery(pictures[0], pictures, [False] * 4, scores=[4, 3, 2, 1]),
        "attention": figures.attention_grid(pictures, maps, ["a", "b", "$c", "d" * 50]),
        "two maps": figures.attention_grid(pictures, {"off": maps * 0, "on": maps}, columns=2),
        "phrases": figures.phrase_maps(pictures[:1], [[("a <red> hat", maps[0])]], caption="p"),
        "sheet": figures.contact_sheet(pictures, ["1", "2", "3", "4"], caption="Images & people"),
        "drawn shot": figures.drawn_shot(
            pictures[0],
            np.arange(pictures[0][..., 0].size).reshape(pictures[0].shape[:2]) % 6,
            np.linspace(0, 5, 18 * 3).reshape(18, 3).clip(0, 1),
            LABELS,
            caption="A <red> shot",
        ),
        "words": figures.word_parts(pictures[0], ["a", "$b"], np.eye(2), caption="Words"),
        "lengths": figures.caption_lengths([3, 5, 5, 8], published_mean=23.5),
        "sweep": figures.sweep(
            [2, 4, 6],
            {"VGG-16": [1, 3, 2]},
            {"VGG-16": [5, None, 7]},
            xlabel="k",
            std={"VGG-16": [1, None, 1]},
            synthetic=True,
        ),
        "nothing measured": figures.sweep([2, 4], {"V": [1, 2]}, {"V": [None, None]}, xlabel="k"),
        "forest": figures.forest(
            [result("reproduced", 3), result("contradicted", -3), result("not_run", None)]
        ),
        "empty forest": figures.forest([result("not_run", None)]),
    }


def test_figures_are_complete_html() -> None:
    for name, html in all_figures().items():
        assert "<figcaption>" in html.html and "<red>" not in html.html
        assert all(alts(html)) and (alts(html) or name == "empty forest"), name
        for picture in photos(html):
            assert picture.std() > 1, name  # not blank
        body = f'<html lang="en"><title>t</title><main><h1>h</h1>{html}</main></html>'
        assert problems(body) == [], name


def test_figures_leave_nothing_open() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figures.curves(HISTORY)
    fig = plt.figure()
    figures.figure(fig, "a figure", "caption")
    assert plt.get_fignums() == before


def test_a_figure_needs_alternative_text() -> None:
    fig, _ = figures.new_figure(2, 2)
    with pytest.raises(ValueError, match="alternative text"):
        figures.figure(fig, " ", "caption")
    with pytest.raises(ValueError, match="alternative text"):
        figures.chart([(fig, "")], "caption")


# ------------------------------------------------------------------ charts


@pytest.mark.parametrize("name", ["curves", "lengths", "sweep", "nothing measured"])
def test_charts_follow_the_theme_of_the_page(name: str) -> None:
    """No color of the palette is fixed, and nothing of an SVG reaches out of its image."""
    html = all_figures()[name]
    assert svgs(html) and not photos(html)
    for svg in svgs(html):
        style, *rest = (ElementTree.tostring(e, encoding="unicode") for e in svg)
        assert "prefers-color-scheme:dark" in style and palette.INK.dark in style
        drawn = "".join(rest)
        for glyphs in svg.iterfind(".//{*}g[@id]"):
            if glyphs.get("id").startswith("text_"):  # black letters have no color of their own
                assert "var(--r-" in ElementTree.tostring(glyphs, encoding="unicode")
        assert "var(--r-ink)" in drawn and "var(--r-paper)" in drawn
        fixed = {color.light for color in palette.COLORS} & set(re.findall(r"#[0-9a-f]{6}", drawn))
        assert not fixed
        assert not re.search(r"(href|url)\W+http", drawn) and "metadata" not in drawn


def test_curves_show_losses_and_rates_with_their_numbers() -> None:
    html = figures.curves(HISTORY, caption="A run.")
    assert len(svgs(html)) == 2
    assert alts(html)[0] == "Training curves over 3 epochs: the loss goes from 3 to 1."
    assert "between 0.0333 and 0.1" in alts(html)[1]
    assert caption_of(html) == "A run. Dotted line: start of the next stage."
    assert "<td" in html.html.split("The numbers")[1] and "0.03333" in html.html


@pytest.fixture
def charted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Charts are kept instead of written: the figures of the panels."""
    kept: list[Any] = []
    monkeypatch.setattr(sweeps, "chart", lambda panels, *_: kept.extend(f for f, _ in panels))
    return kept


@pytest.mark.parametrize(
    ("x", "rotation"), [([0, 0.05, 0.1, 0.5, 1], 90), ([2, 4, 6], 0), ([3], 0)]
)
def test_labels_of_a_sweep_do_not_overlap(
    charted: list[Any], x: list[float], rotation: int
) -> None:
    values = {"Market": [float(n) for n in range(len(x))]}
    figures.sweep(x, values, values, xlabel="weight")
    assert len(charted) == 2
    for fig in charted:
        labels = fig.axes[0].get_xticklabels()
        assert [float(label.get_text()) for label in labels] == x
        assert {label.get_rotation() for label in labels} == {rotation}


def test_levels_are_compared_on_real_data_only(charted: list[Any]) -> None:
    for synthetic, same in ((False, True), (True, False)):
        charted.clear()
        figures.sweep([1, 2], {"a": [10, 20]}, {"a": [70, 90]}, xlabel="k", synthetic=synthetic)
        left, right = (fig.axes[0].get_ylim() for fig in charted)
        assert (left == right) is same


def test_a_sweep_that_the_paper_does_not_have_is_one_panel() -> None:
    html = figures.sweep([4, 8], {}, {"BN": [10, 20]}, xlabel="n", synthetic=True, caption="Ours.")
    (alt,) = alts(html)
    assert "measured here" in alt and "BN: highest 20.00 at 8" in alt
    assert "<figcaption>Ours. Synthetic data.</figcaption>" in html.html


def reference_figure() -> Any:
    """Adaptive is better than 0.1, as good as 0.15, and 0.2 was not run; no ICFG-PEDES."""
    differences = [Difference(50.0, 34.0, 66.0, 1, 40), Difference(0.0, 0.0, 0.0, 1, 40), None]
    return figures.against_reference(
        ["0.1", "0.15", "0.2"],
        {"CUHK-PEDES": [50.0, 100.0, None], "ICFG-PEDES": [None] * 3},
        {"CUHK-PEDES": 100.0, "ICFG-PEDES": None},
        {"CUHK-PEDES": differences, "ICFG-PEDES": [None] * 3},
        xlabel="fixed margin",
        name="adaptive",
    )


def test_settings_beside_a_reference_in_words() -> None:
    first, second = alts(reference_figure())
    assert "CUHK-PEDES: 50.00 at 0.1, 100.00 at 0.15; adaptive 100.00" in first
    assert "ICFG-PEDES: not run" in second


def test_bars_cross_the_line_only_where_the_difference_may_be_zero(charted: list[Any]) -> None:
    reference_figure()
    axis = charted[0].axes[0]
    (bars,) = axis.containers[0].lines[2]
    (_, low), (_, high) = bars.get_segments()[0]
    assert low == pytest.approx(100 - 66) and high == pytest.approx(100 - 34)
    assert [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"] == [100]
    assert [text.get_text() for text in charted[1].axes[0].texts] == ["not run"]


# ------------------------------------------------------------------ rows of pictures


def test_gallery_marks_by_color_shape_and_sign_and_says_the_ranks() -> None:
    html = figures.gallery("q", images(3), [False, True, False], scores=[0.5, 0.25, 0.125])
    assert kinds(html) == ["wrong", "good", "wrong"]
    assert texts(html, "over") == ["1 ✗", "2 ✓", "3 ✗"]
    assert texts(html, "under") == ["0.500", "0.250", "0.125"]
    assert alts(html) == ["rank 1, wrong", "rank 2, correct", "rank 3, wrong"]
    assert "correct at rank 2" in label_of(html) and "correct at rank 2" in caption_of(html)
    assert caption_of(html).startswith("Query: “q”. Best")
    assert "Query: “A man.” Best" in caption_of(figures.gallery("A man.", images(1), [True]))
    none = figures.gallery("q", images(3), [False] * 3)
    assert "none of them correct" in caption_of(none) and "good" not in kinds(none)
    assert "4px solid var(--r-green)" in fragment_css()
    assert "4px dashed var(--r-red)" in fragment_css()


def test_gallery_shows_who_is_meant_and_where_the_first_hit_is() -> None:
    html = figures.gallery("q", images(2), [False, False], meant=IMAGE, first=17)
    assert kinds(html) == ["meant", "wrong", "wrong"]
    assert "the first correct one has rank 17" in caption_of(html)
    found = figures.gallery("q", images(2), [False, True], meant=IMAGE, first=2)
    assert "first correct" not in caption_of(found)


def test_pictures_are_shown_as_they_are() -> None:
    (shown,) = photos(figures.contact_sheet([images(1)[0]], caption="c"))
    np.testing.assert_array_equal(shown, images(1)[0])
    (smaller,) = photos(figures.contact_sheet([images(1, 900, 600)[0]], caption="c"))
    assert smaller.shape == (252, 168, 3)


def test_images_that_do_not_count_have_no_rank() -> None:
    verdicts = ["same camera", "wrong", "junk", "correct", "junk"]
    html = figures.image_search(IMAGE, [IMAGE] * 5, verdicts, scores=[1, 2, 3, 4, 5], caption="C.")
    assert texts(html, "over") == [
        "query", "same camera, not counted", "1 ✗", "junk, not counted", "2 ✓", "junk, not counted"
    ]  # fmt: skip
    assert kinds(html) == ["", "left-out", "wrong", "left-out", "good", "left-out"]
    assert texts(html, "under") == [f"{n}.00" for n in range(1, 6)]
    said = "The 2 nearest gallery images that count, correct at rank 2. "
    said += "Not counted: 1 same camera, 2 junk."
    assert label_of(html) == f"A query image. {said}" and caption_of(html) == f"C. {said}"


def test_rows_of_pictures_keep_their_names() -> None:
    html = figures.picture_rows({"one": [IMAGE] * 3, "two": [IMAGE]}, caption="Rows.")
    assert label_of(html) == "Rows of example images: one (3), two (1)."
    assert texts(html, "name") == ["one", "two"]
    assert alts(html) == ["one, 1", "one, 2", "one, 3", "two, 1"]


def test_pictures_and_what_is_said_of_them_have_to_fit() -> None:
    with pytest.raises(ValueError, match="4 images and 3 flags"):
        figures.gallery("q", images(4), [True] * 3)
    with pytest.raises(ValueError, match="2 images and 1 verdicts"):
        figures.image_search(IMAGE, [IMAGE] * 2, ["wrong"])
    with pytest.raises(ValueError, match="4 images and 3 maps"):
        figures.attention_grid(images(4), np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="1 images and maps for 2"):
        figures.phrase_maps([IMAGE], [[], []], caption="c")
    with pytest.raises(ValueError, match="2 words and weights for 3"):
        figures.word_parts(np.zeros((6, 2, 3), np.uint8), ["a", "b"], np.zeros((3, 6)), caption="c")


# ------------------------------------------------------------------ attention


def brightness(picture: np.ndarray) -> np.ndarray:
    return picture.sum(-1)


def test_attention_is_bright_where_the_weight_is() -> None:
    maps = np.zeros((1, 8, 4))
    maps[0, :4] = 1.0  # upper half
    _, shown = photos(figures.attention_grid([np.full((80, 40, 3), 90, np.uint8)], maps))
    bright = brightness(shown)
    assert bright[len(bright) // 4].mean() > bright[-len(bright) // 4].mean() + 100


def test_a_flat_mask_is_not_stretched_and_is_called_flat() -> None:
    """A sigmoid that stayed between 0.50 and 0.51: what is shown has next to no contrast."""
    mask = np.linspace(0.50, 0.51, 32).reshape(1, 8, 4)
    html = figures.attention_grid([IMAGE], mask)
    assert texts(html, "under") == ["flat: 0.50–0.51"]
    assert "All maps are flat" in caption_of(html) and "learned nothing" in caption_of(html)
    assert np.ptp(brightness(photos(html)[1])) < 40
    sharp = figures.attention_grid([IMAGE], np.linspace(0.1, 0.9, 32).reshape(1, 8, 4))
    assert texts(sharp, "under") == ["0.10–0.90"] and "flat" not in caption_of(sharp)
    assert np.ptp(brightness(photos(sharp)[1])) > 200


def test_all_maps_of_a_name_have_one_scale() -> None:
    """The second map spans a tenth of the first: it must not look as sharp."""
    sharp = np.linspace(0, 1, 32).reshape(8, 4)
    html = figures.attention_grid([IMAGE] * 2, np.stack([sharp, 0.4 + sharp / 10]))
    spans = [np.ptp(brightness(picture)) for picture in photos(html)[1::2]]
    assert spans[1] < spans[0] / 3
    assert "One scale for all images: attention 0.00–1.00." in caption_of(html)


def test_what_is_flat() -> None:
    assert is_flat(np.full((3, 3), 0.2)) and is_flat(np.zeros((2, 2)))
    assert is_flat(np.array([0.97, 1.0])) and not is_flat(np.array([0.9, 1.0]))


def test_flat_phrases_look_flat_and_all_have_one_scale() -> None:
    flat, sharp = np.full((4, 2), 0.3), np.zeros((4, 2))
    sharp[3, 0] = 1.0
    groups = [[("a flat thing", flat), ("black $hoes", sharp)], [("a hat", flat)]]
    html = figures.phrase_maps([IMAGE, IMAGE], groups, caption="Maps.")
    _, first, second, _, third, strip = photos(html)
    even = overlay(IMAGE, np.ones((4, 2)), 0, 8).astype(
        int
    )  # 8 bins: all on one of them is 8 times the mean
    assert np.abs(first - even).max() <= 3 and np.abs(third - even).max() <= 3  # JPEG
    assert brightness(second).max() > brightness(first).max() + 200
    assert texts(html, "over") == ["a flat thing", "black $hoes", "a hat"]
    assert texts(html, "under") == ["flat: up to 1.0×", "up to 8.0×", "flat: up to 1.0×"]
    assert "black $hoes: most at 88 %, up to 8.0 times" in label_of(html)
    assert "Image 2: a hat" in label_of(html) and caption_of(html) == "Maps."
    assert strip.shape[1] == 128 and "8.0</p>" in html.html


def test_attention_without_preference_is_not_drawn_bright() -> None:
    html = figures.phrase_maps([IMAGE], [[("a hat", np.ones((4, 2)))]], caption="c")
    middle = overlay(IMAGE, np.ones((4, 2)), 0, 2).astype(int)
    assert np.abs(photos(html)[1] - middle).max() <= 3


# ------------------------------------------------------------------ words and stripes


def drawn(monkeypatch: pytest.MonkeyPatch, count: int, **kwargs: Any) -> tuple[Any, str, str]:
    """The figure of `count` words, word n with weight n / count in all stripes."""
    kept: list[tuple[Any, str, str]] = []
    monkeypatch.setattr(attention, "figure", lambda *parts: kept.append(parts))
    words = [f"w{n}" for n in range(count)]
    parts = np.repeat(np.arange(count)[:, None] / count, 6, axis=1)
    image = np.zeros((96, 32, 3), np.uint8)
    figures.word_parts(image, words, parts, caption="A sentence.", **kwargs)
    return kept[0]


@pytest.mark.parametrize(("count", "lines", "longest"), [(1, 1, 1), (15, 1, 15), (16, 2, 8)])
def test_long_sentences_go_on_in_lines_of_about_one_length(
    monkeypatch: pytest.MonkeyPatch, count: int, lines: int, longest: int
) -> None:
    fig, _, _ = drawn(monkeypatch, count)
    heat = fig.axes[1::2]
    assert len(heat) == lines and len(fig.axes) == 2 * lines
    labels = [[label.get_text() for label in axis.get_xticklabels()] for axis in heat]
    assert [word for line in labels for word in line] == [f"w{n}" for n in range(count)]
    assert max(map(len, labels)) == longest
    # Every word keeps its own weights, and one color scale holds for all lines.
    shown = np.concatenate([axis.images[0].get_array()[0] for axis in heat])
    np.testing.assert_allclose(shown, np.arange(count) / count)
    assert {axis.images[0].get_clim() for axis in heat} == {(0, 1)}


def test_a_picture_stands_level_with_its_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    fig, _, _ = drawn(monkeypatch, 4)
    fig.draw_without_rendering()
    picture, heat = (axis.get_window_extent() for axis in fig.axes)
    assert picture.y0 == pytest.approx(heat.y0) and picture.y1 == pytest.approx(heat.y1)
    ticks = fig.axes[0].get_yticklabels()
    assert [t.get_text() for t in ticks] == ["1", "2", "3", "4", "5", "6"]
    assert fig.axes[0].get_yticks()[0] < fig.axes[0].get_yticks()[5]  # down the picture
    bottom, top = fig.axes[0].get_ylim()
    assert bottom > top


def test_marked_and_unknown_words_can_be_told_without_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fig, alt, caption = drawn(monkeypatch, 3, known=[True, False, True], marked=[2])
    labels = fig.axes[1].get_xticklabels()
    assert [label.get_text() for label in labels] == ["w0", "[w1]", "w2"]
    assert [label.get_fontweight() for label in labels] == ["normal", "normal", "bold"]
    assert len(fig.axes[1].patches) == 1
    assert "From the top: w2: 0.67, 0.67" in alt and "“w0 w1 w2”" in alt
    assert caption.endswith("Words in brackets are not in the vocabulary.")
    assert drawn(monkeypatch, 3)[2] == "A sentence."


# ------------------------------------------------------------------ claims


def forest_lines(html: Html) -> list[ElementTree.Element]:
    """The drawn line of each claim, without the axis."""
    return svgs(html)[1:]


def place(svg: ElementTree.Element, n: int) -> float:
    """Where the n-th mark of a line stands, in percent of its width."""
    marks = [child for child in svg if child.tag.endswith("}svg")]
    return float(marks[n].get("x").removesuffix("%"))


def test_forest_counts_what_it_leaves_out() -> None:
    html = figures.forest([result("reproduced", 3), result("not_run", None)])
    assert "1 claim was not run and is left out." in caption_of(html)
    assert "1 claim was tested: 1 reproduced, 0 contradicted, 0 undecided." in caption_of(html)
    assert len(forest_lines(html)) == 1
    more = figures.forest([result("reproduced", 3), *[result("not_run", None)] * 2])
    assert "2 claims were not run and are left out." in caption_of(more)


def test_forest_names_every_claim_in_full() -> None:
    said = " ".join(["a very long claim that goes on"] * 8) + " and ends"
    html = figures.forest([result("reproduced", 3, said)])
    assert said in html.html and "…" not in re.sub(r"[+−][\d.]+ … [+−][\d.]+", "", html.html)


def test_forest_draws_to_scale() -> None:
    """Measured 3 and -3, the paper has 1 for both: places along one common scale."""
    first, second = forest_lines(
        figures.forest([result("reproduced", 3), result("contradicted", -3)])
    )
    paper, measured = place(first, 0), place(first, 1)
    points = (measured - paper) / 2  # percent of the width for a point
    assert place(second, 0) == paper and points > 0
    assert place(second, 1) == pytest.approx(measured - 6 * points, abs=0.1)
    (line,) = [child for child in first if child.tag.endswith("line")]
    ends = [float(line.get(end).removesuffix("%")) for end in ("x1", "x2")]
    assert ends == pytest.approx([measured - 2 * points, measured + 2 * points], abs=0.1)


def test_forest_verdicts_differ_in_shape() -> None:
    lines = forest_lines(
        figures.forest(
            [result("reproduced", 3), result("contradicted", -3), result("undecided", 1)]
        )
    )
    shapes = []
    for svg in lines:
        mark = [child for child in svg if child.tag.endswith("}svg")][-1][0]
        filled = "fill:var(--r-paper)" not in mark.get("style")
        shapes.append((mark.tag.rpartition("}")[2], filled))
    assert shapes == [("circle", True), ("path", True), ("circle", False)]


def test_forest_without_verdicts() -> None:
    html = figures.forest([result("reproduced", 3), result("contradicted", -3)], judged=False)
    assert "reproduced" not in html.html and "contradicted" not in html.html
    assert "+3.0" in html.html


def test_forest_has_a_number_in_each_line() -> None:
    rows = re.findall(r"<tr>.*?</tr>", all_figures()["forest"].html, re.DOTALL)[1:]
    assert ["+3.0" in rows[0], "+1.0 … +5.0" in rows[0]] == [True, True]
    assert ["−3.0" in rows[1], "−5.0 … −1.0" in rows[1]] == [True, True]


def test_forest_of_one_number_has_a_scale() -> None:
    (axis, *_) = svgs(figures.forest([result("undecided", 0)]))
    numbers = [text.text for text in axis.iter("{http://www.w3.org/2000/svg}text")]
    assert "0" in numbers and 2 <= len(numbers) <= 7


# ------------------------------------------------------------------ poses and parts


def test_body_parts_tell_what_was_found() -> None:
    people = 3
    images = [np.full((20, 10, 3), 40 * n, np.uint8) for n in range(people)]
    joints = [np.column_stack((np.linspace(0, 1, 18), np.linspace(0, 1, 18), np.arange(18) < found))
              for found in (18, 5)]  # fmt: skip
    boxes = [np.array([[0, -0.2, 1, 1.1], [0, 0, 1, 0.5], [0, 0.4, 1, 1]])] * people
    cuts = [np.zeros((2, 6, 12, 3), np.uint8)] * people
    shown = figures.body_parts(
        images, [*joints, None], boxes, images, cuts, ("body", "top", "bottom"), caption="People."
    ).html
    assert "People. Picture 1: 18 of 18 joints found; picture 2: 5 of 18" in shown
    assert "picture 3: no usable pose, fixed strips" in shown
    assert "joints and boxes of body, top, bottom" in shown and shown.count("<img") == 1
    with pytest.raises(ValueError, match="3 images, and another number"):
        figures.body_parts(images, joints, boxes, images, cuts, ("a",), caption="")


def test_parts_are_stacked_with_a_line_between() -> None:
    from reidlib.report.figures.poses import _stacked

    parts = np.zeros((4, 24, 8, 3), np.uint8)
    stacked = _stacked(parts)
    assert stacked.shape == (4 * 24 + 3 * 2, 8, 3)
    assert (stacked[24:26] == 255).all() and (stacked[:24] == 0).all() and (stacked[-1] == 0).all()
