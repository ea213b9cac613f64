"""Every decision of a mapper is counted where people look: in the report, and in the list of runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import examples
import pytest

from hpcl.core.artifacts import write_json
from hpcl.core.records import DecisionCount
from hpcl.report.areas import _answers
from stages.tracking.results import _decisions

ACCEPTED, REDRAWN = DecisionCount("omissions", "accept", 5, 4), DecisionCount("outlines", "redraw", 1, 1)
UNSURE = DecisionCount("next", "unsure", 2, 2)


def said(*counts: DecisionCount) -> str:
    area = SimpleNamespace(ingest=examples.area(inventory=examples.inventory(review=list(counts))))
    return _answers(area)  # type: ignore[arg-type]  # all that it reads of an area


def test_the_report_counts_decisions() -> None:
    assert said() == ""
    assert _answers(SimpleNamespace(ingest=examples.area())) == ""  # type: ignore[arg-type]  # all that it reads of an area
    assert said(REDRAWN) == "<p>A mapper answered 1 row of an earlier audit: 1 of the outlines redrawn.</p>"
    text = said(ACCEPTED, REDRAWN, UNSURE)
    assert (
        "8 rows of an earlier audit: 5 of the omissions accepted, 1 of the outlines redrawn and 2 of the places to map next left unsure."
        in text
    )
    assert "1 could not be applied; the findings of this area say why." in text


def test_mlflow_counts_decisions_of_all_areas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _decisions() == {}
    Path("params.yaml").write_text("areas: [one, two, three, four]")
    for name, counts in {"one": [ACCEPTED, UNSURE], "two": [ACCEPTED, REDRAWN], "three": []}.items():
        facts = examples.area(area=name, inventory=examples.inventory(review=counts))
        write_json(Path("data/ingest") / name / "facts.json", facts)
    write_json(Path("data/ingest/four/facts.json"), examples.area(area="four"))
    assert _decisions() == {"review/accepted": 10, "review/unsure": 2, "review/redrawn": 1, "review/not_applied": 2}
