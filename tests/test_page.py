"""The map for the browser, as a file: what it holds is what the stages left, bounded, and nothing in it can become markup."""

from __future__ import annotations

import hashlib
import io
import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pytest
import shapely
from PIL import Image

from hpcl import qgis
from hpcl.core import artifacts, records
from hpcl.core.review import ALLOWED, COLUMNS, DOUBTFUL, LAYERS, NEXT, OMISSIONS, OUTLINES
from hpcl.geo import cog, raster, vector
from hpcl.page import alike, area, candidates, html, outlines
from hpcl.page.pictures import Stretch, numbers
from hpcl.page.shares import shares
from hpcl.report import maps, style
from stages import _stage
from stages import page as stage

ROWS, COLUMNS_PX, PIXEL_M = 160, 200, 2.0
WEST, NORTH = 500_000.0, 4_000_000.0
HOLE = np.s_[:20, :30]
"""Ground without data."""
BRIGHT = shapely.box(WEST + 200, NORTH - 160, WEST + 260, NORTH - 100)
"""Where the image is bright and the probability high: columns 100 to 130, rows 50 to 80."""
CORNER = shapely.Polygon([(WEST + 380, NORTH - 300), (WEST + 398, NORTH - 300), (WEST + 390, NORTH - 318.123456)])
BUDGET = area.Budget(raster_px=1e6, rows=100, pictures=100, picture_px=64, corners=1000)
HOSTILE = '</script><img src=x onerror="window.hacked=1"><!-- \'&lt; \u2028 `${alert(1)}`'


def probability() -> np.ndarray:
    """From 0 in the west to 0.5 in the east, with a landslide of 0.9 and a hole; in float32, as `predict` writes it."""
    values = np.tile(np.linspace(0, 0.5, COLUMNS_PX), (ROWS, 1))
    values[50:80, 100:130] = 0.9
    values[HOLE] = np.nan
    return values.astype(np.float32)


def plant(
    data: Path, name: str = "valley", review: bool = True, inventory: bool = True, embedded: bool = False
) -> area.Files:
    """The files of an area that the page reads."""
    grid = raster.Grid((ROWS, COLUMNS_PX), raster_affine(), examples.CRS)
    image = np.tile(np.linspace(100, 200, COLUMNS_PX, dtype=np.float32), (3, ROWS, 1))
    image[:, 50:80, 100:130] = 400
    image[(slice(None), *HOLE)] = np.nan
    layers = {
        "ingest/{}/image.tif": (image, ("blue", "green", "red")),
        "terrain/{}/terrain.tif": (image[:1] / 400, ("hillshade",)),
        "predict/{}/probability.tif": (np.stack([probability(), probability() / 10]), ("probability", "uncertainty")),
    }
    for path, (values, bands) in layers.items():
        cog.write(data / path.format(name), raster.Raster(values, grid, tuple(map(raster.Band, bands))))
    artifacts.write_json(data / "ingest" / name / "facts.json", examples.area(area=name))
    artifacts.write_json(data / "predict" / name / "facts.json", examples.mapped(area=name))
    artifacts.write_json(data / "outline" / name / "facts.json", examples.outlined(area=name))
    vector.write(data / "outline" / name / "landslides.gpkg", table([BRIGHT, CORNER]))
    if inventory:
        vector.write(data / "ingest" / name / "landslides.gpkg", table([shapely.affinity.translate(BRIGHT, 6, 4)]))
    files = area.Files(name, data)
    if embedded:
        vector.write(files.embedded, table([BRIGHT, CORNER]).assign(alike=["2", "1"], embedding_01=0.5))
    if review:
        vector.write_layers(files.review, asked())
    return files


def raster_affine() -> Any:
    from affine import Affine

    return Affine(PIXEL_M, 0, WEST, 0, -PIXEL_M, NORTH)


def table(shapes: list[Any]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"id": range(1, len(shapes) + 1)}, geometry=shapes, crs=examples.CRS)


