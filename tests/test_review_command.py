"""`python -m stages.review` brings a new audit and earlier answers together; stages neither stop at them nor take them away."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import pytest
import shapely
from test_review import FALSE, FORMS, GRID, OMITTED, SLIDES, row, save, table

from hpcl.core import records
from hpcl.core.artifacts import write_json
from hpcl.geo import vector
from hpcl.ingest import IngestError, review_files
from hpcl.synth.write import SynthError, refuse_foreign, synthesize
from stages import _outs, review
from stages._outs import EditedOutError, protected

PIPELINE = """\
stages:
  audit:
    cmd: python -m stages.audit
    outs: [{data/audit: {persist: true}}]
  synthesize:
    foreach: {north: 1}
    do:
      cmd: python -m stages.synthesize '${key}'
      outs: [{"data/raw/${key}": {persist: true}}]
"""
RAW, AUDIT = Path("data/raw/north"), Path("data/audit/north")
ASKED = [row("omissions", OMITTED, ""), row("omissions", FALSE, ""), row("doubtful", SLIDES[1], "", of=SLIDES[1])]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose area was ingested, and in which `audit` asks three questions."""
    monkeypatch.chdir(tmp_path)
    for folder in (RAW, AUDIT, Path(".dvc/tmp")):
        folder.mkdir(parents=True)
    Path("dvc.yaml").write_text(PIPELINE)
    shutil.copy(Path(__file__).parents[1] / ".dvcignore", tmp_path)
    facts = examples.area(area="north", shape=list(GRID.shape), transform=list(GRID.affine)[:6])
    assert isinstance(facts, records.AreaFacts)
    write_json(Path("data/ingest/north/facts.json"), facts)
    audit()
    return tmp_path


def audit(*rows: dict[str, Any]) -> None:
    with protected("audit", ()):
        save(AUDIT, *(rows or ASKED))
        (AUDIT / "north.qgs").write_text("a project of the stage's")


def answer(**decisions: str) -> None:
    """Write decisions into the file of the audit, as QGIS does: in place, by layer; to the first row of it."""
    with closing(sqlite3.connect(AUDIT / "review.gpkg")) as database, database:
        for (name,) in database.execute("select name from sqlite_master where type='trigger'").fetchall():
            database.execute(f'drop trigger "{name}"')  # they call functions of GDAL's
        for layer, decision in decisions.items():
            database.execute(f"update {layer} set decision = ? where fid = 1", (decision,))


def gathered(name: str = "review.gpkg") -> dict[str, str]:
    found, _ = review_files.read(RAW / name, GRID, "north")
    return dict(zip(found["id"], found["decision"], strict=True))


def ids(*rows: dict[str, Any]) -> list[str]:
    return [one["id"] for one in rows]


def test_answers_are_gathered_and_the_next_audit_may_ask_again() -> None:
    answer(omissions="Accept ", doubtful="reject")
    with pytest.raises(EditedOutError, match=r"gather its answers, `python -m stages\.review north`, keep it, `mkdir"):
        audit()
    said = review.gather("north")
    assert said[0] == "north: 2 rows are answered, 2 of them now (omissions: 1 accept, doubtful: 1 reject)."
    assert gathered() == dict(zip(ids(ASKED[0], ASKED[2]), ["accept", "reject"], strict=True))
    before = (RAW / "review.gpkg").read_bytes()
    assert review.gather("north")[0].startswith("north: 2 rows are answered, 0 of them now")
    assert (RAW / "review.gpkg").read_bytes() == before
    audit(ASKED[1])
    answer(omissions="reject")
    with pytest.raises(EditedOutError):
        audit()
    review.gather("north")
    assert gathered() == dict(zip(ids(ASKED[0], ASKED[2], ASKED[1]), ["accept", "reject", "reject"], strict=True))


def test_an_edit_after_the_gathering_is_an_edit() -> None:
    answer(omissions="accept")
    review.gather("north")
    answer(doubtful="accept")
    with pytest.raises(EditedOutError):
        audit()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_gathered_into_the_form_that_is_there(form: str, tmp_path: Path) -> None:
    save(RAW, row("omissions", OMITTED, "unsure"), row("next", FALSE, "accept"), name=form)
    page = save(tmp_path / "data", row("omissions", OMITTED, "accept"), name="review.geojson")
    page.rename(tmp_path / "review (1).geojson")
    review_files.write(tmp_path / "review (1).geojson", table(row("omissions", OMITTED, "accept")), "north")
    review.gather("north", tmp_path / "review (1).geojson")
    assert sorted(path.name for path in RAW.iterdir()) == [form]
    assert sorted(gathered(form).values()) == ["accept", "accept"]


def test_an_answer_against_an_earlier_one_needs_a_word() -> None:
    save(RAW, row("omissions", OMITTED, "reject"))
    before = (RAW / "review.gpkg").read_bytes()
    answer(omissions="accept")
    with pytest.raises(review.ReviewError, match=r"reject, then accept\); say which counts, with --counts new or"):
        review.gather("north")
    assert (RAW / "review.gpkg").read_bytes() == before
    with pytest.raises(EditedOutError):
        audit()
    review.gather("north", counts="earlier")
    assert gathered() == {ASKED[0]["id"]: "reject"}
    review.gather("north", counts="new")
    assert gathered() == {ASKED[0]["id"]: "accept"}


