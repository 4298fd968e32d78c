"""The settings of a training, each with what it means: as the source explains it."""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reidlib.report import Html, escape
from reidlib.report.labels import marked
from reidlib.report.tables import data_table


def meanings(kind: type) -> dict[str, str]:
    """What the fields of a dataclass mean: the comment behind each in its source, or ""."""
    found = {field.name: "" for field in dataclasses.fields(kind)}
    for line in inspect.getsource(kind).splitlines():
        match = re.match(r"\s+(\w+):[^#]*#\s*(.*)", line)
        if match and match[1] in found:
            # Behind a default stand its alternatives: | "max" | "avg"
            found[match[1]] = re.sub(r'(^| )\| (?=")', r"\1or ", match[2])
    return found


def settings_table(
    settings: Any,
    caption: str,
    *,
    more: Mapping[str, Any] | None = None,
    hide: tuple[str, ...] = (),
) -> Html:
    """Every field of a dataclass, under the name that code has for it, with its value and its
    meaning; `more` rows stand below.

    Args:
        settings: a dataclass, such as the configuration of a model.
        caption: of the table.
        more: further settings by name; a value may be a pair (value, meaning).
        hide: fields that are not shown.
    """
    said = meanings(type(settings))
    rows = [
        (
            Html(f"<code>{escape(field.name)}</code>"),
            _text(getattr(settings, field.name)),
            Html(marked(said[field.name])),
        )
        for field in dataclasses.fields(settings)
        if field.name not in hide
    ]
    for name, value in (more or {}).items():
        pair = value if isinstance(value, tuple) and len(value) == 2 else (value, "")
        rows.append((name, _text(pair[0]), str(pair[1])))
    frame = pd.DataFrame(rows, columns=["setting", "value", "what it is"])
    if not any(map(str, frame["what it is"])):
        frame = frame.drop(columns="what it is")
    return data_table(frame, caption)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_text, value))
    return re.sub(r"^'(.*)'$", r"\1", str(value))