def asked(reason: str = "It looks so.", omissions: int = 3) -> dict[str, gpd.GeoDataFrame]:
    """A review: some omissions in a row and the bright square, which is also a better outline; one row of each other layer."""
    squares = [shapely.box(WEST + 40 * n, NORTH - 250, WEST + 40 * n + 30, NORTH - 220) for n in range(omissions - 1)]
    shapes = {OMISSIONS: [BRIGHT, *squares], DOUBTFUL: [CORNER], OUTLINES: [BRIGHT], NEXT: [CORNER.envelope]}
    return {layer: _layer(layer, found, reason) for layer, found in shapes.items()}


def _layer(layer: str, shapes: list[Any], reason: str) -> gpd.GeoDataFrame:
    known = layer in (DOUBTFUL, OUTLINES)
    columns = {
        "id": [layer[0] + vector.digest(shape)[:12] for shape in shapes],
        "rank": range(1, len(shapes) + 1),
        "probability": [np.nan if layer == NEXT else 0.9 / rank for rank, _ in enumerate(shapes, start=1)],
        "reason": reason,
        "decision": "",
        "note": "",
        "area_m2": [shape.area for shape in shapes],
        "inventory_id": int(known),
        "inventory_sha256": "ab" if known else "",
        "weights_sha256": "cd",
    }
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=examples.CRS)


def picture_of(address: str) -> np.ndarray:
    """The pixels of an address of the kind data:."""
    return np.array(Image.open(io.BytesIO(b64decode(address.partition(",")[2]))))


