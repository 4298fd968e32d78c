"""A worker process of the pool: `python -m reidlib.run.worker`.

Standard input: a line with the session as JSON, then one line per run to train, a `Planned` as
`to_line` writes it. Standard output: one line of JSON per event, behind `MARK`; whatever else is
printed there is none of the parent's business. Ends with its input.
"""

import base64
import json
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from queue import Queue
from typing import Any

import torch

from reidlib.errors import ReidlibError, StoreError
from reidlib.run.plan import Planned
from reidlib.run.runner import Busy, run_one
from reidlib.run.session import Session

MARK = "reidlib-event "


def to_line(planned: Planned) -> str:
    """A planned run as one line of text, for a process that trusts who wrote it."""
    return base64.b64encode(pickle.dumps(planned)).decode() + "\n"


def main() -> None:
    # Nothing but events may reach the parent's pipe; anything printed goes to standard error.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(event: str, **values: Any) -> None:
        pipe.write(MARK + json.dumps({"event": event, **values}) + "\n")
        pipe.flush()

    session = Session.from_json(sys.stdin.readline())
    tasks: Queue[str | None] = Queue()
    busy = threading.Event()

    def read_tasks() -> None:
        for line in sys.stdin:
            tasks.put(line)
        if busy.is_set() or not tasks.empty():
            os._exit(1)  # the parent died in the middle of a run; its checkpoint is on disk
        tasks.put(None)

    threading.Thread(target=read_tasks, daemon=True).start()
    while (task := tasks.get()) is not None:
        busy.set()
        event = _train(session, pickle.loads(base64.b64decode(task)), tell)
        busy.clear()  # before the parent hears of it and may close our input
        tell(**event)


def _train(session: Session, planned: Planned, tell: Callable[..., None]) -> dict[str, Any]:
    """Train one run; returns the event that says how it ended."""
    try:
        run = run_one(session, planned, on_epoch=lambda record: tell("epoch", **record))
    except Busy:
        return {"event": "busy"}
    except StoreError as error:
        # A full disk: the other runs would end in the same way. Not so a damaged weight file.
        return {
            "event": "failed", "error": str(error), "stop": isinstance(error.__cause__, OSError)
        }  # fmt: skip
    except ReidlibError as error:
        return {"event": "failed", "error": str(error)}
    except Exception:  # reported to the parent, which goes on with the other runs
        if torch.cuda.is_initialized():
            # Most errors of a GPU last as long as the process: every run after this one would end
            # in it, too. The parent tells this run by our last words, and starts another worker.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        return {"event": "failed", "error": traceback.format_exc()}
    took = f"{run.metrics['headline']} ({run.metrics['seconds']:.0f} s)"
    return {"event": "done", "outcome": took}


if __name__ == "__main__":
    main()
