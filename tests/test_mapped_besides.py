"""Areas that `make map` mapped have a short section of the report, and change nothing that it says of the others."""

from __future__ import annotations

import base64
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_report import Ground, _areas_part, _report, _text, write_project

from hpcl.besides import STAGES, mapped_besides
from hpcl.core.artifacts import read_json, write_json
from hpcl.core.records import MapFacts, OutlineFacts
from hpcl.report import style

FAR = "far - wide"


PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAkAAAAJCAAAAADF+lnMAAAADElEQVR4nGNgoBUAAABaAAFUw4NUAAAAAElFTkSuQmCC")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing pictures takes seconds, and is not what is asked here."""
    monkeypatch.setattr(style, "pngs", lambda figures, settings: dict.fromkeys(figures, PNG))


def _project(root: Path, labelled: bool) -> None:
    """A listed area, and one that was mapped: it is not listed, nothing of it is explained."""
    write_project(root, [Ground("here", (40, 40)), Ground(FAR, (50, 44), labelled=labelled, accepted=False)])
    params = root / "params.yaml"
    params.write_text(params.read_text().replace(f"[here, {FAR}]", "[here]"))
    shutil.rmtree(root / "data" / "explain" / FAR)
    facts = root / "data" / "predict" / FAR / "facts.json"
    distances = {"optical": {"red": 0.25, "green": 1.5}, "terrain": {"slope": 0.5}}
    told = read_json(facts, MapFacts)
    write_json(facts, replace(told, distances=distances, findings=["Its bands are <unlike> the others."]))


@pytest.mark.parametrize("labelled", [False, True])
def test_it_has_a_short_section(tmp_path: Path, labelled: bool) -> None:
    _project(tmp_path, labelled)
    _report(tmp_path)
    text = _text(tmp_path)
    part = _areas_part(text.replace(", mapped only</h2>", "</h2>"), FAR)
    outline = read_json(tmp_path / "data" / "outline" / FAR / "facts.json", OutlineFacts)
    assert f"Mapped: {outline.landslides} landslides, " in part
    assert "(probability at least 0.50)" in part
    assert part.count("<img") == 2
    assert "Its bands are &lt;unlike&gt; the others." in part
    assert "REJECTED: " in part
    assert "green (1.50)" in part
    assert "An older map." not in part
    assert {path.name for path in (tmp_path / "reports" / "figures").glob(f"{FAR}_*")} == {
        f"{FAR}_map.png",
        f"{FAR}_image.png",
    }
    assert "<h1>Landslide map of here</h1>" in text


def test_what_is_said_of_listed_areas_stays(tmp_path: Path) -> None:
    _project(tmp_path / "with", labelled=False)
    shutil.copytree(tmp_path / "with", tmp_path / "without")
    for stage in STAGES:
        shutil.rmtree(tmp_path / "without" / "data" / stage / FAR)
    for root in ("with", "without"):
        _report(tmp_path / root)
    whole, plain = (_text(tmp_path / root) for root in ("with", "without"))
    own = re.sub(r'<section id="area-far[^"]*">.*?</section>\n', "", whole, flags=re.S)
    own = re.sub(r'<li><a href="#area-far[^"]*">.*?</li>', "", own)
    own = re.sub(rf"<tr><td>{FAR}</td>.*?</tr>", "", own)
    assert own == plain


@pytest.mark.parametrize("stage", ["predict", "outline"])
def test_a_map_of_other_networks_or_thresholds_is_told(tmp_path: Path, stage: str) -> None:
    _project(tmp_path, labelled=False)
    told = tmp_path / "data" / stage / FAR / "facts.json"
    change = {
        "predict": ('"weights_sha256": "', '"weights_sha256": "0'),
        "outline": ('"elsewhere": 0.5', '"elsewhere": 0.6'),
    }
    before = told.read_text()
    told.write_text(before.replace(*change[stage]))
    assert told.read_text() != before
    _report(tmp_path)
    assert f"make map AREA={FAR} makes it again" in _text(tmp_path)


@pytest.mark.parametrize("lacking", STAGES)
def test_only_finished_maps_count(tmp_path: Path, lacking: str) -> None:
    for stage in STAGES:
        for name in ("here", "b", "a", ".draft"):
            write_json(tmp_path / stage / name / "facts.json", {})
    assert mapped_besides(tmp_path, ["here"]) == ["a", "b"]
    assert mapped_besides(tmp_path, ["here", "a", "b"]) == []
    (tmp_path / lacking / "a" / "facts.json").unlink()
    if lacking != STAGES[-1]:
        (tmp_path / lacking / "a").rmdir()
    assert mapped_besides(tmp_path, ["here"]) == ["b"]
    assert mapped_besides(tmp_path / "nothing", ["here"]) == []
