"""Inventories as people send them: found whatever their form, read by one driver, and every loss counted and said."""

import http.server
import json
import os
import random
import threading
import zipfile

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.features import rasterize

import hpcl.geo.vector
from hpcl.geo.raster import Grid
from hpcl.geo.vector import VectorError
from hpcl.ingest import IngestError, IngestSettings, outlines
from hpcl.ingest.inventory import survey_vectors

SETTINGS = IngestSettings(optical_bands=("a",), dem_margin_px=4, area_change_max_frac=0.01, stretch_max_frac=0.1)
WEST, NORTH = 500_000.0, 4_000_000.0
IMAGE = Grid((60, 80), Affine(2.0, 0, WEST, 0, -2.0, NORTH), "EPSG:32648")


def square(x, y, side):
    return shapely.box(WEST + x, NORTH - y - side, WEST + x + side, NORTH - y)


SLIDES = [square(20, 20, 31), square(90, 60, 25), square(10, 80, 12)]


def save(path, shapes=SLIDES, crs="EPSG:32648", **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".geoparquet"):
        table.to_parquet(path)
    elif suffix in (".kml", ".kmz", ".geojson", ".json"):
        table.to_crs(4326).to_file(path, engine="pyogrio", driver="LIBKML" if suffix[1] == "k" else "GeoJSON")
    else:
        table.to_file(path, engine="pyogrio", driver="OpenFileGDB" if suffix == ".gdb" else None)
    return path


def survey(folder):
    return survey_vectors(folder, IMAGE, SETTINGS)


def refusal(folder):
    with pytest.raises((IngestError, VectorError)) as caught:
        survey(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


# ------------------------------------------------------------------------------------------------- by name


FORMS = (".gpkg", ".shp", ".geojson", ".json", ".kml", ".kmz", ".gml", ".fgb", ".gdb", ".parquet", ".geoparquet")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_every_form_in_any_case_gives_the_same_outlines(tmp_path, form, case):
    made = save(tmp_path / "made" / f"landslides{form}", **{"class": ["a", "b", "b"]})
    area = tmp_path / "area"
    area.mkdir()
    for part in made.parent.iterdir():
        part.rename(area / case(part.name))
    before = sorted(p.name for p in area.iterdir())
    inventory, told = survey(area)
    assert told == []
    assert inventory.classes == ("a", "b")
    assert sorted(inventory.table.area.round(1)) == [144, 625, 961]
    assert shapely.union_all(inventory.table.geometry).symmetric_difference(shapely.union_all(SLIDES)).area < 0.1
    assert sorted(p.name for p in area.iterdir()) == before  # nothing is written beside raw files


@pytest.mark.parametrize("form", [".json", ".KML", ".fgb", ".GEOJSON"])
def test_the_labelled_extent_is_found_alike(tmp_path, form):
    save(tmp_path / "landslides.gpkg")
    made = save(tmp_path / "made" / f"labelled_extent{form.lower()}", [square(0, 0, 100)])
    made.rename(tmp_path / f"Labelled_Extent{form}")
    inventory, told = survey(tmp_path)
    assert inventory.extent.area == pytest.approx(10_000, abs=1)
    assert told == []


@pytest.mark.parametrize("name", ["landslides.csv", "Landslides.XLSX", "landslides.mdb", "labelled_extent.dxf",
                                  "landslides.shp.zip",
                                  "landslides.dbf", "landslides.gpkg.dvc", "landslides", "landslides.abc"])  # fmt: skip
def test_the_right_name_in_a_form_that_is_not_read_is_refused(tmp_path, name):
    (tmp_path / name).write_text("x")
    assert name in refusal(tmp_path)


@pytest.mark.parametrize("name", ["landslides.tif", "Landslides.TIFF", "labelled_extent.tif"])
def test_labels_as_a_raster_do_not_become_a_band(tmp_path, name):
    save(tmp_path / "landslides.gpkg")
    (tmp_path / name).write_text("x")
    assert f"{name} is a raster, and would be read as a band" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["landslide.gpkg", "landslides_v2.KML", "landslides.v2.shp", "labeled_extent.gpkg",
                                  "labelled extent.geojson", "landslide.csv", "Landslide_inventory.xlsx", "roads.fgb"])  # fmt: skip
@pytest.mark.parametrize("with_inventory", [True, False])
def test_near_misses_are_named(tmp_path, name, with_inventory):
    if with_inventory:
        save(tmp_path / "landslides.gpkg")
    (tmp_path / name).write_text("x")
    assert any(
        f"{name}: not used, because only landslides, labelled_extent and review are read" in t
        for t in survey(tmp_path)[1]
    )


