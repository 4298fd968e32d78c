"""The command lines, parsed and checked with the standard library alone.

`run_all.sh` checks its arguments with this module before it installs anything, so a typing error
is reported at once: `python -m reidlib.arguments ARGS` exits 0 if they are fine, 2 if they are
not, 100 if they asked for help.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reidlib.data.register import FORMATS
from reidlib.profiles import PROFILES

PAPERS = ("imgnet", "ssan", "gla", "attention_driven", "fgsam")
DATASETS = FORMATS.keys()  # what the procedural world is written as


def papers(text: str) -> tuple[str, ...]:
    """Comma-separated names of papers; each must be known."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PAPERS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"unknown paper {', '.join(map(repr, unknown)) or repr(text)}: "
            f"expected one or more of {', '.join(PAPERS)}, separated by commas"
        )
    return names


def at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def folder(text: str) -> Path:
    """An existing folder."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: expected an existing folder")
    return path.resolve()


def add_session_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is run on what; the same for every command."""
    add = parser.add_argument
    add("--profile", choices=PROFILES, default="demo", help="sizes and budgets (default: demo)")
    add(
        "--papers",
        type=papers,
        default=PAPERS,
        metavar="NAMES",
        help=f"comma-separated: {', '.join(PAPERS)} (default: all)",
    )
    add(
        "--data",
        type=folder,
        metavar="DIR",
        help="folder that holds the real datasets (default: the procedural world)",
    )
    add(
        "--imagefolder",
        type=folder,
        metavar="DIR",
        help="folder of class folders with pictures, such as ILSVRC2012, to pretrain on (default: "
        "strangers of the procedural world)",
    )
    add("--results", type=Path, metavar="DIR", help="where results go (default: results/)")
    add(
        "--seeds",
        type=at_least_1,
        metavar="N",
        help="trainings per row (default: the profile's own number)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    add(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="of trainings; tests are in fp32 always (default: auto = bf16 on a GPU, else fp32)",
    )
    add(
        "--jobs",
        type=at_least_1,
        metavar="N",
        help="runs at the same time (default: one per core for small profiles, else per GPU)",
    )
    add(
        "--world-seed",
        type=int,
        default=0,
        metavar="N",
        help="another procedural world (default: 0)",
    )


def run_all_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run_all.sh",
        description="Train what is missing and write the reports to results/<profile>/. "
        "`./run_all.sh test` runs the test suite instead.",
    )
    add_session_arguments(parser)
    return parser


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """What one argument alone cannot tell; ends the process with status 2 if it is wrong."""
    if arguments.profile == "paper" and arguments.data is None:
        parser.error(
            "--profile paper runs on real data: give --data DIR, a folder that holds the datasets "
            "(data/README.md shows how they are placed), or choose smoke, demo or bench, which "
            "bring their own procedural world"
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = run_all_parser()
    argv = sys.argv[1:] if argv is None else argv
    if "-h" in argv or "--help" in argv:
        parser.print_help()
        sys.exit(100)
    check(parser.parse_args(argv), parser)


if __name__ == "__main__":
    main()
