"""Which source computes a run: a digest that changes when any of it does.

The recipe numbers in the papers' packages are raised by hand when results change; this finds what
nobody thought of. Comments and docstrings do not count. It does not enter the key: code that is
moved or made faster must not make finished runs useless, and a report says where they differ.
"""

import ast
import hashlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from reidlib.data.formats import imagefolder
from reidlib.data.register import FORMATS, format_of
from reidlib.experiment import Experiment

PACKAGE = "reidlib"
# Not followed: they decide what is asked for, or are reached by name, and not what a run comes to.
_APART = (
    "reidlib.arguments",
    "reidlib.profiles",
    "reidlib.errors",
    "reidlib.files",
    "reidlib.papers.tables",
)


def source_of(experiment: Experiment) -> dict[str, str]:
    """For the record of a run: what computes it, and the digest of that."""
    model = type(experiment.model).__module__
    folder = experiment.dataset == imagefolder.NAME
    loader = imagefolder.__name__ if folder else FORMATS[format_of(experiment.dataset)].loader
    digest = source_digest(experiment.paper, model, loader)
    return {"model": model, "loader": loader, "digest": digest}


def is_todays(paper: str, recorded: object) -> bool:
    """Whether what `source_of` recorded of a run is the source of today."""
    if not isinstance(recorded, dict) or not {"model", "loader", "digest"} <= set(recorded):
        return False
    found = source_digest(paper, str(recorded["model"]), str(recorded["loader"]))
    return found == recorded["digest"]


def source_digest(paper: str, model: str, loader: str) -> str:
    """12 hex digits of the source of all modules that a training rests on: the driver, the paper's
    package, the modules of model and dataset, and whatever these import of this package."""
    return _digest(("reidlib.papers.driver", f"reidlib.papers.{paper}", model, loader))


@lru_cache(maxsize=64)
def _digest(roots: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in modules_behind(roots):
        digest.update(f"{name} {_read(name)[1]}\n".encode())
    return digest.hexdigest()[:12]


def modules_behind(roots: tuple[str, ...]) -> list[str]:
    """Names of the modules of this package that the roots import, directly or not, sorted."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name in _APART or _path(name) is None:
            continue
        found.add(name)
        waiting += _read(name)[0]
    return sorted(found)


@lru_cache(maxsize=256)
def _read(name: str) -> tuple[tuple[str, ...], str]:
    """The modules of this package that a module imports, and the digest of its code without
    comments and docstrings."""
    tree = ast.parse(_path(name).read_text(encoding="utf-8"))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(body := getattr(node, "body", None), list):
            body[:] = [ast.Pass() if _is_text(statement) else statement for statement in body]
    mine = tuple(n for n in names if n.split(".")[0] == PACKAGE and n != PACKAGE)
    return mine, hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    """A docstring, or a string that stands by itself as a comment does."""
    value = getattr(statement, "value", None)
    return (
        isinstance(statement, ast.Expr)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    )


@lru_cache(maxsize=512)
def _path(name: str) -> Path | None:
    """The file of a module; None for a name that is none, such as a function's."""
    if name in sys.modules and getattr(sys.modules[name], "__file__", None):
        return Path(sys.modules[name].__file__)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