@pytest.mark.parametrize("name", ["landslides.qgz", "landslides.qml", "landslides.gpkg-wal", "landslides.gpkg-shm",
                                  "landslides.shp.xml", "landslides.gpkg.dvc",
                                  "optical_metadata.json", "._landslides.shp", "notes.csv", "landslides.pdf"])  # fmt: skip
def test_companions_are_no_word_worth(tmp_path, name):
    save(tmp_path / "landslides.gpkg")
    if not name.endswith(("-wal", "-shm")):
        (tmp_path / name).write_text("x")
    assert survey(tmp_path)[1] == []


def test_two_that_claim_one_name_are_refused(tmp_path):
    save(tmp_path / "landslides.gpkg")
    save(tmp_path / "b" / "landslides.kml").rename(tmp_path / "Landslides.KML")
    assert "Landslides.KML and landslides.gpkg; keep the one that counts" in refusal(tmp_path)


@pytest.mark.parametrize("column", ["Class ", " class", "CLASS", "Class_"])
def test_a_class_column_is_known_by_its_word(tmp_path, column):
    save(tmp_path / "landslides.parquet", **{column: ["a", "b", "b"]})
    assert survey(tmp_path)[0].classes == ("a", "b")


@pytest.mark.parametrize("column", ["Type", "landslide_type", "klasse", "Clase", "class_name", "Movement", "tipo"])
def test_a_column_that_looks_like_classes_is_named(tmp_path, column):
    save(tmp_path / "landslides.gpkg", **{column: ["a", "b", "b"]})
    inventory, told = survey(tmp_path)
    assert inventory.classes == ("landslide",)
    assert len(told) == 1
    assert f"the column '{column}' is not used" in told[0]
    save(tmp_path / "landslides.gpkg", **{column: ["a", "a", "a"]})  # one value says nothing that is lost
    assert survey(tmp_path)[1] == []


# ------------------------------------------------------------------------------------------------ counted losses


def coordinates(shape):
    """A polygon's rings in degrees, as GeoJSON."""
    return json.loads(shapely.to_geojson(gpd.GeoSeries([shape], crs=32648).to_crs(4326)[0]))["coordinates"]


def geojson(path, geometries, **more):
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def polygon(shape):
    return {"type": "Polygon", "coordinates": coordinates(shape)}


@pytest.mark.parametrize("count", [1, 3])
def test_every_loss_is_counted_and_said(tmp_path, count):
    collection = {
        "type": "GeometryCollection",
        "geometries": [polygon(square(60, 5, 10)), {"type": "Point", "coordinates": [105, 36]}],
    }
    point = {"type": "Point", "coordinates": coordinates(SLIDES[0])[0][0]}
    flat = {"type": "Polygon", "coordinates": [[coordinates(SLIDES[0])[0][i] for i in (0, 1, 0, 0)]]}
    sound = [polygon(shape) for shape in SLIDES]
    losses = [None, {"type": "Polygon", "coordinates": []}, point, sound[0], flat]
    sliver = polygon(shapely.box(WEST + 100.1, NORTH - 30, WEST + 100.6, NORTH - 12))
    far = polygon(square(5000, 0, 30))
    geojson(
        tmp_path / "landslides.geojson", [*sound, *[x for x in losses for _ in range(count)], sliver, far, collection]
    )
    inventory, told = survey(tmp_path)
    expected = {"given": 6 + 5 * count, "null": count, "empty": count, "other_kinds": count, "doubles": count,
                "collapsed": count, "without_pixel": 1, "outside": 1, "collections": 1, "n": 5}  # fmt: skip
    assert {key: getattr(inventory.facts, key) for key in expected} == expected
    text = " ".join(told)
    for word in ("no geometry", "an empty geometry", "a point, a line", "drawn twice", "without an area", "lie outside the image",
                 "no pixel of the image has its centre inside", "collections of geometries"):  # fmt: skip
        assert word in text


@pytest.mark.filterwarnings("ignore:invalid value encountered in linearrings")  # GEOS, of the spoiled polygon made here
def test_a_coordinate_that_is_no_number_takes_its_polygon_alone(tmp_path):
    corners = shapely.get_coordinates(SLIDES[1])
    for bad in (np.nan, np.inf, -np.inf):
        for at in (1, 2):
            broken = corners.copy()
            broken[at, 1] = bad
            shapes = [SLIDES[0], shapely.Polygon(broken), SLIDES[2]]
            for name in ("landslides.gpkg", "landslides.parquet"):
                save(tmp_path / name, shapes)
                inventory, told = survey(tmp_path)
                assert (inventory.facts.not_finite, inventory.facts.n) == (1, 2)
                assert "1 had a coordinate that is no number" in told[0]
                (tmp_path / name).unlink()


