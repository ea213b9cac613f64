"""A mapper's answers change the labels where they say so, and nowhere else; what cannot be followed is told, what is unclear refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
import shapely
from rasterio.features import rasterize
from test_ingest import IMAGE, SETTINGS, UTM, run, sound_area, square, write_polygons

from hpcl.core.review import LAYERS
from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.ingest import IngestError, answers, review_files
from hpcl.ingest.inventory import label_block, survey_vectors

GRID = Grid((60, 80), IMAGE, UTM)
OMITTED, FALSE, BETTER = square(60, 20, 20), square(134, 20, 12), square(18, 18, 36)
SLIDES = [square(20, 20, 31), square(90, 60, 25)]
FORMS = ("review.gpkg", "review.geojson")


def row(layer: str, shape: Any, decision: str = "accept", of: Any = None, **said: Any) -> dict[str, Any]:
    """A row as `audit` asks it, answered."""
    return {
        "layer": layer, "id": layer[0] + vector.digest(shape), "rank": 1, "probability": 0.5, "reason": "mapped", "decision": decision,
        "note": "", "area_m2": shape.area, "inventory_id": 0, "inventory_sha256": "" if of is None else vector.digest(of),
        "weights_sha256": "ab", "class": "", "geometry": shape,
    } | said  # fmt: skip


def table(*rows: dict[str, Any], crs: str = UTM) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(list(rows), geometry="geometry", crs=crs)


def save(area: Path, *rows: dict[str, Any], name: str = "review.gpkg") -> Path:
    review_files.write(area / name, table(*rows), area.name)
    return area / name


@pytest.fixture
def area(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / "place"
    folder.mkdir(parents=True)
    write_polygons(folder / "landslides.gpkg", SLIDES)
    write_polygons(folder / "labelled_extent.gpkg", [square(0, 0, 130)])
    return folder


def survey(area: Path) -> tuple[Any, list[str]]:
    return survey_vectors(area, GRID, SETTINGS)


def told(area: Path) -> list[str]:
    return survey(area)[1]


def labels(area: Path) -> npt.NDArray[np.uint8]:
    return label_block(survey(area)[0], GRID, np.zeros(GRID.shape, bool))


def slides(area: Path) -> gpd.GeoDataFrame:
    return survey(area)[0].table


def refusal(area: Path) -> str:
    with pytest.raises(IngestError) as caught:
        survey(area)
    return str(caught.value)


def inside(*shapes: Any) -> npt.NDArray[np.bool_]:
    return (
        rasterize(shapes, out_shape=(60, 80), transform=IMAGE, dtype="uint8") > 0
        if shapes
        else np.zeros((60, 80), bool)
    )


def counts(area: Path) -> dict[tuple[str, str], tuple[int, int]]:
    return {(one.layer, one.decision): (one.rows, one.applied) for one in survey(area)[0].facts.review}


# ---------------------------------------------------------------------------------------------------- what becomes of labels


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rows", "where", "becomes"),
    [
        ([row("omissions", OMITTED)], [OMITTED], 1),
        ([row("omissions", OMITTED, "redraw")], [OMITTED], 1),
        ([row("omissions", FALSE)], [FALSE], 1),  # outside the extent: the mapper has looked there
        ([row("omissions", FALSE, "reject")], [FALSE], 0),
        ([row("omissions", OMITTED, "reject")], [], 0),
        ([row("doubtful", SLIDES[1], of=SLIDES[1])], [SLIDES[1]], 255),
        ([row("outlines", BETTER, of=SLIDES[0])], [BETTER], 1),
        ([row("outlines", square(30, 30, 10), "redraw", of=SLIDES[0])], [SLIDES[0]], "redrawn"),
        ([row("outlines", BETTER, "reject", of=SLIDES[0]), row("doubtful", SLIDES[0], "reject", of=SLIDES[0])], [], 0),
        ([row("next", OMITTED), row("next", FALSE, "reject")], [], 0),
        ([row(layer, OMITTED, "unsure", of=SLIDES[0]) for layer in LAYERS], [], 0),
        ([row(layer, OMITTED, "", of=SLIDES[0]) for layer in LAYERS], [], 0),
    ],
)  # fmt: skip
def test_labels_change_inside_the_decided_outlines_and_nowhere_else(
    area: Path, form: str, rows: list[dict[str, Any]], where: list[Any], becomes: Any
) -> None:
    expected = labels(area)
    seen = inside(*where)
    expected[seen] = inside(square(30, 30, 10))[seen] if becomes == "redrawn" else becomes
    save(area, *rows, name=form)
    np.testing.assert_array_equal(labels(area), expected)
    assert told(area) == []


def test_both_forms_give_equal_bytes_and_so_do_both_together(tmp_path: Path) -> None:
    area = sound_area(tmp_path / "raw" / "place")
    rows = [
        row("omissions", OMITTED),
        row("doubtful", SLIDES[1], of=SLIDES[1]),
        row("omissions", FALSE, "reject", note="a quarry"),
    ]
    found = []
    for names, order in ((FORMS[:1], 1), (FORMS[:1], -1), (FORMS[1:], 1), (FORMS, 1)):
        for name in FORMS:
            (area / name).unlink(missing_ok=True)
        for name in names:
            save(area, *rows[::order], name=name)
        out = run(area)[1]
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert "review.gpkg" in found[0]
    assert all(one == found[0] for one in found)
    assert not (area.parent.parent / "out" / "review.geojson").exists()


def test_the_landslides_that_joined_have_their_source_and_an_id_of_their_own(area: Path) -> None:
    numbers = [5, 2**31 - 1]
    write_polygons(area / "landslides.gpkg", SLIDES, id=numbers)
    save(area, row("omissions", OMITTED), row("outlines", BETTER, of=SLIDES[0]))
    found = slides(area)
    assert list(found["source"]) == ["review", "inventory", "review"]
    assert list(found["id"][:2]) == numbers
    assert shapely.equals(found.geometry[0], BETTER)
    assert list(found["area_m2"]) == [36 * 36, 25 * 25, 400]
    own = int(found["id"][2])
    # No other answer and no edit of the inventory moves it, but for one that takes the number itself.
    save(area, row("omissions", OMITTED), row("omissions", FALSE), row("doubtful", SLIDES[0], of=SLIDES[0]))
    after = slides(area)
    assert own in set(after["id"])
    assert after["id"].is_unique
    write_polygons(
        area / "landslides.gpkg", [*SLIDES, square(5000, 0, 9)], id=[5, own, own + 1]
    )  # one of them far away
    taken = set(slides(area)["id"]) - {own}
    assert own + 1 not in taken
    assert own + 2 in taken


def test_the_raw_inventory_is_never_written(area: Path) -> None:
    before = (area / "landslides.gpkg").read_bytes()
    save(area, row("omissions", OMITTED), row("outlines", BETTER, of=SLIDES[0]))
    survey(area)
    assert (area / "landslides.gpkg").read_bytes() == before
    assert sorted(p.name for p in area.iterdir()) == ["labelled_extent.gpkg", "landslides.gpkg", "review.gpkg"]  # fmt: skip


def test_answers_follow_each_other(area: Path) -> None:
    """A landslide that joined is drawn better, and that outline is doubted; an inventory's goes through two outlines."""
    better, best = square(61, 21, 20), square(19, 19, 34)
    first = [row("omissions", OMITTED), row("outlines", better, of=OMITTED), row("outlines", BETTER, of=SLIDES[0])]
    save(area, *first, row("outlines", best, "redraw", of=BETTER))
    found = slides(area)
    assert shapely.equals(found.geometry[0], best)
    assert shapely.equals(found.geometry[2], better)
    number = found["id"][2]
    save(area, *first, row("doubtful", better, of=better))
    np.testing.assert_array_equal(labels(area)[inside(better)], 255)
    assert number not in set(slides(area)["id"])
    assert counts(area)["outlines", "accept"] == (2, 2)


