"""Searching a gallery in a notebook: a panel of widgets over `reidlib.explore.search`.

In a page without a kernel, such as a report, the panel's first answer stands in its place as a
picture.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from reidlib.explore import attention_driven, fgsam, gla, search, ssan
from reidlib.explore.common import pictures, spread
from reidlib.explore.search import Answer, Engine, Hit, Row
from reidlib.papers.tables import load_tables
from reidlib.report import Html, escape, style
from reidlib.report.answers import shown, why
from reidlib.report.figures.basics import PICTURE, picture
from reidlib.report.figures.galleries import FRAMES
from reidlib.report.labels import plain, row_label
from reidlib.run.session import Session

TITLES = fgsam.TITLES | attention_driven.TITLES | gla.TITLES | ssan.TITLES
MOST = 24  # pictures at once
EXAMPLES = 12  # test sentences that the button goes through
_BLANK = "\N{NO-BREAK SPACE}"  # in place of a score, so that pictures stand level
_WIDGET = "application/vnd.jupyter.widget-view+json"

# Title of a dataset -> name of a model -> what opens it
Models = Mapping[str, Mapping[str, Callable[[], Engine]]]


def search_panel(
    session: Session, paper: str, *, row: str = "", query: str | int | None = None, k: int = 8
) -> "Panel | Html":
    """A panel over all rows of a paper's tables that are trained here; says so if there is none.

    Args:
        row: slug of the row that it opens with, or of one with the same training.
        query: the sentence, or the number of the query picture, that it opens with; else one of
            the test split.
        k: pictures that it shows at first.
    """
    found = search.rows(session, paper)
    if not found:
        return Html(
            "<p>No row of the paper's tables is trained here with its weights: there is nothing to "
            "search with.</p>"
        )
    models: dict[str, dict[str, Callable[[], Engine]]] = {}
    for each in found:
        named = models.setdefault(_title(each), {})
        named[_name(each)] = lambda each=each: search.engine(session, each)
    start = search.chosen(session, found, row)
    return Panel(models, (_title(start), _name(start)), query=query, k=k)


def _title(row: Row) -> str:
    """The name of a row's dataset; the random splits of one are not told apart."""
    name = row.dataset.partition("-split-")[0]
    return TITLES.get(name, name)


def _name(row: Row) -> str:
    """A row in the words that are printed in it."""
    return f"Table {row.table}: {plain(row_label(load_tables(row.paper)[row.table], row.slug))}"