def test_what_would_be_lost_or_misread_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    named = row("omissions", OMITTED, "", id=f"omissions-{vector.digest(OMITTED)[:12]}")
    save(AUDIT, named)
    assert review.gather("north") == ["north: no row of data/audit/north/review.gpkg has a decision."]
    with pytest.raises(review.ReviewError, match=r"row omissions-\w{12} of omissions was changed"):
        save(AUDIT, named | {"geometry": FALSE}) and review.gather("north")
    moved = row("omissions", OMITTED, "") | {"geometry": shapely.transform(OMITTED, lambda at: at + 3)}
    save(AUDIT, moved)
    with pytest.raises(review.ReviewError, match=r"was changed, and the row has no decision; write redraw"):
        review.gather("north")
    gpd.GeoDataFrame({"id": [None], "decision": [None]}, geometry=[OMITTED], crs=GRID.crs.proj).to_file(
        AUDIT / "review.gpkg", layer="omissions"
    )
    with pytest.raises(IngestError, match=r"without an id was drawn and not decided"):
        review.gather("north")
    answer(omissions="maybe")
    with pytest.raises(
        IngestError, match=r"has the decision 'maybe'; there it is accept, reject, unsure, redraw, or empty"
    ):
        review.gather("north")
    (AUDIT / "review.gpkg").unlink()
    with pytest.raises(review.ReviewError, match=r"does not exist; make it \(dvc repro audit\)"):
        review.gather("north")
    page = save(tmp_path / "south", row("omissions", OMITTED), name="review.geojson")
    with pytest.raises(IngestError, match=r"holds answers about the area 'south', and not about 'north'"):
        review.gather("north", page)
    save(RAW, row("omissions", OMITTED))
    (RAW / "review.gpkg-wal").write_text("open")
    with pytest.raises(IngestError, match=r"is open in another program"):
        review.gather("north", save(tmp_path / "north", row("omissions", FALSE), name="review.geojson"))
    assert gathered_quietly() == {ASKED[0]["id"]: "accept"}


def gathered_quietly() -> dict[str, str]:
    (RAW / "review.gpkg-wal").unlink()
    return gathered()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["nowhere"], "does not exist (the areas there are: north)"), (["../north"], "is no name of an area")],
)
def test_the_command_ends_in_one_sentence(arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["review", *arguments])
    with pytest.raises(SystemExit) as ended:
        review.main()
    assert str(ended.value).startswith("review: ")
    assert says in str(ended.value)


def test_nothing_decided_is_no_fault() -> None:
    assert review.gather("north") == ["north: no row of data/audit/north/review.gpkg has a decision."]
    assert list(RAW.iterdir()) == []


# --------------------------------------------------------------------------------------------------------- projects


def fail(project: Path) -> None:
    with protected("audit", ()):
        project.write_text("half")
        raise ZeroDivisionError


def test_a_project_that_was_saved_again_stays_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    project = AUDIT / "north.qgs"
    audit()  # one of the stage's own, as it was
    assert capsys.readouterr().out == ""
    for _ in range(2):
        project.write_text("with the mapper's colours")
        audit()
        assert project.read_text() == "with the mapper's colours"
        assert "north.qgs stays as you saved it; delete it" in capsys.readouterr().out
    with pytest.raises(ZeroDivisionError):
        fail(project)
    assert project.read_text() == "with the mapper's colours"
    project.unlink()
    audit()
    assert project.read_text() == "a project of the stage's"
    (AUDIT / "mine.qgz").write_text("another one")
    with pytest.raises(EditedOutError, match=r"mine\.qgz changed"):
        audit()


# ------------------------------------------------------------------------------------------------- synthetic areas


@pytest.mark.parametrize("name", [*FORMS, "Review.geojson", "review.gpkg-wal"])
def test_synthesize_keeps_a_review(name: str) -> None:
    with protected("synthesize", ("north",)):
        (RAW / "dem.tif").write_text("heights")
    (RAW / name).write_text("answers")
    with protected("synthesize", ("north",)):
        (RAW / "dem.tif").unlink()
        (RAW / "dem.tif").write_text("heights")
    assert (RAW / name).read_text() == "answers"
    (RAW / "mine.gpkg").write_text("outlines")
    with pytest.raises(EditedOutError, match=r"mine\.gpkg changed"), protected("synthesize", ("north",)):
        pass


def test_a_synthetic_area_is_written_again_around_a_review(tmp_path: Path) -> None:
    from test_synth import settings

    folder = tmp_path / "raw" / "synthetic_small"
    small = settings()
    synthesize(folder, folder.name, small)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "review.geojson").write_text("answers")
    refuse_foreign(folder)
    synthesize(folder, folder.name, small)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made | {"review.geojson": b"answers"}
    assert list(folder.parent.iterdir()) == [folder]
    # Killed between the two renamings: the old folder is all there is, and takes its place again.
    folder.rename(folder.with_name(".synthetic_small.old"))
    synthesize(folder, folder.name, small)
    assert (folder / "review.geojson").read_text() == "answers"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SynthError):
        refuse_foreign(folder)


def test_the_notes_know_no_more_than_there_is(tmp_path: Path) -> None:
    """Where no run was noted, there is nothing to note: all else would count as edited."""
    shutil.rmtree(_outs.NOTES)
    answer(omissions="accept")
    review.gather("north")
    assert not _outs.NOTES.exists()
    assert vector.read(RAW / "review.gpkg", "omissions")["decision"].tolist() == ["accept"]
