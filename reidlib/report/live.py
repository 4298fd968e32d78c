"""A training as it runs: its curve, drawn anew in the same place after every epoch."""

from typing import Any

from IPython.display import display

from reidlib.report import Html, escape, figures


class LiveCurve:
    """Shows itself where it is made; call it with every epoch's record, see `reidlib.train.fit`."""

    def __init__(self, what: str, epochs: int) -> None:
        self.what, self.epochs = what, epochs
        self.history: list[dict[str, Any]] = []
        waiting = Html(f"<p>{escape(what)}: the first of {epochs} epochs …</p>")
        self._shown = display(waiting, display_id=True)

    def __call__(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        self._shown.update(self.figure())

    def figure(self) -> Html:
        """The curve so far."""
        seconds = sum(epoch["seconds"] for epoch in self.history)
        images = sum(epoch["images"] for epoch in self.history)
        caption = (
            f"{self.what}: epoch {len(self.history)} of {self.epochs}, {images:,} pictures with "
            f"their sentences in {seconds:.0f} s. loss: the sum of the others."
        )
        return figures.curves(self.history, caption=caption, rates=False)