def test_what_is_decided_is_handed_on(tmp_path: Path) -> None:
    area = sound_area(tmp_path / "raw" / "place")
    save(
        area,
        row("omissions", OMITTED, note="seen in the field"),
        row("omissions", FALSE, ""),
        row("next", FALSE, "unsure"),
    )
    out = run(area)[1]
    assert [name for name, _ in pyogrio.list_layers(out / "review.gpkg")] == list(LAYERS)
    kept = vector.read(out / "review.gpkg", "omissions")
    assert list(kept["note"]) == ["seen in the field"]
    assert list(kept["applied"]) == [True]
    assert len(vector.read(out / "review.gpkg", "next")) == 1
    save(area, row("omissions", FALSE, ""))
    (out / "review.gpkg").unlink()
    assert not (run(area)[1] / "review.gpkg").exists()
    assert counts(area) == {}


def test_a_polygon_that_was_split_is_two_landslides(area: Path) -> None:
    halves = [square(60, 20, 10), square(72, 20, 8)]
    save(area, *(row("omissions", half, "redraw", id="oab") for half in halves))
    found = slides(area)
    assert len(found) == 4
    assert found["id"].is_unique
    save(area, *(row("omissions", half, "redraw", id="oab") for half in halves[::-1]))
    assert list(slides(area)["id"]) == list(found["id"])


