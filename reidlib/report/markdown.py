"""Tables and text for pages in Markdown."""

from collections.abc import Collection, Iterable, Sequence

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_|<>[]#"})


def escaped(text: str) -> str:
    """Plain text that Markdown shows as it is, in one line."""
    return text.translate(_SPECIAL).replace("\n", " ")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()
) -> list[str]:
    """The lines of a table, of cells in Markdown, and an empty one behind it.

    numbers: which columns are aligned right.
    """
    rule = "".join("---:|" if n in numbers else "---|" for n in range(len(columns)))
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return [lines[0], f"|{rule}", *lines[1:], ""]
