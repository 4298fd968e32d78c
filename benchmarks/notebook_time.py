"""How long a notebook takes with finished results: until it shows something, and until its end.

    python benchmarks/notebook_time.py 02_ssan [--profile smoke] [--results DIR]

Runs all cells in a kernel of their own and trains nothing, so the results have to be there
(`./run_all.sh --profile smoke --papers ssan`). Processor time of the kernel is printed beside the
wall clock, which says little on a busy machine; `first_output` is the first table or figure, the
start of the kernel and its imports included. The last line is JSON.
"""

import os
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from timing import arguments, begin, report

from reidlib.report.notebook import ThisInterpreter
from reidlib.run.session import project_root


def is_shown(cell: Any) -> bool:
    """Whether a cell has put a table, a figure or a picture on the page."""
    shown = (output.get("data", {}).get("text/html", "") for output in cell.get("outputs", ()))
    return any('class="reid' in html for html in shown)


def main() -> None:
    parser = arguments(__doc__, turns=1, gpu=False)
    parser.add_argument("notebook", help="its name, such as 02_ssan")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--results", help="default: results/ of this checkout")
    parser.add_argument("--cells", type=int, default=5, help="how many of the slowest are named")
    args = parser.parse_args()
    begin(args)
    path = project_root() / "notebooks" / f"{Path(args.notebook).stem}.ipynb"
    os.environ["REIDLIB_PROFILE"] = args.profile
    if args.results:
        os.environ["REIDLIB_RESULTS"] = str(Path(args.results).resolve())
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "\ntrain_missing = False"

    client = NotebookClient(notebook, kernel_manager_class=ThisInterpreter, timeout=None)
    client.resources = {"metadata": {"path": str(path.parent)}}
    started, taken, first = time.perf_counter(), [], None
    with client.setup_kernel():
        kernel = psutil.Process(client.km.provisioner.pid)

        def now() -> tuple[float, float]:
            """Seconds by the wall clock and of the processor, since the kernel was asked for."""
            spent = kernel.cpu_times()
            return time.perf_counter() - started, spent.user + spent.system

        before = now()
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
            if cell.cell_type != "code":
                continue
            after = now()
            taken.append((after[1] - before[1], number, cell.source.strip().splitlines()[0]))
            first = after if first is None and is_shown(cell) else first
            before = after
    for seconds, number, line in sorted(taken, reverse=True)[: args.cells]:
        print(f"{seconds:6.2f} s  cell {number}: {line[:70]}")

    def named(at: tuple[float, float]) -> dict[str, float]:
        return {"wall_s": round(at[0], 2), "cpu_s": round(at[1], 2)}

    result = {"notebook": path.stem, "profile": args.profile}
    result |= {"first_output": first and named(first), "all": named(before)}
    report("notebook_time", args, result)


if __name__ == "__main__":
    main()
