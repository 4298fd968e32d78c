"""Running a notebook with papermill, with the checks that papermill leaves out.

Papermill ends well when the `parameters` cell is missing, when a parameter is unknown and when a
cell calls `sys.exit(0)`; here all three are errors. The kernel is always the interpreter that runs
this code, whatever kernels are registered on the machine.
"""

import ast
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from reidlib.errors import ReidlibError, UsageError
from reidlib.files import explain_os_errors, write_atomic
from reidlib.report.html import read_notebook


class NotebookError(ReidlibError):
    """A notebook that did not run to its end; what it wrote until then is kept."""

    exit_status = 1


class ThisInterpreter(AsyncKernelManager):
    """Starts kernels with the running interpreter; needs no registered kernel."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # Before a kernel is asked to stop it is interrupted, and says now and then that this was an
        # error. What goes wrong in a cell comes as a message, not by this log.
        argv += ["--log-level=CRITICAL"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


@dataclass(frozen=True)
class Execution:
    """A notebook that ran to its end."""

    path: Path
    seconds: float
    cells: int  # code cells that ran


def run_notebook(
    path: Path,
    out_path: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    cell_timeout: float | None = None,
    start_timeout: int = 300,
    progress: bool = False,
) -> Execution:
    """Execute a notebook and keep it, finished or not, as evidence.

    Args:
        path: the notebook; one code cell is tagged `parameters`.
        out_path: where the executed notebook goes; it appears there when the execution has ended.
        parameters: values for names that the `parameters` cell assigns.
        folder: working directory of the kernel; default: that of the notebook.
        environment: environment variables for the kernel, besides those of this process.
        cell_timeout: seconds a cell may run; None = for ever.
        start_timeout: seconds the kernel may take to start; it is started a second time if it
            fails to.
        progress: show papermill's progress bar.

    Raises:
        DataError: the notebook cannot be read.
        UsageError: it has no `parameters` cell, or does not know one of the parameters.
        NotebookError: a cell failed or never ran, or the kernel died or did not start.
    """
    path, out_path, parameters = Path(path), Path(out_path), dict(parameters or {})
    names = parameter_names(path)
    if unknown := sorted(set(parameters) - names):
        raise UsageError(
            f"{path}: unknown parameter {', '.join(unknown)}; its parameters cell assigns "
            f"{', '.join(sorted(names))}"
        )
    started = time.monotonic()
    # Written cell by cell under another name; papermill formats paths, hence the doubled braces.
    partial = out_path.with_name(f".{out_path.stem}.partial.ipynb")
    with explain_os_errors(partial, "writing the executed notebook"):
        partial.parent.mkdir(parents=True, exist_ok=True)

    def execute() -> None:
        papermill.execute_notebook(
            _literal(path),
            _literal(partial),
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=str(folder or path.parent),
            progress_bar=progress,
            start_timeout=start_timeout,
            execution_timeout=cell_timeout,
            kernel_manager_class=ThisInterpreter,
        )

    try:
        with _environment(environment or {}):
            try:
                execute()
            except (RuntimeError, OSError) as error:
                if _began(partial) or isinstance(error, DeadKernelError):
                    raise
                execute()  # the kernel did not start; often another one took its port
    except papermill.PapermillExecutionError as error:
        raise NotebookError(
            f"{path}: code cell [{error.exec_count}] failed: {error.ename}: {error.evalue}"
        ) from error
    except DeadKernelError as error:
        raise NotebookError(
            f"{path}: the kernel died{_where(partial)}; was it out of memory? Fewer --jobs or a "
            "smaller profile need less."
        ) from error
    except CellTimeoutError as error:
        raise NotebookError(
            f"{path}: a cell ran longer than {cell_timeout:g} s{_where(partial)}"
        ) from error
    except (RuntimeError, OSError) as error:
        if _began(partial):
            raise NotebookError(f"{path}: {error}{_where(partial)}") from error
        raise NotebookError(f"{path}: the kernel did not start, twice: {error}") from error
    finally:
        _keep(partial, out_path)
    cells = _check_finished(path, out_path)
    return Execution(out_path, time.monotonic() - started, cells)


def parameter_names(path: Path) -> set[str]:
    """The names that a notebook's `parameters` cell assigns.

    Raises:
        DataError: the notebook cannot be read.
        UsageError: it has no cell tagged `parameters`, or more than one.
    """
    tagged = [
        cell
        for cell in read_notebook(path).cells
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])
    ]
    if len(tagged) != 1:
        raise UsageError(f"{path}: {len(tagged)} code cells tagged parameters, expected one")
    try:
        statements = ast.parse(tagged[0].source).body
    except SyntaxError as error:
        raise UsageError(f"{path}: its parameters cell is no Python: {error}") from error
    names = set()
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _literal(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _code_cells(path: Path) -> list[Any]:
    if not path.exists():
        return []
    return [
        cell
        for cell in read_notebook(path).cells
        if cell.cell_type == "code" and cell.source.strip()
    ]


def _status(cell: Any) -> str:
    return cell.metadata.get("papermill", {}).get("status") or "pending"


def _started(cell: Any) -> bool:
    return cell.metadata.get("papermill", {}).get("start_time") is not None


def _began(path: Path) -> bool:
    """Whether any cell was started at all."""
    return any(_started(cell) for cell in _code_cells(path))


def _where(path: Path) -> str:
    """Names the cell that was started last."""
    started = [(n, c) for n, c in enumerate(_code_cells(path), start=1) if _started(c)]
    return f" in {_name(*started[-1])}" if started else ""


def _name(number: int, cell: Any) -> str:
    return f"code cell {number} ({cell.source.strip().splitlines()[0][:60]!r})"


def _keep(partial: Path, out_path: Path) -> None:
    if partial.exists():
        write_atomic(out_path, partial.read_bytes())
        partial.unlink()


def _check_finished(path: Path, out_path: Path) -> int:
    """The number of code cells, if all were completed; `sys.exit(0)` leaves some that are not."""
    cells = _code_cells(out_path)
    for number, cell in enumerate(cells, start=1):
        if _status(cell) != "completed":
            raise NotebookError(
                f"{path}: {_name(number, cell)} of {len(cells)} is {_status(cell)}, expected "
                "completed: did it, or a cell before it, call sys.exit?"
            )
    return len(cells)