class Panel:
    """A search panel: dataset, model, query and number of pictures; below them what was found, and
    under each picture a button that asks why.

    Attributes:
        root: the widget; it has the CSS class `reid-search`, its results `reid-results`.
        answer: the last answer.
    """

    def __init__(
        self,
        models: Models,
        start: tuple[str, str] | None = None,
        *,
        query: str | int | None = None,
        k: int = 8,
    ) -> None:
        self._models = models
        dataset, model = start or next((d, m) for d, named in models.items() for m in named)
        wide = widgets.Layout(width="auto", max_width="46em", flex="1 1 20em")
        self.dataset = widgets.Dropdown(
            options=list(models), value=dataset, description="Dataset", layout={"width": "auto"}
        )
        self.model = widgets.Dropdown(
            options=list(models[dataset]), value=model, description="Model", layout=wide
        )
        self.k = widgets.BoundedIntText(
            value=k, min=1, max=MOST, description="Pictures", layout={"width": "10em"}
        )
        self.sentence = widgets.Text(
            placeholder="Describe a person",
            description="Sentence",
            tooltip="Describe a person",
            continuous_update=False,
            layout=wide,
        )
        self.search = widgets.Button(description="Search", button_style="primary")
        self.example = widgets.Button(
            description="A test sentence", tooltip="Take the next sentence of the test split"
        )
        self.query = widgets.IntSlider(
            min=1, max=1, description="Query", continuous_update=False, layout=wide
        )
        self.asked = widgets.HBox(layout={"flex_flow": "row wrap"})
        self.said = widgets.HTML()
        self.hits = widgets.HBox(layout={"flex_flow": "row wrap", "align_items": "flex-end"})
        self.pair = widgets.HTML(layout={"width": "100%"})
        self.results = widgets.VBox([self.said, self.hits, self.pair])
        self.results.add_class("reid-results")
        chosen = widgets.HBox([self.dataset, self.model, self.k], layout={"flex_flow": "row wrap"})
        self.root = widgets.VBox(
            [widgets.HTML(str(style())), chosen, self.asked, self.results],
            layout={"width": "100%"},
        )
        self.root.add_class("reid-search")
        self.answer = Answer("", search.SIMILARITY)
        self._shown_example = -1
        self._quiet = False
        self._open(query)
        self.dataset.observe(self._on_dataset, "value")
        self.model.observe(self._on_model, "value")
        for each in (self.k, self.sentence, self.query):
            each.observe(lambda _: self.ask(), "value")
        self.search.on_click(lambda _: self.ask())
        self.example.on_click(lambda _: self.next_example())

    # -------------------------------------------------------------- what is asked

    def ask(self) -> None:
        """Search for what the widgets say, and show what was found."""
        if self._quiet:
            return
        if self.engine.by_sentence:
            self.answer = search.by_sentence(self.engine, self.sentence.value, self.k.value)
        else:
            self.answer = search.by_image(self.engine, self.query.value - 1, self.k.value)
        self._show()

    def next_example(self) -> None:
        """Ask the next of some sentences of the test split."""
        captions = self.engine.data.test.captions
        chosen = spread(EXAMPLES, len(captions))
        self._shown_example = (self._shown_example + 1) % len(chosen)
        asked = captions[chosen[self._shown_example]]
        if asked == self.sentence.value:
            self.ask()
        self.sentence.value = asked

    def why(self, hit: Hit) -> None:
        """Show the attention of the model to the query and a picture that was found."""
        name = f"rank {hit.rank}" if hit.rank else hit.verdict
        self.pair.value = (
            f'<div class="reid"><p><b>Why this picture ({escape(name)})?</b></p></div>'
            f"{why(self.engine, self.answer, hit.row)}"
        )

    def _open(self, query: str | int | None = None) -> None:
        """Take the chosen model; ask `query`, or the last one if the new model can be asked it."""
        self.said.value = '<div class="reid"><p>Encoding the gallery …</p></div>'
        self.engine = self._models[self.dataset.value][self.model.value]()
        self._quiet = True
        if self.engine.by_sentence:
            self.asked.children = (self.sentence, self.search, self.example)
            if isinstance(query, str):
                self.sentence.value = query
            elif not self.sentence.value:
                self.next_example()
        else:
            self.asked.children = (self.query,)
            self.query.max = len(self.engine.data.query.frame)
            if isinstance(query, int):
                self.query.value = query + 1
        self._quiet = False
        self.ask()

    def _on_dataset(self, _: Any) -> None:
        names, kept = list(self._models[self.dataset.value]), self.model.value
        self._quiet = True
        self.model.options = names
        self.model.value = kept if kept in names else names[0]
        self._quiet = False
        self._open()

    def _on_model(self, _: Any) -> None:
        if not self._quiet:
            self._open()

    # -------------------------------------------------------------- what is shown

    def _show(self) -> None:
        self.pair.value = ""
        told = "".join(f"<p>{escape(text)}</p>" for text in search.in_words(self.answer))
        if self.answer.hits:
            told += f'<p class="minor">Below each picture: {escape(self.answer.measure)}.</p>'
        self.said.value = f'<div class="reid" role="status">{told}</div>'
        self.hits.children = tuple([*self._asked_for(), *map(self._item, self.answer.hits)])

    def _asked_for(self) -> list[widgets.Widget]:
        """The query picture, or a picture of the person that is meant."""
        data, answer = self.engine.data.dataset, self.answer
        if not answer.hits:
            return []
        if not self.engine.by_sentence:
            (image,) = pictures(data, [int(answer.query)], "query")
            return [_framed(picture(image, "the query", over="query", under=_BLANK), _gap())]
        meant = {"over": "meant", "under": _BLANK, "kind": "meant"}
        return [
            _framed(picture(image, "the person who is meant", **meant), _gap())
            for image in pictures(data, answer.meant[:1], "test")
        ]

    def _item(self, hit: Hit) -> widgets.Widget:
        """A picture that was found, with its button."""
        (image,) = pictures(self.engine.data.dataset, [hit.row], self.engine.split)
        button = widgets.Button(
            description="Why?",
            tooltip=f"Why is this picture here ({_place(hit)})?",
            layout={"width": f"{PICTURE}px"},
        )
        button.on_click(lambda _: self.why(hit))
        kind, mark = FRAMES.get(hit.verdict, ("" if hit.rank else "left-out", ""))
        over = f"{hit.rank} {mark}".strip() if hit.rank else f"{hit.verdict}, not counted"
        under = f"{hit.score:.3f}"
        return _framed(picture(image, _place(hit), over=over, under=under, kind=kind), button)

    # -------------------------------------------------------------- where it is shown

    def still(self) -> Html:
        """The answer as a picture, for pages without a kernel."""
        return shown(self.engine, self.answer, f"{self.dataset.value}, {self.model.value}.")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widget where there is a kernel, else what it answered first."""
        note = "<p>In JupyterLab this is a panel to search with; here is what it answers first.</p>"
        view = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        return {
            _WIDGET: view,
            "text/html": f"{note}{self.still()._repr_html_()}",
            "text/plain": " ".join(["A search panel.", *search.in_words(self.answer)]),
        }


def _gap() -> widgets.Widget:
    """As high as a button, so that pictures stand level."""
    return widgets.HTML(layout={"height": "28px", "margin": "2px"})


def _framed(content: str, below: widgets.Widget) -> widgets.Widget:
    # The container query of a fragment needs a width from outside.
    box = f'<div class="reid" style="margin:0;width:{PICTURE}px">{content}</div>'
    return widgets.VBox(
        [widgets.HTML(box), below],
        layout={"width": f"{PICTURE + 10}px", "overflow": "visible"},
    )


def _place(hit: Hit) -> str:
    if hit.rank is None:
        return f"{hit.verdict}, not counted"
    return f"rank {hit.rank}" + (f", {hit.verdict}" if hit.verdict else "")