class Parsed(HTMLParser):
    """A page as a browser takes it apart: its elements, and the text in those that hold code or data."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open = tag
        self.attributes.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open in ("script", "style"):
            self.texts.append((self.open, self.attributes[-1], data))

    def data(self, kind: str) -> list[Any]:
        """What the elements of a kind hold."""
        return [json.loads(text) for _, given, text in self.texts if given.get("data-kind") == kind]


@pytest.mark.parametrize("top", [1.0, 0.05])
@pytest.mark.parametrize("steps", [200, 40])
def test_a_code_reaches_a_threshold_when_its_value_does(top: float, steps: int) -> None:
    rng = np.random.default_rng(steps)
    at_steps = (np.arange(steps + 1) / steps * top).astype(np.float32)
    values = np.concatenate([at_steps, rng.uniform(0, top, 1000).astype(np.float32), [np.float32(np.nan)] * 3])[None]
    codes = picture_of(numbers(values, top, steps)).astype(int)
    assert codes.shape == values.shape
    assert (codes[np.isnan(values)] == 0).all()
    known = np.isfinite(values)
    clear = known & (
        np.abs(values / top * steps - np.round(values / top * steps)) > 1e-3
    )  # no rounding can decide these
    for step in range(steps + 1):
        reached = codes > step
        assert (reached[clear] == (values[clear] >= step / steps * top)).all()
        assert reached[0, step], "a value at a threshold reaches it"


def test_ground_without_data_is_clear(tmp_path: Path) -> None:
    found = area.read(plant(tmp_path), BUDGET)["rasters"]
    alpha = picture_of(found["image"])[..., 3]
    assert (alpha[2:18, 2:28] == 0).all()
    assert (np.delete(alpha.ravel(), np.flatnonzero(np.isnan(probability()).ravel())) == 255).all()
    for name in ("probability", "uncertainty"):
        assert ((picture_of(found[name]["url"]) == 0) == np.isnan(probability())).all()


def test_what_looks_alike_is_shown_of_the_map_that_it_was_said_of(tmp_path: Path) -> None:
    files = plant(tmp_path, embedded=True)
    found = area.read(files, BUDGET)
    assert (found["alike"]["ids"], found["alike"]["nearest"]) == (["1", "2"], [[1], [0]])
    assert sum(found["alike"]["rings"]) == len(found["outlines"]["mapped"])
    moved = table([shapely.affinity.translate(BRIGHT, 2), CORNER])
    vector.write(tmp_path / "outline" / "valley" / "landslides.gpkg", moved)
    assert area.read(files, BUDGET)["alike"] is None
    assert area.read(plant(tmp_path, "hill"), BUDGET)["alike"] is None


def test_rings_are_counted_by_landslide(tmp_path: Path) -> None:
    """Of several parts and with holes, and drawn with few corners."""
    parts = shapely.MultiPolygon(
        [BRIGHT.difference(BRIGHT.buffer(-20)), shapely.box(WEST, NORTH - 90, WEST + 50, NORTH - 40)]
    )
    shapes = table([parts, CORNER]).assign(alike=["2", "1"])
    vector.write(tmp_path / "alike.gpkg", shapes)
    found = alike.read(tmp_path / "alike.gpkg", vector.read(tmp_path / "alike.gpkg").drop(columns="alike"))
    grid = raster.Grid((ROWS, COLUMNS_PX), raster_affine(), examples.CRS)
    assert found is not None
    assert found["rings"] == [3, 1]
    assert len(outlines.rings(shapes, grid, 40.0, 12)) == 4


def test_grey_and_constant_images_are_shown() -> None:
    grey = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    shown = picture_of(Stretch.of(grey).picture(grey)).astype(int)
    assert np.ptp(shown, axis=-1).max() <= 2  # WebP keeps colours roughly
    constant = np.full((3, 8, 8), 7, np.float32)
    assert picture_of(Stretch.of(constant).picture(constant)).shape == (8, 8, 3)
    nothing = np.full((3, 8, 8), np.nan, np.float32)
    assert (picture_of(Stretch.of(nothing).picture(nothing))[..., 3] == 0).all()


@pytest.mark.parametrize("raster_px", [100.0, 2000.0, 1e6])
def test_rasters_keep_within_their_pixels(tmp_path: Path, raster_px: float) -> None:
    found = area.read(plant(tmp_path, review=False), replace(BUDGET, raster_px=raster_px))["rasters"]
    addresses = [found["image"], found["hillshade"], found["probability"]["url"], found["uncertainty"]["url"]]
    shapes = {picture_of(address).shape[:2] for address in addresses}
    assert len(shapes) == 1
    height, width = shapes.pop()
    assert min(raster_px, ROWS * COLUMNS_PX) * 0.8 <= height * width <= raster_px * 1.1


def test_a_budget_is_shared_so_that_nobody_could_have_more_but_from_one_who_has_less() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        budget, wanted = rng.uniform(0, 50), rng.integers(0, 30, rng.integers(1, 6)).tolist()
        got = shares(budget, wanted)
        assert sum(got) == pytest.approx(min(budget, sum(wanted)))
        cut = [given for given, want in zip(got, wanted, strict=True) if given < want]
        assert all(given == pytest.approx(max(got)) for given in cut)
        assert all(given <= want for given, want in zip(got, wanted, strict=True))


def test_outlines_are_drawn_where_they_are_and_within_their_corners() -> None:
    grid = raster.Grid((ROWS, COLUMNS_PX), raster_affine(), examples.CRS)
    disc = (
        shapely.Point(WEST + 200, NORTH - 150)
        .buffer(50, quad_segs=90)
        .difference(shapely.Point(WEST + 200, NORTH - 150).buffer(20, quad_segs=90))
    )
    fine = outlines.rings(table([disc, CORNER]), grid, 0.25, 10_000)
    assert len(fine) == 3, "a hole is an outline too"
    drawn = [np.reshape(ring, (-1, 2)) / 10 for ring in fine]
    outer = max(drawn, key=lambda ring: shapely.Polygon(ring).area)
    assert np.abs(np.hypot(*(outer - [100, 75]).T) - 25).max() < 0.3
    assert shapely.Polygon(drawn[-1]).area * PIXEL_M**2 == pytest.approx(CORNER.area, rel=0.05)
    coarse = outlines.rings(table([disc, CORNER]), grid, 0.25, 40)
    assert sum(map(len, coarse)) / 2 <= 40


@pytest.mark.parametrize("max_px", [32, 64, 500])
def test_a_candidates_picture_shows_it_where_its_place_says(tmp_path: Path, max_px: int) -> None:
    files = plant(tmp_path)
    with raster.Source(files.image) as image:
        stretch = Stretch.of(image.read(bands=["red", "green", "blue"]))
        look = candidates.Look(image, ["red", "green", "blue"], stretch, max_px)
        found = look.picture(BRIGHT)
        at_the_edge = look.picture(CORNER)
    seen = picture_of(found["url"]).astype(int)[..., :3].mean(axis=-1)
    assert max(seen.shape) <= max_px
    rows, columns = np.nonzero(seen > 230)
    scale = found["width"] / seen.shape[1], found["height"] / seen.shape[0]
    assert found["left"] + columns.min() * scale[0] == pytest.approx(100, abs=1 + scale[0])
    assert found["left"] + (columns.max() + 1) * scale[0] == pytest.approx(130, abs=1 + scale[0])
    assert found["top"] + rows.min() * scale[1] == pytest.approx(50, abs=1 + scale[1])
    assert found["left"] + found["width"] > 130
    assert at_the_edge["left"] + at_the_edge["width"] <= COLUMNS_PX
    assert at_the_edge["top"] + at_the_edge["height"] <= ROWS


def test_rows_keep_all_columns_and_their_outline_to_the_digit(tmp_path: Path) -> None:
    found = json.loads(json.dumps(area.read(plant(tmp_path), BUDGET)))
    rows = {(row["layer"], row["rank"]): row for row in found["rows"]}
    assert {layer for layer, _ in rows} == set(LAYERS)
    for layer, given in asked().items():
        for row in given.itertuples():
            kept = rows[layer, row.rank]
            assert set(COLUMNS) <= set(kept)
            assert shapely.geometry.shape(kept["geometry"]).equals(row.geometry)
            assert kept["id"] == layer[0] + vector.digest(shapely.geometry.shape(kept["geometry"]))[:12]
            assert kept["probability"] == (None if layer == NEXT else pytest.approx(row.probability))
            assert isinstance(kept["rank"], int)
    assert shapely.geometry.shape(rows[OUTLINES, 1]["compared"]).area == pytest.approx(BRIGHT.area)
    assert rows[OMISSIONS, 1]["compared"] is None
    assert found["crs"] == "urn:ogc:def:crs:EPSG::32648"


@pytest.mark.parametrize(("rows", "pictures"), [(6, 6), (3, 1), (0, 0)])
def test_rows_and_pictures_keep_within_their_numbers_by_rank(tmp_path: Path, rows: int, pictures: int) -> None:
    found = area.read(plant(tmp_path), replace(BUDGET, rows=rows, pictures=pictures))
    assert len(found["rows"]) == rows
    assert found["left_out"] == 6 - rows
    assert [row["rank"] for row in found["rows"]] == sorted(row["rank"] for row in found["rows"])
    assert ["picture" in row for row in found["rows"]] == [n < pictures for n in range(rows)]


def test_an_area_without_review_or_inventory_is_a_map(tmp_path: Path) -> None:
    found = area.read(plant(tmp_path, review=False, inventory=False), BUDGET)
    assert (found["audited"], found["rows"], found["left_out"]) == (False, [], 0)
    assert list(found["outlines"]) == ["mapped"]


def test_a_crs_without_epsg_code_is_left_out() -> None:
    mars = "+proj=eqc +R=3396190 +units=m"
    assert area._crs(raster.Grid((4, 4), raster_affine(), mars)) is None


def test_a_review_of_another_area_or_schema_is_a_sentence(tmp_path: Path) -> None:
    files = plant(tmp_path)
    layers = asked()
    vector.write_layers(files.review, layers | {NEXT: layers[NEXT].drop(columns="reason")})
    with pytest.raises(candidates.PageError, match="lacks the column 'reason' in its layer 'next'"):
        area.read(files, BUDGET)
    moved = layers[DOUBTFUL].set_geometry(layers[DOUBTFUL].translate(90_000, 0))
    vector.write_layers(files.review, layers | {DOUBTFUL: moved})
    with pytest.raises(candidates.PageError, match="'doubtful' that lie outside the area"):
        area.read(files, BUDGET)
    files.review.write_bytes(b"SQLite format 3\0")
    with pytest.raises(vector.VectorError, match=r"review\.gpkg is not a vector file"):
        area.read(files, BUDGET)


def test_nothing_that_data_say_becomes_markup(tmp_path: Path) -> None:
    plain = area.read(plant(tmp_path), BUDGET)
    rows = [row | {"reason": HOSTILE, "note": HOSTILE, "id": HOSTILE} for row in plain["rows"]]
    hostile = plain | {"name": HOSTILE, "crs_name": HOSTILE, "operating_point": HOSTILE, "rows": rows}
    harmless, page = Parsed(html.render([plain])), Parsed(html.render([hostile]))
    assert page.tags == harmless.tags
    (found,) = page.data("area")
    assert found["name"] == HOSTILE
    assert {row["reason"] for row in found["rows"]} == {HOSTILE}
    assert [given for given in page.attributes if any(name.startswith("on") for name in given)] == []


def test_the_policy_names_what_the_page_runs_and_lets_it_fetch_nothing(tmp_path: Path) -> None:
    page = Parsed(html.render([area.read(plant(tmp_path), BUDGET)]))
    (policy,) = [given["content"] for given in page.attributes if given.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    code: dict[str, list[str]] = {"style": [], "script": []}
    for tag, given, text in page.texts:
        if "type" not in given:
            code[tag].append(f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
    assert rules["script-src"].split() == code["script"]
    assert rules["style-src"].split() == code["style"]
    assert not any(given.get("src") or (given.get("href") or "").startswith("http") for given in page.attributes)


def test_our_scripts_write_texts_only() -> None:
    for name in html.SCRIPTS[1:]:
        code = (html.WEB / name).read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(|XMLHttp", code
        ), name


def test_the_library_is_as_it_was_published() -> None:
    said = dict(re.findall(r"\| (\S+) \| ([0-9a-f]{64}) \|", (html.WEB / "vendor/README.md").read_text()))
    assert set(said) == {"leaflet.js", "leaflet.css", "LICENSE"}
    for name, digest in said.items():
        assert hashlib.sha256((html.WEB / "vendor" / name).read_bytes()).hexdigest() == digest
    assert "Redistribution and use" in html.render([])


def test_colours_are_those_of_the_report() -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    assert html.COLOURS["inventory"] == maps.INVENTORY
    decided = (html.COLOURS[name] for name in ("open", "accept", "reject", "unsure"))
    assert tuple(decided) == (style.YELLOW, style.BLUE, style.VERMILION, style.GREY)
    for step, colour in enumerate(qgis.CIVIDIS):
        assert to_rgb(colour) == pytest.approx(colormaps["cividis"](step / 6)[:3], abs=0.005)


def test_the_page_offers_what_every_layer_allows() -> None:
    code = (html.WEB / "decisions.js").read_text()
    offered = json.loads(re.search(r"DECISIONS = (\[.*?\])", code).group(1))  # type: ignore[union-attr]  # it is there
    assert len(offered) == 3
    assert all(set(offered) <= set(allowed) for allowed in ALLOWED.values())


def test_equal_areas_are_equal_bytes(tmp_path: Path) -> None:
    first = html.render([area.read(plant(tmp_path / "a"), BUDGET)])
    assert first == html.render([area.read(plant(tmp_path / "b"), BUDGET)])


def test_the_stage_shows_all_areas_that_are_mapped_and_shares_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_stage, "_inputs", [])
    for name in ("valley", "hill", "unfinished"):
        plant(Path("data"), name, review=name == "valley")
    Path("data/outline/unfinished/facts.json").unlink()
    Path("params.yaml").write_text(
        f"areas: [valley]\npage: {{raster_mpx: {ROWS * COLUMNS_PX / 1e6}, rows: 4, pictures: 1, picture_px: 64}}\n"
    )
    stage.main()
    found = Parsed(Path("reports/map.html").read_text()).data("area")
    assert [(each["name"], len(each["rows"])) for each in found] == [("valley", 4), ("hill", 0)]
    shown = [picture_of(each["rasters"]["probability"]["url"]).size for each in found]
    assert sum(shown) == pytest.approx(ROWS * COLUMNS_PX, rel=0.02)
    before = Path("reports/map.html").read_bytes()
    stage.main()
    assert Path("reports/map.html").read_bytes() == before


def test_thresholds_and_weights_are_those_of_the_map(tmp_path: Path) -> None:
    files = plant(tmp_path)
    outlined = artifacts.read_json(tmp_path / "outline" / "valley" / "facts.json", records.OutlineFacts)
    mapped = artifacts.read_json(tmp_path / "predict" / "valley" / "facts.json", records.MapFacts)
    found = area.read(files, BUDGET)
    assert found["thresholds"]["elsewhere"] == outlined.thresholds.elsewhere
    assert found["weights"] == mapped.weights_sha256
