"""How rows, columns and settings are called in reports: as printed, never by a slug.

Tables are kept as plain text: `lambda_T`, `basel.+rank^2`, `S_GS+LS`. Here they become λ with a
lowered T, rank with a raised 2, and so on, as HTML or, where there is no HTML, in plain signs.
"""

import re
from collections.abc import Mapping

from reidlib.papers.claims import Side
from reidlib.papers.tables import PublishedRow, PublishedTable
from reidlib.report import escape

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "lambda": "λ", "mu": "μ", "phi": "φ", "psi": "ψ",
    "sigma": "σ", "theta": "θ",
}  # fmt: skip
_RAISED = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
# An index below a letter, a number above a word; a name such as last_stride is neither.
_SIGN = re.compile(
    rf"\b(?P<base>(?:[A-Za-z]|{'|'.join(_GREEK)})(?=_)|[A-Za-z]+(?=\^))"
    r"(?P<kind>[_^])(?P<index>\w[\w+]*|$)(?:\^(?P<above>\w+))?"
)
FLAGS = frozenset({"0", "1", ""})  # yes, no, and no for what is not said


def marked(text: str) -> str:
    """Printed text as HTML: `L_rank` with its index lowered, `rank^2` with its 2 raised."""

    def replace(match: re.Match) -> str:
        base = _GREEK.get(match["base"], match["base"])
        if not match["index"]:  # M_ is what Python calls M'
            return f"{base}′"
        tag = "sub" if match["kind"] == "_" else "sup"
        above = f"<sup>{match['above']}</sup>" if match["above"] else ""
        return f"{base}<{tag}>{match['index']}</{tag}>{above}"

    return _SIGN.sub(replace, escape(text))


def plain(text: str) -> str:
    """The same without HTML: `λ_T`, `rank²`."""

    def replace(match: re.Match) -> str:
        base = _GREEK.get(match["base"], match["base"])
        if not match["index"]:
            return f"{base}′"
        if match["kind"] == "^" and match["index"].isdigit():
            return base + match["index"].translate(_RAISED)
        above = f"^{match['above']}" if match["above"] else ""
        return f"{base}{match['kind']}{match['index']}{above}"

    return _SIGN.sub(replace, text)


def row_label(table: PublishedTable, slug: str) -> str:
    """A row in the words that are printed in it: "VGG-16: Channel, GS, GN", "k = 6, VGG-16".

    What says nothing is left out: a column with one value throughout, and the ticked columns
    where the others tell the rows apart. For `marked` or `plain`; raises `DataError` for an
    unknown row.
    """
    row = table.row(slug)
    values = {c: [r.values[c] for r in table.rows] for c in table.settings}
    flags = [c for c, v in values.items() if any(v) and set(v) <= FLAGS]
    words = [c for c, v in values.items() if c not in flags and (len(set(v)) > 1 or len(v) == 1)]

    def told(r: PublishedRow) -> str:
        parts = [_value(c, r.values[c], values[c]) for c in words]
        return ", ".join(part for part in parts if part)

    label = told(row)
    alike = [r for r in table.rows if told(r) == label]
    if len(alike) > 1 and flags:
        ticked = [c for c in flags if row.values[c] == "1"]
        label = f"{label}: " * bool(label) + (", ".join(ticked) or f"no {' or '.join(flags)}")
    return label or slug


def _value(column: str, text: str, all_values: list[str]) -> str:
    """A number needs the name of its column."""
    numbers = all(re.fullmatch(r"[\d.]+", value) for value in all_values if value)
    return f"{column} = {text}" if numbers and text else text


def side_label(side: Side, tables: Mapping[int, PublishedTable] | None) -> str:
    """The row of a claim's side; its slug where the table is not at hand."""
    if tables is None or side.table not in tables:
        return side.row
    return row_label(tables[side.table], side.row)


def with_labels(text: str, tables: Mapping[int, PublishedTable] | None) -> str:
    """A sentence about runs, in which slugs of rows give way to the rows' printed words; for
    `marked` or `plain`."""
    slugs = {row.slug: table for table in (tables or {}).values() for row in table.rows}
    if not slugs:
        return text
    every = "|".join(re.escape(slug) for slug in sorted(slugs, key=len, reverse=True))

    def replace(match: re.Match) -> str:
        number = match["number"]
        table = tables[int(number)] if number and int(number) in tables else None
        if table is None or all(row.slug != match["slug"] for row in table.rows):
            table = slugs[match["slug"]]
        place = f" (Table {number})" if number else ""
        return f"“{row_label(table, match['slug'])}”{place}"

    pattern = rf"(?<![\w-])(?P<slug>{every})(?![\w-])(?: \(table (?P<number>\d+)\))?"
    return re.sub(pattern, replace, text)
