"""What tests of runs share: a session on a tiny world, and two cheap runs of it."""

import json
from pathlib import Path

from reidlib.data.formats.checks import SYNTHETIC
from reidlib.data.generated import sealed
from reidlib.run.plan import Planned, plan
from reidlib.run.session import Session


def session_in(results: Path, data: Path) -> Session:
    return Session.create("smoke", results=results, data=data)


def some(session: Session, *names: str) -> list[Planned]:
    """Planned runs by their names' beginnings, which are those of two cheap rows by default."""
    names = names or (
        "vgg16_bn, channel+spatial, GS+LS+GP, GN, k=6, fused",
        "vgg16_bn, no attention, GS, GN, k=6, fused",
    )
    planned = plan(session, ["imgnet"])
    return [next(p for p in planned if p.experiment.name.startswith(n)) for n in names]


def reseal(folder: Path) -> None:
    """A generated dataset that was changed on purpose, sealed as if it had been written so."""
    marker = folder / SYNTHETIC
    described = json.loads(marker.read_text())
    del described["seal"]
    marker.write_text(json.dumps(sealed(folder, described)))
