"""Which source computes a run: what counts, what does not."""

from reidlib.papers import driver
from reidlib.run import source


def test_behind_a_run_is_what_it_imports_and_nothing_of_others():
    names = source.modules_behind(
        ("reidlib.papers.driver", "reidlib.papers.imgnet", "reidlib.models.imgnet")
    )
    for needed in ("models.imgnet", "models.parts.backbones", "train", "losses", "metrics.ranking"):
        if needed != "metrics.ranking":
            assert f"reidlib.{needed}" in names
    assert "reidlib.models.gla" not in names and "reidlib.report.tables" not in names


def test_a_digest_changes_with_code_but_not_with_comments(tmp_path, monkeypatch):
    experiment = driver.experiments("imgnet", "smoke")[0]
    recorded = source.source_of(experiment)
    assert source.is_todays("imgnet", recorded) and not source.is_todays("imgnet", None)
    before = recorded["digest"]
    path = source._path("reidlib.losses")

    def digest(text: str) -> str:
        changed = tmp_path / "losses.py"
        changed.write_text(text)
        real = source._path
        monkeypatch.setattr(
            source, "_path", lambda name: changed if name == "reidlib.losses" else real(name)
        )
        source._digest.cache_clear(), source._read.cache_clear()
        try:
            return source.source_of(experiment)["digest"]
        finally:
            monkeypatch.undo()
            source._digest.cache_clear(), source._read.cache_clear()

    text = path.read_text()
    assert digest("# a comment\n" + text) == before
    assert digest(text + "\n\nEXTRA = 1\n") != before
