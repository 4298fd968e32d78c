"""A JupyterLab on loopback with the notebooks of this checkout, and how tests use it."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chromium import PATIENCE, ROOT

# Every cell stands in the page, not only those in view; nothing is asked and nothing looked up.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    folder: Path  # of its notebooks
    token: str

    def show(self, page: Any, name: str) -> None:
        """Open a notebook, with its kernel started, and wait until all of it is there."""
        page.goto(f"{self.url}/lab/tree/{name}?reset&token={self.token}")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
        page.evaluate(
            """async () => {
                 const panel = jupyterapp.shell.currentWidget;
                 await panel.context.ready; await panel.sessionContext.ready;
                 jupyterapp.commands.execute('application:toggle-left-area');
               }"""
        )
        page.wait_for_function(
            """() => { const notebook = jupyterapp.shell.currentWidget.content;
                       return notebook.widgets.every(cell => cell.isAttached); }"""
        )

    def run(self, page: Any) -> list[dict[str, Any]]:
        """Run all cells of the notebook that is open; returns its code cells as stored."""
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        stored = page.evaluate("jupyterapp.shell.currentWidget.context.model.toJSON()")
        return [cell for cell in stored["cells"] if cell["cell_type"] == "code"]

    def use(self, page: Any, theme: str) -> None:
        """Change the theme, "light" | "dark"."""
        name = THEMES[theme]
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", name
        )
        # "attached": JupyterLab's body has no height of its own.
        page.wait_for_selector(f"body[data-jp-theme-name='{name}']", state="attached")


def problems(cells: list[dict[str, Any]]) -> list[str]:
    """Code cells that did not run, or ended with an error."""
    found = []
    for number, cell in enumerate(cells, start=1):
        source = "".join(cell["source"])
        if source.strip() and not cell["execution_count"]:
            found.append(f"cell {number} did not run: {source[:80]}")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"cell {number}: {output['ename']}: {output['evalue']}")
    return found


@contextlib.contextmanager
def jupyterlab(folder: Path, results: Path) -> Iterator[Lab]:
    """Start a JupyterLab in `folder`, with copies of the notebooks and settings of its own."""
    notebooks = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns(".*"))
    settings = folder / "settings"
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    own = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}": str(folder / name.lower()) for name in own},
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(ROOT),
        "REIDLIB_PROFILE": "smoke",
        "REIDLIB_RESULTS": str(results),
        "OMP_NUM_THREADS": "1",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", notebooks, secrets.token_hex())
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={notebooks}", f"--IdentityProvider.token={lab.token}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    log = folder / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait(lab, server, log)
        yield lab
    finally:
        server.terminate()
        server.wait(60)


def _wait(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{lab.url}/api?token={lab.token}", timeout=30).close()
            return
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-3000:]}")