def test_a_landslide_drawn_by_hand_joins(area: Path) -> None:
    """A feature that the map did not show: QGIS leaves all else empty."""
    gpd.GeoDataFrame({"decision": ["accept"]}, geometry=[OMITTED], crs=UTM).to_file(
        area / "review.gpkg", layer="omissions"
    )
    assert len(slides(area)) == 3


def test_classes(area: Path) -> None:
    write_polygons(area / "landslides.gpkg", SLIDES, **{"class": ["flow", "slump"]})
    save(area, row("omissions", OMITTED))
    assert len(slides(area)) == 2
    assert "1 answer was not applied, because their class is not said (write one of flow, slump" in told(area)[-1]
    save(
        area,
        row("omissions", OMITTED, **{"class": "Slump"}),
        row("omissions", square(10, 90, 8), **{"class": "topple"}),
    )
    assert sorted(slides(area)["class"]) == ["flow", "slump", "slump", "topple"]
    assert survey(area)[0].classes == ("flow", "slump", "topple")
    assert told(area)[-1] == "review.gpkg: the class 'topple' is new to this inventory."
    assert (labels(area)[inside(OMITTED)] == 2).all()
    save(area, row("omissions", OMITTED, **{"class": "Background"}))
    assert "of omissions the class 'Background', which is what ground without landslides is called" in refusal(area)


# ------------------------------------------------------------------------------------------- what cannot be followed is told


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("outlines", BETTER, of=square(20, 20, 30))], "no landslide of the inventory has the outline"),
        ([row("doubtful", SLIDES[0], of=square(21, 20, 31))], "no landslide of the inventory has the outline"),
        ([row("doubtful", SLIDES[0])], "they say of no landslide"),
        ([row("outlines", square(60, 80, 5), "redraw", of=SLIDES[0])], "their outlines do not touch their landslides"),
        ([row("omissions", square(21, 20, 31))], "the inventory has a landslide there by now"),
        ([row("omissions", square(500, 20, 31)), row("next", OMITTED)], "they lie outside the image"),
    ],
)
def test_what_cannot_be_followed_changes_nothing_and_is_told(area: Path, rows: list[dict[str, Any]], says: str) -> None:
    before = labels(area)
    save(area, *rows)
    findings = told(area)
    assert len(findings) == 1
    assert findings[0].startswith(f"review.gpkg: 1 answer was not applied, because {says}")
    np.testing.assert_array_equal(labels(area), before)
    assert counts(area)[rows[0]["layer"], rows[0]["decision"]] == (1, 0)


def test_an_answer_that_the_inventory_has_taken_over_is_followed_already(area: Path) -> None:
    save(area, row("omissions", OMITTED), row("outlines", BETTER, of=SLIDES[0]))
    write_polygons(area / "landslides.gpkg", [BETTER, SLIDES[1], OMITTED])
    assert told(area) == []
    assert len(slides(area)) == 3
    assert set(counts(area).values()) == {(1, 1)}


def test_a_review_needs_an_inventory(area: Path) -> None:
    (area / "landslides.gpkg").unlink()
    save(area, row("omissions", OMITTED))
    assert survey(area)[0] is None
    assert told(area)[-1] == "review.gpkg is not used, because a review needs an inventory."


def test_repaired_outlines_are_known_again(area: Path) -> None:
    """The digest is of the outline as ingest has it, not as the file does."""
    spike = crossing(20, 20, 31, 0.05)
    write_polygons(area / "landslides.gpkg", [spike, SLIDES[1]])
    repaired = slides(area).geometry[0]
    assert not spike.is_valid
    save(area, row("outlines", BETTER, of=repaired))
    assert counts(area) == {("outlines", "accept"): (1, 1)}


