"""The styles of fragments (tables and figures, wherever they are shown) and of pages.

A fragment follows the theme of what it is shown in: JupyterLab's and VS Code's where they say which
one they have, else the system's. `templates/fragments.css` is written for inside one rule whose
selector is stronger than JupyterLab's rules for tables.
"""

from functools import cache
from pathlib import Path

from reidlib.report.palette import properties
from reidlib.report.verdicts import rules

_THEMES = """\
.reid { color-scheme: light dark; }
:is([data-jp-theme-light="true"], .vscode-light, .vscode-high-contrast-light) .reid \
{ color-scheme: light; }
:is([data-jp-theme-light="false"], .vscode-dark, \
.vscode-high-contrast:not(.vscode-high-contrast-light)) .reid { color-scheme: dark; }
"""

# Of a box that scrolls sideways: shadows at its edges say that there is more.
_CUE = """--reid-cue:
    linear-gradient(to right, var(--r-paper) 40%, transparent) 0 0 / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--r-paper) 40%, transparent) 100% 0 / 3rem 100% no-repeat local,
    linear-gradient(to right, var(--reid-shadow), transparent) 0 0 / 0.9rem 100% no-repeat scroll,
    linear-gradient(to left, var(--reid-shadow), transparent) 100% 0 / 0.9rem 100% no-repeat scroll,
    var(--r-paper);
--reid-shadow: color-mix(in srgb, var(--r-ink) 35%, transparent);"""


@cache
def template_text(name: str) -> str:
    """The text of a file in `report/templates`."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def fragment_css() -> str:
    """The style of tables and figures."""
    inside = f"{template_text('fragments.css')}\n{rules()}"
    return f"{_THEMES}.reid {{ {properties()}\n{_CUE} }}\n.reid.reid.reid {{\n{inside}\n}}\n"


@cache
def page_css() -> str:
    """The style of a whole page, that of its fragments included."""
    root = f":root {{ color-scheme: light dark; {properties()}\n{_CUE} }}"
    # On paper there is one theme; what the fragments say of it must not be stronger.
    printed = "@media print { :root, .reid { color-scheme: light !important; } }"
    return "\n".join([fragment_css(), root, template_text("page.css"), rules(), printed])
