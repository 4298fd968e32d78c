"""A worker process of the runner: `python -m reidlib.run.worker`.

Standard input: a line with the session as JSON, then one line per run to train
({"paper": …, "key": …}). Standard output: one line of JSON per event. Ends with its input.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from queue import Queue
from typing import Any

from reidlib.errors import ReidlibError, StoreError
from reidlib.run.runner import Busy, find, run_one
from reidlib.run.session import Session


def main() -> None:
    # Nothing but events may reach the parent's pipe; anything printed goes to standard error.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(event: str, **values: Any) -> None:
        pipe.write(json.dumps({"event": event, **values}) + "\n")
        pipe.flush()

    session = Session.from_json(sys.stdin.readline())
    tasks: Queue[dict[str, str] | None] = Queue()
    busy = threading.Event()

    def read_tasks() -> None:
        for line in sys.stdin:
            tasks.put(json.loads(line))
        if busy.is_set() or not tasks.empty():
            os._exit(1)  # the parent died in the middle of a run; its checkpoint is on disk
        tasks.put(None)

    threading.Thread(target=read_tasks, daemon=True).start()
    while (task := tasks.get()) is not None:
        busy.set()
        event = _train(session, task, tell)
        busy.clear()  # before the parent hears of it and may close our input
        tell(**event)


def _train(session: Session, task: dict[str, str], tell: Callable[..., None]) -> dict[str, Any]:
    """Train one run; returns the event that says how it ended."""
    try:
        planned = find(session, [task["paper"]], task["key"])
        run = run_one(session, planned.experiment, on_epoch=lambda record: tell("epoch", **record))
    except Busy:
        return {"event": "busy"}
    except StoreError as error:  # a full disk: the other runs would end in the same way
        return {"event": "failed", "error": str(error), "stop": True}
    except ReidlibError as error:
        return {"event": "failed", "error": str(error)}
    except Exception:  # reported to the parent, which goes on with the other runs
        return {"event": "failed", "error": traceback.format_exc()}
    return {
        "event": "done",
        "says": f"{run.metrics['headline']} ({run.metrics['seconds']:.0f} s)",
    }


if __name__ == "__main__":
    main()