def test_an_outline_is_known_again_after_it_went_through_a_file(area: Path, tmp_path: Path) -> None:
    """One landslide in two parts makes all of a file multipolygons; a ring may begin anywhere, and run either way."""
    two = shapely.union_all([square(60, 80, 10), square(75, 80, 10)])
    write_polygons(area / "landslides.gpkg", [*SLIDES, two])
    vector.write(tmp_path / "landslides.gpkg", slides(area))
    read = vector.read(tmp_path / "landslides.gpkg").geometry
    assert set(read.geom_type) == {"MultiPolygon"}
    turned = shapely.Polygon(np.roll(np.array(SLIDES[1].exterior.coords)[:-1], 1, axis=0)[::-1])
    save(
        area, row("outlines", BETTER, of=read[0]), row("doubtful", turned, of=turned), row("doubtful", two, of=read[2])
    )
    assert counts(area) == {("outlines", "accept"): (1, 1), ("doubtful", "accept"): (2, 2)}
    holed = shapely.difference(BETTER, square(30, 30, 5))
    digests = {vector.digest(shape) for shape in (BETTER, holed, two, two.geoms[0], shapely.box(*two.bounds))}
    assert len(digests) == 5


# -------------------------------------------------------------------------------------------- contradictions are refused


@pytest.mark.parametrize(
    "rows",
    [
        [row("doubtful", SLIDES[0], of=SLIDES[0]), row("outlines", BETTER, of=SLIDES[0])],
        [row("doubtful", SLIDES[0], of=SLIDES[0]), row("doubtful", SLIDES[0], "reject", of=SLIDES[0], id="d2")],
        [row("outlines", BETTER, of=SLIDES[0]), row("outlines", square(19, 19, 33), "redraw", of=SLIDES[0])],
        [row("omissions", OMITTED), row("omissions", square(61, 20, 20))],
        [row("omissions", OMITTED), row("omissions", square(61, 20, 20), "reject")],
        [row("omissions", OMITTED, "redraw"), row("omissions", OMITTED, "reject", id="oab")],
    ],
)
def test_two_answers_that_contradict_each_other_are_refused(area: Path, rows: list[dict[str, Any]]) -> None:
    for order in (1, -1):
        save(area, *rows[::order])
        assert "contradict each other about one landslide; set one of them to unsure." in refusal(area)
    save(area, rows[0], rows[1] | {"decision": "unsure"})
    assert told(area) == []


@pytest.mark.parametrize(
    "rows",
    [
        [row("outlines", BETTER, "reject", of=SLIDES[0]), row("outlines", square(19, 19, 33), of=SLIDES[0])],
        [row("doubtful", SLIDES[0], "reject", of=SLIDES[0]), row("outlines", BETTER, of=SLIDES[0])],
        [row("omissions", OMITTED), row("omissions", square(80, 20, 12))],  # neighbours
        [row("omissions", OMITTED), row("omissions", OMITTED)],
        [row("omissions", OMITTED, "reject"), row("omissions", square(61, 20, 20), "reject")],
    ],
)
def test_answers_that_go_together_pass_without_a_word(area: Path, rows: list[dict[str, Any]]) -> None:
    save(area, *rows)
    assert told(area) == []


def test_two_files_that_contradict_each_other_are_refused(area: Path) -> None:
    save(area, row("omissions", OMITTED), name=FORMS[0])
    save(area, row("omissions", OMITTED, "reject"), name=FORMS[1])
    said = refusal(area)
    assert "review.geojson and review.gpkg: 1 of the same rows are answered differently: omissions o" in said
    assert said.endswith("keep the file that counts.")


# ------------------------------------------------------------------------------------------------- what people and QGIS write


@pytest.mark.parametrize("decision", ["Accept ", "ACCEPT", " accept", "aCCept\n"])
@pytest.mark.parametrize("form", FORMS)
def test_a_decision_is_understood_however_it_is_typed(area: Path, decision: str, form: str) -> None:
    save(area, row("omissions", OMITTED, decision), name=form)
    assert counts(area) == {("omissions", "accept"): (1, 1)}


