"""Tables of settings that say what each of them is."""

from dataclasses import dataclass

from reidlib.models.imgnet import IMGNetConfig
from reidlib.report.settings import meanings, settings_table


@dataclass(frozen=True)
class Settings:
    """Made up."""

    ids: int  # people in the training set
    M_: int = 512  # M', width # of a thing
    shared: bool = True
    depths: tuple[int, ...] | None = None  # None = full depth

    def method(self) -> int:
        depths: int = 3  # not a setting of its own
        return depths


def test_meanings_are_the_comments_behind_the_fields() -> None:
    found = meanings(Settings)
    assert found["ids"] == "people in the training set"
    assert found["M_"] == "M', width # of a thing"
    assert found["shared"] == ""
    assert list(found) == ["ids", "M_", "shared", "depths"]


def test_alternatives_of_a_default_are_said_in_words() -> None:
    found = meanings(IMGNetConfig)
    assert found["backbone"].startswith('or "vgg16_bn" or "resnet50"; ')
    assert not any("| " in text for text in found.values())


def test_settings_table_shows_values_and_meanings() -> None:
    html = settings_table(
        Settings(3),
        "All <settings>",
        more={"rates": "0.1", "size": ((4, 2), "h x w")},
        hide=("ids",),
    ).html
    assert "All &lt;settings&gt;" in html and "people in the training set" not in html
    for text in ("M&#x27;, width # of a thing", "yes", "–", "4, 2", "h x w", "rates"):
        assert f">{text}<" in html, text
