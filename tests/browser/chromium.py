"""What the browser tests share: chromium, finished results, and what is measured in a page."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
# Chromium's own requests (updates, field trials) would only fail where there is no network.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 300_000  # milliseconds; a busy machine is no failure
TRAINED = ("ssan", "gla")  # what is trained here where nothing is: a text and an image method

# Boxes of what stands in the cells of each table, in pixels. What sticks is put back to its place:
# it lies over other cells by design. Cells that show nothing (closed, hidden) have no box.
TABLES = """
() => {
  const still = document.createElement('style');
  still.textContent = 'thead, th, .caption { position: static !important }';
  document.head.append(still);
  const box = cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const rects = [...range.getClientRects()].filter(r => r.width > 0 && r.height > 0);
    if (!rects.length) return null;
    return {
      text: cell.textContent.trim().slice(0, 30),
      left: Math.min(...rects.map(r => r.left)), right: Math.max(...rects.map(r => r.right)),
      top: Math.min(...rects.map(r => r.top)), bottom: Math.max(...rects.map(r => r.bottom)),
    };
  };
  const scrolls = element => {
    for (let e = element.parentElement; e && e !== document.body; e = e.parentElement)
      if (/auto|scroll/.test(getComputedStyle(e).overflowX)) return e;
    return null;
  };
  const found = [];
  for (const table of document.querySelectorAll('table')) {
    const place = table.getBoundingClientRect();
    if (!place.width) continue;
    const cells = [...table.querySelectorAll('th, td')];
    const boxes = cells.map(box).filter(Boolean).sort((a, b) => a.top - b.top);
    const overlaps = [];
    boxes.forEach((a, n) => {
      for (let m = n + 1; m < boxes.length && boxes[m].top < a.bottom - 1.5; m++) {
        const b = boxes[m];
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5)
          overlaps.push(`${a.text} | ${b.text}`);
      }
    });
    const own = getComputedStyle(table);
    const around = /auto|scroll/.test(own.overflowX) && own.display === 'block'
      ? table : scrolls(table);
    const seen = around && around.getBoundingClientRect();
    const claim = table.querySelector('tbody .claim');
    found.push({
      name: (table.caption?.innerText || '').slice(0, 60), cells: boxes.length, overlaps,
      ours: Boolean(table.closest('.reid')),
      left: place.left, right: place.right,
      box: around && {
        left: seen.left, right: seen.right, hidden: around.scrollWidth - around.clientWidth,
        cue: getComputedStyle(around).backgroundImage !== 'none', keys: around.tabIndex === 0,
      },
      texts: cells.filter(c => c.classList.contains('text')).length,
      not_left: cells.filter(c => c.classList.contains('text')
        && !['left', 'start'].includes(getComputedStyle(c).textAlign)).map(c => c.textContent),
      claim: claim && claim.getBoundingClientRect().width / place.width,
    });
  }
  still.remove();
  return found;
}
"""

# Contrast of text with the color behind it, as WCAG 2 defines it, of all text in `selector`.
CONTRASTS = """
selector => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const ink = canvas.getContext('2d', {willReadFrequently: true});
  const mixed = new Map();
  const over = (color, ground) => {
    const key = `${color} on ${ground}`;
    if (!mixed.has(key)) {
      ink.fillStyle = ground; ink.fillRect(0, 0, 1, 1);
      ink.fillStyle = color; ink.fillRect(0, 0, 1, 1);
      const [r, g, b] = ink.getImageData(0, 0, 1, 1).data;
      mixed.set(key, `rgb(${r}, ${g}, ${b})`);
    }
    return mixed.get(key);
  };
  const luminance = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = new Map([[null, 'rgb(255, 255, 255)']]);
  const behind = element => {
    if (!grounds.has(element))
      grounds.set(element,
        over(getComputedStyle(element).backgroundColor, behind(element.parentElement)));
    return grounds.get(element);
  };
  const found = [];
  for (const element of document.querySelectorAll(selector)) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const ground = behind(element);
    const color = over(getComputedStyle(element).color, ground);
    const [low, high] = [luminance(color), luminance(ground)].sort((a, b) => a - b);
    found.push({text: element.textContent.trim().slice(0, 30), color, ground,
                contrast: (high + 0.05) / (low + 0.05)});
  }
  return found;
}
"""


def check_tables(tables: list[dict[str, Any]], *, scrolls: bool = True, cue: bool = True) -> int:
    """Nothing stands over anything else, and texts are aligned left; returns the tables of ours.

    Args:
        tables: what `TABLES` found.
        scrolls: whether a table may be wider than its box.
        cue: whether such a box must show that there is more, and be scrolled with keys.
    """
    ours = [table for table in tables if table["ours"]]
    for table in tables:
        assert not table["overlaps"], (table["name"], table["overlaps"][:5])
        if (box := table["box"]) and box["hidden"] > 1:
            assert scrolls, f"{table['name']}: {box['hidden']} pixels are hidden"
            assert not cue or (box["cue"] and box["keys"]), (table["name"], box)
    for table in ours:
        assert not table["not_left"], (table["name"], table["not_left"][:5])
        assert table["claim"] is None or table["claim"] > 0.2, table["name"]
    return len(ours)


def train(folder: Path) -> None:
    """Two papers' results and reports in the smoke profile; found again where they are there."""
    if all((folder / "smoke" / f"{paper}.html").exists() for paper in TRAINED):
        return
    command = [sys.executable, "-m", "reidlib", "all", "--profile", "smoke"]
    command += ["--results", str(folder), "--papers", ",".join(TRAINED)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@contextlib.contextmanager
def opened(browser: Any, **how: Any) -> Iterator[tuple[Any, list[str]]]:
    """A new page in a context of its own, and what went wrong in it: errors in its console, and
    requests that leave the machine."""
    context = browser.new_context(**how)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []

    def requested(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
            wrong.append(f"a request for {request.url}")

    def said(message: Any) -> None:
        if message.type == "error":
            wrong.append(message.text)

    page.on("request", requested)
    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield page, wrong
    finally:
        context.close()