@pytest.mark.parametrize(
    ("layer", "decision"), [("omissions", "yes"), ("doubtful", "redraw"), ("next", "1"), ("outlines", "a b")]
)
@pytest.mark.parametrize("form", FORMS)
def test_any_other_decision_is_refused_with_the_words(area: Path, layer: str, decision: str, form: str) -> None:
    save(area, row(layer, OMITTED, decision), name=form)
    said = refusal(area)
    assert f"of {layer} has the decision {decision!r}; there it is accept, reject, unsure" in said
    assert ("redraw, or empty" in said) == (layer in ("omissions", "outlines"))


def test_what_qgis_leaves_is_read(area: Path) -> None:
    """Nulls for empty, a column fid and one of the mapper's, a multipolygon with heights, a table of styles; one layer only."""
    path = area / "review.gpkg"
    shapes = [shapely.force_3d(shapely.MultiPolygon([OMITTED, square(100, 10, 8)]), 7.0), OMITTED]
    given = gpd.GeoDataFrame(
        {"id": ["oab", "ocd"], "Decision": ["redraw", None], "note": [None, None], "rank": [1, None], "mine": [1, 2]},
        geometry=shapes, crs=UTM,
    )  # fmt: skip
    given.to_file(path, layer="omissions")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table layer_styles (id integer primary key, style text)")
        database.execute("insert into gpkg_contents (table_name, data_type) values ('layer_styles', 'attributes')")
    assert (labels(area)[inside(*shapes)] == 1).all()
    assert counts(area) == {("omissions", "redraw"): (1, 1)}


def crossing(x: float, y: float, side: float, notch: float) -> Any:
    """A square whose outline crosses itself at one corner, in a triangle that is ``notch`` long."""
    box = list(square(x, y, side).exterior.coords[:-1])
    (east, south), step = box[0], notch
    return shapely.Polygon(
        [(east + step, south), (east - step, south + step), (east, south), (east, south + 2 * step), *box[1:]]
    )


def test_a_small_crossing_is_mended_and_told_a_large_one_refused(area: Path) -> None:
    small, bow = crossing(60, 20, 20, 0.05), shapely.Polygon(np.array(OMITTED.exterior.coords)[[0, 2, 1, 3]])
    assert not small.is_valid
    assert not bow.is_valid
    save(area, row("omissions", small, "redraw", id="oab"))
    assert told(area) == ["review.gpkg: 1 of 1 outlines crossed themselves and were mended."]
    assert len(slides(area)) == 3
    save(area, row("omissions", bow, "redraw", id="oab"))
    assert "the outline of row oab of omissions crosses itself, and mending it changes its area by" in refusal(area)
    save(area, row("omissions", bow, "unsure", id="oab"))
    survey(area)


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_a_review_that_a_program_has_open_is_refused_and_an_empty_log_is_not(area: Path, end: str) -> None:
    path = save(area, row("omissions", OMITTED))
    log = path.with_name(path.name + end)
    log.touch()
    survey(area)
    log.write_bytes(b"edits")
    assert f"is open in another program, and what was saved there still stands in review.gpkg{end}" in refusal(area)


def test_what_a_program_saved_and_has_not_written_into_the_file_counts(tmp_path: Path) -> None:
    path = save(tmp_path, row("omissions", OMITTED, ""))
    with closing(sqlite3.connect(path)) as program:
        program.execute("pragma journal_mode=wal")
        program.execute("pragma wal_autocheckpoint=0")
        program.execute("drop trigger if exists rtree_omissions_geom_update6")
        with program:
            for (name,) in program.execute("select name from sqlite_master where type='trigger'").fetchall():
                program.execute(f'drop trigger "{name}"')  # they call functions of GDAL's
            program.execute("update omissions set decision = 'reject'")
        before = path.read_bytes()
        found, _ = review_files.read(path, GRID, "place")
        assert list(found["decision"]) == ["reject"]
        assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["review.gpkg"]


# --------------------------------------------------------------------------------------------------- files that are no reviews


