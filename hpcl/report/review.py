"""The section for who goes on mapping: where map and inventory disagree, and what became of earlier answers."""

from __future__ import annotations

from hpcl.core.records import Answers, Promise
from hpcl.core.review import DOUBTFUL, OMISSIONS, OUTLINES
from hpcl.report.facts import Report
from hpcl.report.html import Section, fixed, paragraph, table_html

_ASKED = {
    OMISSIONS: "mapped, but not in the inventory: a landslide?",
    DOUBTFUL: "in the inventory, but not supported by the map: none?",
    OUTLINES: "in both, but drawn differently: badly drawn?",
}


def review_section(report: Report) -> Section:
    """What an audit asks, and how often it was right."""
    intro = (
        "Map and inventory, held against each other: no network saw the labels of the ground that it is asked about here. The rows "
        "lie in data/audit/<area>/review.gpkg, the most probable first, each with its reason and a place for your decision."
    )
    rows = [
        [words, str((layer := report.audit.layer(name)).rows), _promised(layer.promise), _answered(layer.answers)]
        for name, words in _ASKED.items()
    ]
    note = (
        "Probably right: how many rows are, as far as the map can tell before anybody has looked, with an interval; landslides are "
        "taken to be missing from the inventory regardless of how they look. Answered: of the rows that you decided, how many "
        "were right, and how many had been expected to be."
    )
    head = ["question", "rows", "probably right", "answered"]
    table = table_html("What to look at next", head, rows, note=note)
    return Section("review", "Where map and inventory disagree", [paragraph(intro), table])


def _promised(promise: Promise | None) -> str:
    if promise is None:
        return "too little known"
    return f"{promise.expected:.0f} [{promise.low:.0f}, {promise.high:.0f}]"


def _answered(answers: Answers | None) -> str:
    return "" if answers is None else f"{answers.right} of {answers.rows} right ({fixed(answers.expected, 1)} expected)"
