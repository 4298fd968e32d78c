"""What a paper's page begins with: its verdict, and its claims with their intervals."""

from reidlib.report import Html
from reidlib.report.figures.forest import forest
from reidlib.report.results import PaperResults
from reidlib.report.summary_text import verdict
from reidlib.report.verdicts import is_judged


def opening(results: PaperResults, *, profile: str) -> Html:
    """The verdict in three sentences, and the forest plot where the numbers mean something."""
    first = verdict(results, profile=profile)
    if not is_judged(profile):
        return first
    return first + forest(results.claims)
