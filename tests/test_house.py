"""The house: imports run downward, in no circle; every package says what it is for."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "reidlib"

# From the ground up; a module may import what stands on its own line or on one above it.
FLOORS = (
    ("errors", "files", "devices", "experiment", "profiles"),
    ("data",),
    ("metrics",),
    ("losses", "train"),
    ("models",),
    ("world",),
    ("arguments",),
    ("papers",),
    ("run",),
    ("explore",),
    ("report", "doctor", "pose", "gpu_check"),
    ("cli",),
    ("__init__", "__main__"),
)


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path], lazily: bool = False) -> set[str]:
    """Modules of the package that a module imports when it is imported (or ever)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazily else _at_import(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reidlib"):
            base = (node.module or "").removeprefix("reidlib").lstrip(".")
            for alias in node.names:
                longer = f"{base}.{alias.name}".lstrip(".")
                names.add(longer if longer in known else base)
        elif isinstance(node, ast.Import):
            names |= {
                a.name.removeprefix("reidlib.") for a in node.names if a.name.startswith("reidlib.")
            }
    return {name for name in names if name in known}


def _at_import(tree: ast.Module):
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += list(ast.iter_child_nodes(node))


def floor(module: str) -> int:
    top = module.split(".")[0]
    return next(n for n, names in enumerate(FLOORS) if top in names)


def test_no_import_runs_upward():
    known = modules()
    upward = [
        f"{name} -> {other}"
        for name, path in known.items()
        for other in imported(path, known, lazily=True)
        if floor(other) > floor(name) and name != "__main__"
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    arrows = {name: imported(path, known) - {name} for name, path in known.items()}
    finished: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in finished:
            return
        for other in sorted(arrows[name]):
            walk(other, (*trail, name))
        finished.add(name)

    for name in sorted(known):
        walk(name, ())


def test_every_module_says_what_it_is_for():
    for name, path in modules().items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name


def test_tests_are_named_after_what_they_test():
    """`test_<module>.py`, or after a package, a folder or a concern of the whole checkout."""
    names = {name.split(".")[-1] for name in modules()} | {
        part for name in modules() for part in name.split(".")
    }
    whole = {
        "house",
        "project",
        "end_to_end",
        "doctests",
        "image_datasets",
        "readme",
        "fuzz",
        "contributing",
        "rehearsal",
        "rerun",
        "benchmarks",
    }
    for path in (ROOT / "tests").glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        words = name.removesuffix("_paper").removesuffix("_report").removesuffix("_tables")
        assert {name, words} & (names | whole), path.name
