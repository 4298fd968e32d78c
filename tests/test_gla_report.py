"""What notebook 03 shows of GLA: attention to phrases, searches, the data, states without runs."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_runs import reseal

from reidlib.data.batches.borrowed_captions import EXCERPT
from reidlib.data.batches.pairs import to_text
from reidlib.explore import common
from reidlib.explore import gla as explore
from reidlib.explore.gla import PhraseAttention
from reidlib.models.gla import phrase_owner, reconstruction_by_source
from reidlib.papers import driver, gla
from reidlib.papers.gla.method import encode_pairs, phi
from reidlib.papers.image_to_image import encode
from reidlib.run.session import Session
from reidlib.world.write import write

pytest.importorskip("matplotlib")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("papermill")

from pages import page_of_notebook  # noqa: E402


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_world) -> Path:
    """CUHK-PEDES, Market-1501 and CUHK01; CUHK-SYSU and CUHK03 are missing."""
    root = tmp_path_factory.mktemp("gla") / "data"
    shutil.copytree(tiny_world, root)
    write("market1501", root, seed=3, ids=(6, 4), size=(48, 24))
    write("cuhk01", root, seed=3, ids=(9,), size=(48, 24))
    return root


@pytest.fixture(scope="module")
def session(tmp_path_factory, world) -> Session:
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=world)


@pytest.fixture(scope="module")
def datasets(session):
    return common.available(session, explore.TITLES)


@pytest.fixture(scope="module", params=list(explore.SHOWN))
def trained(session, request) -> explore.Trained:
    """The proposed method with the weights that it starts a training with."""
    experiment = explore.proposed(session)[request.param]
    dataset = session.dataset(request.param)
    data = gla.prepare(experiment, dataset, session.cache, "cpu")
    model = gla.build(experiment, data).eval()
    if request.param == "cuhk-pedes":
        gallery, query = encode_pairs(model, data.test)
    else:
        query, gallery = (encode(phi(model), part) for part in (data.query, data.gallery))
    return explore.Trained(model, data, query, gallery)


# ------------------------------------------------------------------ attention to phrases


def test_descriptions_are_those_of_their_images(trained):
    images, text, image_of, pids = explore.described(trained)
    split = trained.data.dataset.splits[explore.DESCRIBED[trained.data.dataset.name]]
    assert len(images) == len(split) == len(pids)
    assert pids.tolist() == split["pid"].tolist()
    captions = (
        trained.data.test.captions
        if trained.data.dataset.name == "cuhk-pedes"
        else trained.data.captions
    )
    assert len(text) == len(image_of) == len(captions)
    labels = {pid: label for label, pid in enumerate(np.unique(pids))}
    for caption in (0, len(text) // 2, len(text) - 1):
        words = common.words_of(
            trained.data.vocabulary, text.tokens[caption, : text.lengths[caption]].tolist()
        )
        assert words.split()[0] in captions[caption].lower()
        assert split["label"].iloc[image_of[caption]] == labels[pids[image_of[caption]]]


def test_attention_of_all_phrases_is_that_of_each(trained):
    found = explore.phrase_attention(trained, batch_size=7)
    images, text, image_of, pids = explore.described(trained)
    assert len(found) == len(text.phrases)
    assert explore.phrase_attention(trained)[-1].phrase == found[-1].phrase
    caption = len(text) - 1  # alone, not in a batch
    words = to_text(text.take(np.array([caption])))
    with torch.inference_mode():
        Psi = trained.model.encode_images(images.batch(torch.tensor([image_of[caption]]))).Psi
        theta_l = trained.model.encode_phrases(words.phrases, words.phrase_lengths)
        alone, _ = trained.model.attend(Psi, theta_l, phrase_owner(words.phrase_offsets))
    for one, r in zip(found[-len(alone) :], alone.numpy(), strict=True):
        assert one.pid == pids[image_of[caption]]
        np.testing.assert_allclose(one.r, r, atol=1e-5)
        assert one.r.sum() == pytest.approx(1, abs=1e-5)


def test_a_phrase_is_looked_up_where_a_caption_says_it(trained):
    _, text, image_of, pids = explore.described(trained)
    lengths = text.phrase_lengths
    phrases = [
        common.words_of(trained.data.vocabulary, p[:n])
        for p, n in zip(text.phrases.tolist(), lengths, strict=True)
    ]
    phrase = max((p for p in phrases if "?" not in p), key=phrases.count)
    owner = np.repeat(np.arange(len(text)), np.diff(text.phrase_offsets))
    said_of = [int(image_of[c]) for c, p in zip(owner, phrases, strict=True) if p == phrase]
    found = explore.named_in(trained, phrase, most=3)
    assert found and found[0] == said_of[0] and set(found) <= set(said_of)
    people = list(dict.fromkeys(pids[said_of].tolist()))
    assert pids[found].tolist() == people[:3]
    assert explore.named_in(trained, "a submarine of seven different colors in his pocket") == []
    maps = explore.maps_of(trained, phrase, found)
    assert [(m.image, m.phrase) for m in maps] == [(row, phrase) for row in found]
    groups = explore.by_image(maps, found)
    assert [[name for name, _ in group] for group in groups] == [[phrase]] * len(found)
    (direct,) = explore.maps_of(trained, phrase, found[:1])
    np.testing.assert_allclose(groups[0][0][1], direct.heat, atol=1e-6)


def test_examples_are_described_images(trained):
    image_of = explore.described(trained)[2]
    rows = explore.examples(trained, 3)
    assert len(rows) == 3 and set(rows) <= set(image_of.tolist()) and rows == sorted(set(rows))
    groups = explore.by_image(explore.phrase_maps(trained, rows, most=2), rows)
    assert all(1 <= len(group) <= 2 for group in groups)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("white t-shirt", "shirt, jacket, coat"),
        ("gray hat on his head", "hair, hat, cap"),
        ("black dress shoes", "shoes, boots"),
        ("blue jeans", "jeans, pants, skirt"),
        ("white shirt with black pants", None),
        ("black backpack", None),
        ("shirted man", None),
    ],
)
def test_phrases_that_name_one_thing(phrase, name):
    thing = explore.thing_of(phrase)
    assert (thing and thing.name) == name


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_uniform_attention_has_half_of_its_weight_on_either_half(rows):
    uniform = np.full((rows, 2), 1 / (2 * rows))
    assert explore.share_of("upper", uniform) == pytest.approx(0.5)
    assert explore.share_of("lower", uniform) == pytest.approx(0.5)


def test_share_of_a_half():
    r = np.array([[0.5, 0.1], [0.2, 0.0], [0.1, 0.1]])
    assert explore.share_of("upper", r) == pytest.approx(0.7)
    assert explore.share_of("lower", r) == pytest.approx(0.3)


def attention(people: int, upper: float, lower: float) -> list[PhraseAttention]:
    """Of each person a shirt with `upper` of its attention above, shoes with `lower` below."""
    found = []
    for pid in range(people):
        found.append(PhraseAttention(pid, "red shirt", np.array([[upper], [1 - upper]])))
        found.append(PhraseAttention(pid, "red shoes", np.array([[1 - lower], [lower]])))
        found.append(PhraseAttention(pid, "red bag", np.array([[0.0], [1.0]])))
    return found


def test_table_of_halves():
    table = explore.half_table(attention(5, 0.9, 0.6)).set_index("phrases about")
    shirt, shoes = table.loc["shirt, jacket, coat"], table.loc["shoes, boots"]
    assert (shirt["phrases"], shirt["persons"], shirt["uniform, %"]) == (5, 5, 50)
    columns = ["on that half, %", "95 % from", "95 % to", "other phrases, %"]
    assert shirt[columns].tolist() == pytest.approx([90, 90, 90, 40])
    assert shoes[columns].tolist() == pytest.approx([60, 60, 60, 10])
    hair = table.loc["hair, hat, cap"]
    assert hair["phrases"] == 0 and np.isnan(hair["on that half, %"])


def test_attention_that_follows_phrases_and_attention_that_does_not():
    follows = explore.attention_moves(attention(5, 1.0, 1.0))
    assert "moves by +50.0 % of the image's height (95 % interval +50.0 to +50.0" in follows
    always_above = explore.attention_moves(attention(5, 1.0, 0.0))
    assert "moves by +0.0 %" in always_above
    assert explore.attention_moves(attention(1, 1.0, 1.0)).startswith("Fewer than two persons")


def halves(**values: tuple[float, float, float, float]) -> pd.DataFrame:
    """A table as `half_table` makes it: on that half, from, to, of the other phrases."""
    rows = [
        (thing.name, thing.half, 9, 5, *values[thing.half][:3], 50.0, values[thing.half][3])
        for thing in explore.THINGS
    ]
    return pd.DataFrame(rows, columns=list(explore.half_table(attention(5, 0.9, 0.6))))


def test_attention_to_the_wrong_half_is_said():
    """A case that was seen on CUHK-PEDES: 17.6 % of the attention on the half where jeans are."""
    said = explore.halves_in_words(halves(upper=(80, 70, 90, 60), lower=(17.6, 12, 23, 20)))
    wrong, right = said.splitlines()
    assert "WRONG half for phrases about jeans, pants, skirt (17.6 % on the lower half" in wrong
    assert "12.0 to 23.0" in wrong and "shoes, boots (17.6 %" in wrong and "shirt" not in wrong
    assert "right half for hair, hat, cap (80.0 %" in right and "jeans" not in right


def test_halves_are_called_right_beyond_both_comparisons_only():
    """Attention that is on the upper half for every phrase follows none of them."""
    said = explore.halves_in_words(halves(upper=(80, 70, 90, 85), lower=(52, 45, 59, 40)))
    names = ", ".join(thing.name for thing in explore.THINGS)
    assert said == f"Neither can be said of phrases about {names}."


def test_halves_of_attention_as_it_is_measured():
    said = explore.halves_in_words(explore.half_table(attention(5, 1.0, 0.0)))
    wrong, neither = said.splitlines()  # nothing is said of things that no phrase names
    assert "WRONG half for phrases about shoes, boots (0.0 %" in wrong
    assert neither == "Neither can be said of phrases about shirt, jacket, coat."


def test_reconstruction_by_source_leaves_out_pairs_of_one_person(trained):
    table = explore.reconstruction_table(trained, images=9)
    assert list(table["psi_hat from"]) == ["own picture", "another picture", "no attention"]
    images, text, image_of, pids = explore.described(trained)
    rows, first = np.unique(image_of, return_index=True)
    chosen = common.spread(9, len(rows))
    order = np.random.default_rng(0).permutation(len(chosen))
    rows, captions = rows[chosen][order], first[chosen][order]
    counted = []
    for n, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        other = rows[(n + 1) % len(rows)]
        if pids[row] == pids[other]:
            continue
        words = to_text(text.take(np.array([caption])))
        pixels = images.batch(torch.tensor([row, other]))
        owner = torch.zeros(len(words.phrases), dtype=torch.int64)
        found = reconstruction_by_source(
            trained.model, pixels, words.phrases, words.phrase_lengths, owner
        )
        counted += zip(*(values.tolist() for values in found.values()), strict=True)
    assert set(table["phrases"]) == {len(counted)} and counted
    np.testing.assert_allclose(table["L_rec, nats per phrase"], np.mean(counted, axis=0), rtol=1e-4)
    said = explore.reconstruction_in_words(table)
    own, another, without = np.mean(counted, axis=0)
    assert f"{another - own:+.2f} nats" in said and f"attention {without - own:+.2f}" in said


def test_intervals_count_persons_not_phrases():
    rng = np.random.default_rng(0)
    varied = [
        found._replace(r=found.r * 0.5 + rng.dirichlet([1, 1])[:, None] * 0.5)
        for found in attention(12, 0.9, 0.6)
    ]
    assert explore.attention_moves(varied) == explore.attention_moves(varied * 4)
    columns = ["95 % from", "95 % to"]
    once, often = (explore.half_table(found)[columns] for found in (varied, varied * 4))
    np.testing.assert_allclose(once, often)
    shirt = once.iloc[1]
    assert shirt["95 % from"] < shirt["95 % to"] - 5


# ------------------------------------------------------------------ the data


def test_counts_beside_the_published_ones(datasets):
    table = explore.count_table(datasets)
    rows = {(row["dataset"], row["part"]): row for _, row in table.iterrows()}
    assert {name for name, _ in rows} == {"Market-1501", "CUHK01", "CUHK-PEDES"}
    train = rows["Market-1501", "train"]
    assert train["published"] == "12,936 images, 751 persons"
    assert train["found"] == f"{len(datasets['market1501'].splits['train']):,} images, 6 persons"
    assert rows["Market-1501", "gallery, junk (-1)"]["published"] == "3,819 images"
    test = datasets["cuhk-pedes"].splits["test"]
    captions = sum(map(len, test["captions"]))
    found = f"{len(test)} images, 6 persons, {captions} captions"
    assert rows["CUHK-PEDES", "test"]["found"] == found


def test_where_captions_come_from(datasets):
    table, notes = explore.caption_table(datasets)
    market = table.set_index("dataset").loc["Market-1501"]
    kinds = ["described themselves", "borrow, same camera", "borrow, another camera"]
    assert market[kinds].sum() == market["training images"]
    assert market["described themselves"] == 24  # four of each of six persons
    assert market["borrow, same camera"] > market["borrow, another camera"]
    own = table.set_index("dataset").loc["CUHK01"]
    assert own["described themselves"] == own["training images"] and notes == []


def test_missing_captions_are_a_note(world, tmp_path):
    folder = shutil.copytree(next(world.glob("Market*")), tmp_path / "Market-1501-v15.09.15")
    (folder / EXCERPT).unlink()
    reseal(Path(folder))
    alone = Session.create("smoke", results=tmp_path / "results", data=tmp_path)
    found = {"market1501": alone.dataset("market1501")}
    table, (note,) = explore.caption_table(found)
    assert len(table) == 0 and note.startswith("Market-1501 has no descriptions: ")
    assert explore.some_captions(found["market1501"], 3) == []


def test_two_kinds_of_phrases_are_marked():
    captions = ["A man with a black bag on his left shoulder wears gray pants.", "He's tall."]
    first, second = explore.marked_phrases(captions).split("\n")
    assert "**gray pants**." in first and "**black bag** on his **left shoulder**]" in first
    assert second.startswith("- he's") and "[" not in second


def test_persons_and_what_shows_none(datasets):
    rows = explore.person_rows(datasets, most=4)
    titles = list(rows)
    assert len(titles) == len(rows) == 5
    assert titles[0].startswith("Market-1501, person ") and ", cameras " in titles[0]
    assert any(title.startswith("CUHK01, person 1, views 1, 2") for title in titles)
    assert titles[-2:] == ["Market-1501, junk", "Market-1501, distractors"]
    assert all(1 <= len(images) <= 4 for images in rows.values())
    assert all(image.dtype == np.uint8 for images in rows.values() for image in images)


def test_rates_in_words(session):
    text = common.learning_rates(driver.experiments("gla", "paper")[0].training)
    assert text == "20 epochs at 0.01, 20 epochs at 0.001"


# ------------------------------------------------------------------ the notebook


def test_the_notebook_runs_through_where_data_and_runs_are_missing(session, tmp_path):
    page = page_of_notebook(session, "gla", tmp_path)
    assert re.search(r"\b0 of \d+ runs are in the store", page)
    for text in (
        "cuhk-sysu is left out",
        "cuhk03-classic-labeled is left out",
        "The proposed method on Market-1501 has not been trained here in this profile yet.",
        "python -m reidlib run --profile smoke --papers gla --row proposed --dataset market1501",
        "There are no weights to look into, see above.",
    ):
        assert text in page, text


def test_the_notebook_runs_through_without_the_datasets_it_looks_at(world, tmp_path):
    shutil.copytree(world / "CUHK01", tmp_path / "data" / "CUHK01")
    other = Session.create("smoke", results=tmp_path / "results", data=tmp_path / "data")
    page = page_of_notebook(other, "gla", tmp_path)
    assert "cuhk-pedes is left out" in page and "market1501 is left out" in page
    assert "CUHK01, person 1, views 1, 2" in page


def test_a_profile_shows_what_it_trains(tmp_path):
    """The demo searches Market-1501 only: nothing else is drawn or looked at for its report."""
    demo, smoke = (Session.create(name, results=tmp_path) for name in ("demo", "smoke"))
    assert explore.datasets_of(demo) == ["market1501"] == list(explore.proposed(demo))
    assert explore.datasets_of(smoke) == list(explore.TITLES)
    assert list(explore.proposed(smoke)) == list(explore.SHOWN)
