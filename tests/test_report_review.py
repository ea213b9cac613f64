"""What the report says of an audit: the promise, and what became of it."""

from __future__ import annotations

from typing import Any

import examples
import pytest

from hpcl.core.records import Answers, LayerFacts, Promise
from hpcl.report import facts
from hpcl.report.html import section_html
from hpcl.report.review import review_section


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (LayerFacts(rows=40, promise=Promise(rows=40, expected=28.8, low=23.0, high=35.0)), ["40", "29 [23, 35]"]),
        (LayerFacts(rows=3), ["3", "too little known"]),
        (LayerFacts(rows=9, answers=Answers(rows=8, right=6, expected=5.25)), ["6 of 8 right (5.2 expected)"]),
    ],
)  # fmt: skip
def test_promise_and_answers(layer: LayerFacts, words: list[str]) -> None:
    none: Any = {}
    report = facts.Report(
        [], {}, none, none, none, none, none, none, examples.audit(doubtful=layer), none, none, none, none
    )
    html = section_html(review_section(report), 2)
    row = html[html.index("not supported by the map") :].split("</tr>")[0]
    for word in words:
        assert word in row, row