@pytest.mark.parametrize("change", [
    lambda p: p, shapely.reverse, shapely.normalize, lambda p: shapely.Polygon(np.roll(p.exterior.coords[:-1], 2, axis=0)),
    lambda p: shapely.segmentize(p, 7.0), lambda p: shapely.MultiPolygon([p]),
])  # fmt: skip
def test_one_outline_drawn_twice_counts_once(tmp_path, change):
    save(tmp_path / "landslides.parquet", [*SLIDES, change(SLIDES[1])])
    inventory, told = survey(tmp_path)
    assert inventory.facts.doubles == 1
    assert inventory.table.area.sum() == pytest.approx(sum(s.area for s in SLIDES))
    assert len(told) == 1


def test_polygons_without_a_pixel_are_those_that_gdal_does_not_draw(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [
        shapely.affinity.rotate(shapely.box(x, y, x + w, y + h), a)
        for x, y, w, h, a in zip(rng.uniform(WEST, WEST + 150, 200), rng.uniform(NORTH - 115, NORTH, 200),
                                 rng.uniform(0.2, 2, 200), rng.uniform(0.5, 20, 200), rng.uniform(0, 180, 200), strict=True)
    ]  # fmt: skip
    save(tmp_path / "landslides.gpkg", shapes)
    drawn = [rasterize([s], out_shape=(60, 80), transform=IMAGE.affine).any() for s in shapes]
    assert 20 < sum(drawn) < 180
    inventory, _ = survey(tmp_path)
    inside = sum(s.intersects(IMAGE.extent.geom) for s in shapes)
    assert inventory.facts.without_pixel == inside - sum(drawn)


def test_what_lies_outside_the_extent_or_overlaps_between_classes_is_said(tmp_path):
    save(tmp_path / "landslides.gpkg", [*SLIDES, square(30, 30, 10)], **{"class": ["a", "a", "a", "b"]})
    save(tmp_path / "labelled_extent.gpkg", [square(0, 0, 80)])
    inventory, told = survey(tmp_path)
    assert (inventory.facts.outside_extent, inventory.facts.class_overlaps) == (2, 1)
    assert "2 polygons are outside labelled_extent.gpkg" in told[0]
    assert "1 pair of polygons of different classes overlap" in told[1]


@pytest.mark.parametrize(("lost", "says"), [
    (".shx", "its index was made again, and nothing is lost"), (".dbf", "classes and ids are lost"), (".cpg", None),
])  # fmt: skip
def test_a_shapefile_without_a_part(tmp_path, lost, says):
    save(tmp_path / "landslides.shp", **{"class": ["a", "b", "b"]})
    (tmp_path / f"landslides{lost}").unlink()
    inventory, told = survey(tmp_path)
    assert len(inventory.table) == 3
    assert inventory.classes == (("landslide",) if lost == ".dbf" else ("a", "b"))
    assert (says is None and told == []) or says in told[0]
    assert not (tmp_path / f"landslides{lost}").exists()


@pytest.mark.parametrize("cpg", [None, "UTF-8", "true"])
@pytest.mark.parametrize(
    ("encoding", "name"), [("GBK", "滑坡"), ("cp1252", "größer"), ("cp1252", "coulée récente"), ("UTF-8", "滑坡é")]
)
def test_text_is_read_as_it_was_written(tmp_path, encoding, name, cpg):
    gpd.GeoDataFrame({"class": [name, "b", "b"]}, geometry=SLIDES, crs=32648).to_file(
        tmp_path / "landslides.shp", engine="pyogrio", encoding=encoding
    )
    if cpg != "true":
        (tmp_path / "landslides.cpg").unlink()
    if cpg == "UTF-8":
        (tmp_path / "landslides.cpg").write_text("UTF-8")
    inventory, told = survey(tmp_path)
    assert set(inventory.classes) == {name, "b"}
    guessed = cpg != "true" and encoding != "UTF-8"
    assert len(told) == guessed
    assert not guessed or f"read as {encoding.upper()} (as in '{name}')" in told[0]


# ------------------------------------------------------------------------------------------------ strange geometry


def test_an_unclosed_ring_is_closed(tmp_path):
    rings = coordinates(SLIDES[0])
    geojson(tmp_path / "landslides.geojson", [{"type": "Polygon", "coordinates": [rings[0][:-1]]}])
    assert survey(tmp_path)[0].table.area.sum() == pytest.approx(961, abs=0.1)


RING = "<gml:LinearRing><gml:posList>500020 3999980 500020 3999950 500050 3999980 500020 3999980</gml:posList></gml:LinearRing>"
ARC = "500020 3999980 500040 4000000 500060 3999980 500040 3999960 500020 3999980"
POINT = "<gml:Point><gml:pos>500020 3999980</gml:pos></gml:Point>"
GEOMETRIES = {
    "Tin": f"<gml:patches><gml:Triangle><gml:exterior>{RING}</gml:exterior></gml:Triangle></gml:patches>",
    "PolyhedralSurface": "<gml:polygonPatches><gml:PolygonPatch><gml:exterior>"
    f"{RING}</gml:exterior></gml:PolygonPatch></gml:polygonPatches>",
    "LineString": "<gml:posList>500020 3999980 500030 3999970</gml:posList>",
    "MultiGeometry": f"<gml:geometryMember>{POINT}</gml:geometryMember>",
    "MultiPoint": f"<gml:pointMember>{POINT}</gml:pointMember>",
    "Polygon": "<gml:exterior><gml:Ring><gml:curveMember><gml:Curve><gml:segments><gml:ArcString>"
    f"<gml:posList>{ARC}</gml:posList></gml:ArcString></gml:segments></gml:Curve></gml:curveMember></gml:Ring></gml:exterior>",
}


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_other_geometries_end_in_a_sentence_and_arcs_are_linearised(tmp_path, kind):
    shape = f'<gml:{kind} srsName="EPSG:32648">{GEOMETRIES[kind]}</gml:{kind}>'
    (tmp_path / "landslides.gml").write_text(
        '<ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml/3.2">'
        f"<ogr:featureMember><ogr:slides><ogr:geometryProperty>{shape}</ogr:geometryProperty><ogr:a>1</ogr:a></ogr:slides>"
        "</ogr:featureMember></ogr:FeatureCollection>"
    )
    if kind == "Polygon":
        assert survey(tmp_path)[0].table.area.sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    else:
        assert "give the outlines as polygons" in refusal(tmp_path)


def test_heights_and_measures_are_left_behind(tmp_path):
    for form in (".gpkg", ".shp", ".fgb", ".geojson"):
        path = save(tmp_path / form[1:] / f"landslides{form}", shapely.force_3d(SLIDES, z=[1.0, 2.0, 3.0]))
        inventory, told = survey(path.parent)
        assert told == []
        assert len(inventory.table) == 3
        assert not inventory.table.has_z.any()


# ------------------------------------------------------------------------------------------------ the whole world


@pytest.mark.parametrize("turn", [0, 360])
def test_a_world_wide_inventory_is_cut_to_the_image(tmp_path, turn):
    here = gpd.GeoSeries(SLIDES, crs=32648).to_crs(4326)
    there = [shapely.box(x, y, x + 1, y + 1) for x in range(-180, 180, 15) for y in range(-90, 90, 15)]
    shapes = [*shapely.transform(here.values, lambda c: c - [turn, 0]), *there]
    save(tmp_path / "landslides.gpkg", shapes, crs="EPSG:4326")
    save(tmp_path / "labelled_extent.gpkg", [shapely.box(-180, -90, 180, 90)], crs="EPSG:4326")
    inventory, told = survey(tmp_path)
    assert inventory.facts.n == 3
    assert inventory.facts.outside == len(there)
    assert inventory.table.area.sum() == pytest.approx(961 + 625 + 144, abs=0.1)
    assert inventory.extent.covers(IMAGE.extent.geom)
    assert [t for t in told if "lie outside" not in t] == []


# ------------------------------------------------------------------------------------------------ nothing unasked


@pytest.fixture
def server():
    """A web server of this machine that notes what is asked of it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"EPSG:32648")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/crs", asked
        running.shutdown()


@pytest.mark.parametrize("key", ["crs", "CRS", "c\\u0072s"])
@pytest.mark.parametrize("kind", [("link", "href"), ("Link", "href"), ("url", "url")])
def test_geojson_fetches_no_crs(tmp_path, server, key, kind):
    address, asked = server
    path = geojson(
        tmp_path / "landslides.geojson", [polygon(SLIDES[0])], KEY={"type": kind[0], "properties": {kind[1]: address}}
    )
    path.write_text(path.read_text().replace("KEY", key))
    assert f"takes its coordinate reference system from {address}, and nothing is fetched" in refusal(tmp_path)
    assert asked == []


VRT = '<OGRVRTDataSource><OGRVRTLayer name="landslides"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'


@pytest.mark.parametrize("form", [".gpkg", ".shp", ".geojson", ".json", ".kml", ".kmz", ".gml", ".fgb", ".parquet"])
@pytest.mark.parametrize("before", ["", "<kml/>", "<!-- <kml> -->", "<?xml version='1.0'?>"])
def test_no_vrt_under_any_name_reaches_gdal(tmp_path, form, before, monkeypatch):
    asked = []
    monkeypatch.setattr(hpcl.geo.vector.pyogrio, "list_layers", lambda source: asked.append(source) or [])
    other = save(tmp_path / "private" / "other.gpkg")
    area = tmp_path / "area"
    area.mkdir()
    (area / f"landslides{form}").write_text(before + VRT.format(other))
    assert "is not a vector file that can be read by its name" in refusal(area)
    assert asked == []


@pytest.mark.parametrize("command", ["gdal vector pipeline ! read {}", "gdal vector read {}"])
def test_no_stored_command_runs(tmp_path, command):
    other = save(tmp_path / "private" / "other.gpkg")
    (tmp_path / "landslides.json").write_text(
        json.dumps({"type": "gdal_streamed_alg", "command_line": command.format(other)})
    )
    assert "is not a vector file" in refusal(tmp_path)


def test_what_cannot_be_opened_is_named_for_its_cause(tmp_path):
    path = tmp_path / "landslides.gpkg"
    path.symlink_to(tmp_path / "gone.gpkg")
    assert "is a link to" in refusal(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert "is no ordinary file but a pipe" in refusal(tmp_path)
    path.unlink()
    path.touch()
    assert "is empty" in refusal(tmp_path)
    path.unlink()
    path.mkdir()
    assert "is a folder" in refusal(tmp_path)
    path.rmdir()
    save(tmp_path / "landslides.shp")
    (tmp_path / "landslides.dbf").unlink()
    os.mkfifo(tmp_path / "landslides.dbf")
    assert "landslides.dbf is no ordinary file" in refusal(tmp_path)


def test_a_file_without_the_right_to_read_it_says_so(tmp_path, monkeypatch):
    path = save(tmp_path / "landslides.gpkg")
    path.chmod(0)
    monkeypatch.setattr(outlines.os, "access", lambda path, mode: False)  # root may read anything
    assert "may not be read by you" in refusal(tmp_path)


@pytest.mark.filterwarnings("ignore")  # libraries warn of damage as they please
@pytest.mark.parametrize("form", [f for f in FORMS if f not in (".json", ".geoparquet")])
def test_damaged_files_end_in_a_sentence(tmp_path, form):
    path = save(tmp_path / f"landslides{form}", **{"class": ["a", "größer", "b"]})
    whole = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    refused = 0
    for seed in range(24):
        rng = random.Random(seed)
        part = rng.choice(list(whole))
        damaged = bytearray(whole[part])
        if damaged and seed % 2:
            del damaged[rng.randrange(len(damaged)) :]
        for _ in range(rng.choice((1, 3, 20)) if damaged else 0):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        part.write_bytes(damaged)
        try:
            survey(path.parent)
        except (IngestError, VectorError):  # anything else fails this test
            refused += 1
        part.write_bytes(whole[part])
    assert refused
    assert len(survey(path.parent)[0].table) == 3


def test_kml_folders_that_hold_nothing_do_not_count(tmp_path):
    corners = " ".join(f"{x},{y},0" for x, y in coordinates(SLIDES[0])[0])
    ring = f"<LinearRing><coordinates>{corners}</coordinates></LinearRing>"
    mark = f"<Placemark><Polygon><outerBoundaryIs>{ring}</outerBoundaryIs></Polygon></Placemark>"
    head = "<kml xmlns='http://www.opengis.net/kml/2.2'><Document><Folder><name>old</name>"
    text = f"{head}{mark}</Folder><Folder><name>empty</name></Folder></Document></kml>"
    with zipfile.ZipFile(tmp_path / "landslides.kmz", "w") as archive:
        archive.writestr("doc.kml", text)
    assert survey(tmp_path)[0].facts.n == 1