def spoil(path: Path, kind: str) -> None:
    """A sound review made one that is not."""
    shape = json.loads(shapely.to_geojson(OMITTED))
    feature = {
        "type": "Feature",
        "properties": {"layer": "omissions", "id": "oab", "decision": "accept"},
        "geometry": shape,
    }
    changes: dict[str, Callable[[], Any]] = {
        "empty": lambda: path.write_bytes(b""),
        "cut": lambda: path.write_bytes(path.read_bytes()[: path.stat().st_size // 3]),
        "text": lambda: path.write_text("not found"),
        "other form": lambda: path.write_bytes(b"{}" if path.suffix == ".gpkg" else b"SQLite format 3\0"),
        "foreign": lambda: write_polygons(path, SLIDES, name=["a", "b"]),
        "no decisions": lambda: gpd.GeoDataFrame({"layer": ["next"], "id": ["a"]}, geometry=[OMITTED], crs=UTM).to_file(path, layer="next"),
        "link": lambda: (path.unlink(), path.symlink_to("nowhere")),
        "no layer": lambda: path.write_text(collection(feature | {"properties": {"id": "oab", "decision": "accept"}})),
        "no shape": lambda: path.write_text(collection(feature | {"geometry": None})),
        "point": lambda: path.write_text(collection(feature | {"geometry": {"type": "Point", "coordinates": [1, 2]}})),
        "numbers": lambda: path.write_text(collection(feature | {"geometry": shape | {"coordinates": [[["a", 1], [2, 3]]]}})),
        "no features": lambda: path.write_text('{"type": "FeatureCollection"}'),
        "a feature": lambda: path.write_text(json.dumps(feature)),
        "no properties": lambda: path.write_text(collection(feature | {"properties": None})),
        "other area": lambda: path.write_text(collection(feature, area="valley")),
        "strange crs": lambda: path.write_text(collection(feature, crs={"type": "name", "properties": {"name": "EPSG:1"}})),
        "remote crs": lambda: path.write_text(collection(feature, crs={"type": "link", "properties": {"href": "http://a.b"}})),
        "deep": lambda: path.write_text("{" + '"a": [' * 5000),
        "not utf-8": lambda: path.write_bytes(b'{"type": "\xff"}'),
    }  # fmt: skip
    changes[kind]()


def collection(*features: Any, **members: Any) -> str:
    return json.dumps({"type": "FeatureCollection", **members, "features": features})


@pytest.mark.parametrize(
    ("form", "kind", "says"),
    [
        *[(form, "empty", "is empty; copy the file again") for form in FORMS],
        *[
            (form, kind, "is not a vector file that can be read by its name")
            for form in FORMS
            for kind in ("text", "other form")
        ],
        ("review.gpkg", "cut", ""),
        ("review.geojson", "cut", "is not a vector file that can be read"),
        ("review.gpkg", "foreign", "has the layer 'review', and a review has omissions, doubtful, outlines, next only"),
        ("review.geojson", "foreign", "has rows without a layer"),
        ("review.gpkg", "no decisions", "its layer next lacks the column 'decision'"),
        ("review.geojson", "no decisions", "its layer next lacks the column 'decision'"),
        ("review.gpkg", "link", "is a link to nowhere, which does not exist"),
        ("review.geojson", "no layer", "has rows without a layer"),
        *[
            ("review.geojson", kind, "row oab of omissions is decided and has no polygon")
            for kind in ("no shape", "point", "numbers")
        ],
        *[
            ("review.geojson", kind, "is no FeatureCollection")
            for kind in ("no features", "a feature", "no properties")
        ],
        ("review.geojson", "other area", "holds answers about the area 'valley', and not about 'place'"),
        ("review.geojson", "strange crs", "names a coordinate reference system that is not known"),
        ("review.geojson", "remote crs", "nothing is fetched from a network"),
        ("review.geojson", "deep", "is not a vector file that can be read"),
        ("review.geojson", "not utf-8", "is not a vector file that can be read"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_sentence(area: Path, form: str, kind: str, says: str) -> None:
    path = save(area, row("omissions", OMITTED), name=form)
    spoil(path, kind)
    said = refusal(area)
    assert said.startswith(str(path))
    assert says in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "says"), [("review.shp", "is no form that a review is read from"), ("Review.JSON", "save it as review")]
)
def test_other_forms_are_refused(area: Path, name: str, says: str) -> None:
    (area / name).write_text("x")
    assert says in refusal(area)


@pytest.mark.parametrize("name", ["review.md", "review.qgz", "reviewed.gpkg.bak", "review.gpkg-shm"])
def test_companions_stop_nothing(area: Path, name: str) -> None:
    (area / name).write_text("x")
    assert told(area) == []


@pytest.mark.parametrize("name", ["review (1).geojson", "reviews.gpkg"])
def test_near_misses_are_named(area: Path, name: str) -> None:
    (area / name).write_text("x")
    assert f"{name}: not used, because only landslides, labelled_extent and review are read." in told(area)


# ---------------------------------------------------------------------------------------------------- coordinate systems


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32647", "EPSG:3857"])
@pytest.mark.parametrize("form", FORMS)
def test_a_review_saved_in_another_crs_is_brought_back(area: Path, crs: str, form: str) -> None:
    """As QGIS exports it; GeoJSON says its CRS as GDAL does."""
    there = table(row("omissions", OMITTED)).to_crs(crs)
    review_files.write(area / form, there, "place")
    assert (labels(area)[inside(OMITTED)] == 1).all()
    assert (labels(area) == 1).sum() == inside(OMITTED, *SLIDES).sum()


def test_coordinates_that_lie_elsewhere_are_a_sentence(area: Path) -> None:
    """GeoJSON in degrees that does not say so."""
    there = table(row("omissions", OMITTED)).to_crs(4326)
    given = json.loads(shapely.to_geojson(there.geometry[0]))
    feature = {"type": "Feature", "properties": {"layer": "omissions", "decision": "accept"}, "geometry": given}
    (area / "review.geojson").write_text(collection(feature))
    assert "lies nowhere on the area: its first corner is at (105" in refusal(area)
    save(area, row("omissions", square(90_000, 0, 20)))
    (area / "review.geojson").unlink()
    assert "lies nowhere on the area" in refusal(area)


# ------------------------------------------------------------------------------------------------------------ two become one


def joined(
    earlier: list[dict[str, Any]], new: list[dict[str, Any]], counts: answers.Counts | None = None
) -> dict[str, str]:
    empty = table(row("next", OMITTED)).iloc[:0]
    tables = [table(*rows) if rows else empty for rows in (earlier, new)]
    found = answers.joined(*tables, counts)
    again = answers.joined(found, tables[1], counts)
    assert found.equals(again), "the same answers once more change nothing"
    return dict(zip(found["id"], found["decision"] + found["note"], strict=True))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("accept", "", "accept"),
        ("", "accept", "accept"),
        ("accept", "accept", "accept"),
        ("unsure", "reject", "reject"),
        ("unsure", "", "unsure"),
        ("accept", "reject", None),
        ("accept", "unsure", None),
        ("reject", "redraw", None),
    ],
)
def test_what_becomes_of_two_answers(before: str, now: str, expected: str | None) -> None:
    one, other = ([row("omissions", OMITTED, decision, id="oab")] for decision in (before, now))
    if expected is not None:
        assert joined(one, other) == {"oab": expected}
        return
    with pytest.raises(IngestError, match=rf"omissions oab \({before}, then {now}\)"):
        joined(one, other)
    assert joined(one, other, "new") == {"oab": now}
    assert joined(one, other, "earlier") == {"oab": before}


def test_no_answer_and_no_note_is_lost() -> None:
    one = [
        row("omissions", OMITTED, id="o1"),
        row("next", OMITTED, "", id="n1", note="look"),
        row("next", FALSE, "unsure", id="n2", note="dark"),
    ]
    two = [row("omissions", FALSE, "reject", id="o2"), row("next", OMITTED, "", id="n3"), row("next", FALSE, id="n2")]
    expected = {"o1": "accept", "o2": "reject", "n1": "look", "n2": "acceptdark"}
    assert joined(one, two) == expected
    assert joined(one, []) == {"o1": "accept", "n1": "look", "n2": "unsuredark"}


def test_the_same_answer_with_another_outline_is_another_answer() -> None:
    one, near, far = (
        row("omissions", shape, "redraw", id="oab")
        for shape in (OMITTED, shapely.transform(OMITTED, lambda at: at + 0.001), FALSE)
    )
    assert joined([one], [near]) == {"oab": "redraw"}
    with pytest.raises(IngestError, match=r"redraw, then redraw"):
        joined([one], [far])
    with pytest.raises(IngestError, match=r"then redraw with 2 outlines"):
        joined([one], [one, far])
