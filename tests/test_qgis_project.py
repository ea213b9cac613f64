"""The project for QGIS: it finds its files wherever the folder lies, asks what `review` takes, and QGIS itself opens it."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from PIL import Image
from pyproj import CRS

from hpcl import qgis
from hpcl.core.artifacts import write_json
from hpcl.core.review import ALLOWED, COLUMNS, LAYERS, NEXT, OMISSIONS
from hpcl.geo import cog, raster, vector
from hpcl.qgis_project import questions
from hpcl.qgis_project.area import project
from stages import review

UTM = "EPSG:32648"
MARS = 'PROJCRS["Mars <plane> & more",BASEGEOGCRS["Mars",DATUM["Mars",ELLIPSOID["Mars",3396190,0]]],CONVERSION["Equirectangular",\
METHOD["Equidistant Cylindrical",ID["EPSG",1028]]],CS[Cartesian,2],AXIS["e",east],AXIS["n",north],LENGTHUNIT["metre",1]]'
HOSTILE = "a&b <i> \"c\" 'd' 甘肃 {0} 100%"
NAMES = ["valley", "Val d-Ultimo 1.2", "甘肃＜＆＞", HOSTILE]
SHAPE, PIXEL_M = (90, 120), 2.0
WEST, NORTH = 500_000.0, 4_000_000.0
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
"""Of the system, where QGIS puts its modules."""


def shape(row: int, column: int, side: int = 12) -> shapely.Polygon:
    """A square by the pixel of its upper left corner."""
    left, top = WEST + PIXEL_M * column, NORTH - PIXEL_M * row
    return shapely.box(left, top - PIXEL_M * side, left + PIXEL_M * side, top)


def asked(layer: str, crs: str, count: int) -> gpd.GeoDataFrame:
    shapes = [shape(5 + 20 * LAYERS.index(layer), 5 + 20 * number) for number in range(count)]
    values: dict[str, Any] = {name: [kind()] * count for name, kind in COLUMNS.items()}
    values |= {"id": [f"{layer}-{vector.digest(s)[:12]}" for s in shapes], "rank": np.arange(count) + 1}
    values |= {"reason": "Because <b>it</b> & 'that'.", "class": "old & <new>"}
    return gpd.GeoDataFrame(values, geometry=shapes, crs=crs)


def plant(
    root: Path, name: str = "valley", crs: str = UTM, bands: tuple[str, ...] = ("nir", "blue", "green", "red")
) -> Path:
    """An area as the stages leave it, with its project; returns the project's path."""
    data, grid = root / "data", raster.Grid(SHAPE, Affine(PIXEL_M, 0, WEST, 0, -PIXEL_M, NORTH), crs)
    rng = np.random.default_rng(1)

    def rasters(path: Path, *names: str) -> None:
        values = rng.random((len(names), *SHAPE), np.float32)
        cog.write(data / path, raster.Raster(values, grid, tuple(map(raster.Band, names))))

    rasters(Path("ingest", name, "image.tif"), *bands)
    rasters(Path("terrain", name, "terrain.tif"), "slope", "hillshade")
    rasters(Path("predict", name, "probability.tif"), "probability", "uncertainty")
    for stage in ("ingest", "outline"):
        vector.write(
            data / stage / name / "landslides.gpkg", gpd.GeoDataFrame({"id": [1]}, geometry=[shape(30, 80)], crs=crs)
        )
    tables = {layer: asked(layer, crs, 5 if layer != NEXT else 0) for layer in LAYERS}
    vector.write_layers(data / "audit" / name / "review.gpkg", tables)
    return write(data, name)


def write(data: Path, name: str) -> Path:
    path = data / "audit" / name / f"{name}.qgs"
    path.write_text(project(name, data, columns()), encoding="utf-8")
    return path


def columns() -> dict[str, list[str]]:
    return {layer: [*COLUMNS, "class"] for layer in LAYERS}


def parsed(path: Path) -> ET.Element:
    return ET.fromstring(path.read_bytes())


def sources(path: Path) -> dict[str, tuple[Path, str]]:
    """Of each layer its file as the project finds it, and what is said behind the file."""
    found = {}
    for layer in parsed(path).iter("maplayer"):
        file, _, more = (layer.findtext("datasource") or "").partition("|")
        assert not Path(file).is_absolute()
        found[layer.findtext("layername") or ""] = path.parent / file, more
    return found


# ------------------------------------------------------------------------------------------------------ without QGIS


@pytest.mark.parametrize(
    ("name", "crs"), [*((name, UTM) for name in NAMES), ("valley", MARS)], ids=range(len(NAMES) + 1)
)
def test_every_layer_lies_where_the_project_says_also_when_all_was_moved(name: str, crs: str, tmp_path: Path) -> None:
    plant(tmp_path / "here", name, crs)
    (tmp_path / "here").rename(tmp_path / "there")
    path = tmp_path / "there" / "data" / "audit" / name / f"{name}.qgs"
    found = sources(path)
    assert len(found) == 10
    for file, more in found.values():
        assert file.exists()
        if more:
            assert more.removeprefix("layername=") in dict(pyogrio.list_layers(file))
    root = parsed(path)
    assert root.findtext("title") == name
    (wkt,) = {each.text for each in root.iter("wkt")}
    assert CRS(wkt) == CRS(crs)
    sides = [float(root.findtext(f"mapcanvas/extent/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")]
    height, width = (PIXEL_M * side for side in SHAPE)
    view, ground = shapely.box(*sides), shapely.box(WEST, NORTH - height, WEST + width, NORTH)
    assert view.contains(ground)
    assert view.area < 1.2 * ground.area


def test_the_tree_names_each_layer_once_and_review_comes_first(tmp_path: Path) -> None:
    root = parsed(plant(tmp_path))
    tree = root.find("layer-tree-group")
    assert tree is not None
    assert [group.attrib["name"] for group in tree.findall("layer-tree-group")] == ["Review", "Map", "Ground"]
    members = [member.attrib["id"] for member in tree.iter("layer-tree-layer")]
    ids = [layer.findtext("id") for layer in root.iter("maplayer")]
    assert members == ids
    assert len(set(ids)) == len(ids)
    assert all(len(each or "") > 10 for each in ids)  # QGIS gives another to a shorter one, and the tree loses it


def test_polygons_of_the_map_may_follow_later(tmp_path: Path) -> None:
    before = plant(tmp_path).read_bytes()
    (tmp_path / "data/outline/valley/landslides.gpkg").unlink()
    assert write(tmp_path / "data", "valley").read_bytes() == before


@pytest.mark.parametrize(
    "gone",
    [
        {"ingest/valley/landslides.gpkg": ["landslides of the inventory"]},
        {"terrain/valley/terrain.tif": ["hillshade"]},
        {"ingest/valley/image.tif": ["image"]},
    ],
)
def test_what_is_absent_is_left_out(gone: dict[str, list[str]], tmp_path: Path) -> None:
    before = set(sources(plant(tmp_path)))
    for file in gone:
        (tmp_path / "data" / file).unlink()
    after = set(sources(write(tmp_path / "data", "valley")))
    assert before - after == {title for titles in gone.values() for title in titles}


def test_equal_bytes(tmp_path: Path) -> None:
    assert plant(tmp_path / "one").read_bytes() == plant(tmp_path / "two").read_bytes()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_form_offers_what_is_allowed_and_nothing_else_can_be_written(layer: str) -> None:
    body = ET.fromstring(f"<layer>{questions.layer(layer, [*COLUMNS, 'class', HOSTILE]).body}</layer>")
    choices = body.findall(".//field[@name='decision']//Option[@name='map']/Option/Option")
    assert [choice.attrib["value"] for choice in choices] == ["", *ALLOWED[layer]]
    writable = {field.attrib["name"] for field in body.findall("editable/field") if field.attrib["editable"] == "1"}
    assert writable == {"decision", "note"} | ({"class"} if layer == OMISSIONS else set())
    assert {field.attrib["name"] for field in body.findall("editable/field")} == {"fid", *COLUMNS, "class", HOSTILE}
    labels = [rule.attrib["label"] for rule in body.findall("renderer-v2/rules/rule")]
    assert labels == ["undecided", *ALLOWED[layer]]


@pytest.mark.parametrize(
    ("bands", "shown"),
    [
        (("nir", "blue", "green", "red"), {"redBand": "4", "greenBand": "3", "blueBand": "2"}),
        (("B4", "B3", "B2", "B8"), {"redBand": "1", "greenBand": "2", "blueBand": "3"}),
        (("pan", "nir"), {"grayBand": "1"}),
    ],
)
def test_natural_colours_where_there_are_any(bands: tuple[str, ...], shown: dict[str, str], tmp_path: Path) -> None:
    path = plant(tmp_path, bands=bands)
    layers = {layer.findtext("layername"): layer for layer in parsed(path).iter("maplayer")}
    renderer = layers["image"].find("pipe/rasterrenderer")
    assert renderer is not None
    assert shown.items() <= renderer.attrib.items()
    with raster.Source(tmp_path / "data/ingest/valley/image.tif") as source:
        values = source.read()
    for stretch, number in zip([e for e in renderer if e.find("minValue") is not None], shown.values(), strict=True):
        limits = [float(stretch.findtext(end) or "nan") for end in ("minValue", "maxValue")]
        assert limits == pytest.approx(np.percentile(values[int(number) - 1], [2, 98]), rel=1e-3)


@pytest.mark.parametrize("style", [qgis.probability(), None], ids=["style file", "project"])
def test_no_probability_hides_nothing(style: str | None, tmp_path: Path) -> None:
    root = ET.fromstring(style) if style else parsed(plant(tmp_path))
    items = next(s for s in root.iter("colorrampshader")).findall("item")
    assert [item.attrib["alpha"] for item in items] == ["0", "255", "255", "255", "255"]


# --------------------------------------------------------------------------------------------------------- with QGIS


@pytest.fixture(scope="module")
def python() -> str:
    """A python that can import QGIS."""
    if PYTHON is None or call(PYTHON, "-c", "import qgis.core").returncode:
        pytest.skip("no python of this system has QGIS (Debian's package python3-qgis)")
    return PYTHON


def call(*command: str, home: Path = Path("/nowhere")) -> subprocess.CompletedProcess[str]:
    """Run a program of the system, which must see nothing of ours."""
    here = {"PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8"}
    here |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    return subprocess.run(command, check=False, env=here, capture_output=True, text=True, timeout=120)


def opened(python: str, path: Path, answers: dict[str, Any], picture: Path) -> dict[str, Any]:
    """What QGIS makes of a project, after ``answers``."""
    script = Path(__file__).with_name("in_qgis.py")
    done = call(python, str(script), str(path), json.dumps(answers), str(picture), home=picture.parent)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def share(picture: Path, colour: str) -> float:
    """How much of a picture has a colour, about."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    return float((np.abs(pixels - list(bytes.fromhex(colour[1:]))).max(axis=-1) < 12).mean())


@pytest.mark.parametrize(("name", "crs"), [("valley", MARS), (HOSTILE, UTM)], ids=["mars", "hostile"])
def test_qgis_opens_draws_and_answers(
    name: str, crs: str, python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / "here", name, crs)
    home = (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(home)
    path = Path("data/audit", name, f"{name}.qgs")
    answers = {"omissions": {"2": {"decision": "accept", "note": "two\nlines"}, "4": {"decision": "redraw"}},
               "doubtful": {"1": {"decision": "reject"}}}  # fmt: skip
    found = opened(python, path, answers, tmp_path / "picture.png")

    assert found["title"] == name
    assert [*found["groups"]] == ["Review", "Map", "Ground"]
    assert found["groups"]["Review"] == list(LAYERS)
    assert set(found["layers"]) - set(found["shown"]) == {"probability", "uncertainty"}
    assert len(found["layers"]) == 10
    assert all(layer["valid"] for layer in found["layers"].values())
    # one CRS everywhere, with its code if it has one
    assert {(layer["crs"], layer["wkt"]) for layer in found["layers"].values()} == {(found["crs"], found["wkt"])}
    assert (found["crs"], "Mars" in found["wkt"]) == ((UTM, False) if crs == UTM else ("", True))
    for layer in LAYERS:
        told = found["layers"][layer]
        assert told["choices"] == ["", *ALLOWED[layer]]
        assert set(told["editable"]) == {"decision", "note"} | ({"class"} if layer == OMISSIONS else set())
        assert (told["widgets"]["decision"], told["widgets"]["note"], told["multiline"]) == (
            "ValueMap",
            "TextEdit",
            True,
        )
        assert told["form"]["Answer"] == ["rank", "probability", "reason", "decision", "note"]
        assert (told["label"], told["labelled"], told["frozen"], told["marked"]) == ("rank", True, False, 1)
        assert "decision" in told["order"]
    assert all(found["layers"][f"landslides of the {which}"]["frozen"] for which in ("map", "inventory"))
    assert found["drawn"]["omissions"] == {"undecided": 3, "accept": 1, "reject": 0, "unsure": 0, "redraw": 1}
    assert found["drawn"]["doubtful"] == {"undecided": 4, "accept": 0, "reject": 1, "unsure": 0}
    assert all(
        share(tmp_path / "picture.png", colour) > 1e-4
        for colour in (*list(qgis.DECISIONS.values())[:3], qgis.INVENTORY)
    )


def test_answers_given_in_qgis_are_gathered(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = plant(tmp_path)
    Path("data/raw/valley").mkdir(parents=True)
    Path(".dvc/tmp").mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "dvc.yaml", tmp_path)
    facts = examples.area(area="valley", shape=list(SHAPE), transform=[PIXEL_M, 0, WEST, 0, -PIXEL_M, NORTH], crs=UTM)
    write_json(Path("data/ingest/valley/facts.json"), facts)
    answers = {"omissions": {"3": {"decision": "accept", "note": "a scarp"}}, "outlines": {"1": {"decision": "unsure"}}}
    before = path.read_bytes()
    opened(python, path, answers, tmp_path / "picture.png")
    assert path.read_bytes() == before
    review.gather("valley")
    gathered = {layer: vector.read(Path("data/raw/valley/review.gpkg"), layer) for layer in LAYERS}
    (accepted,) = gathered["omissions"].itertuples()
    assert (accepted.id, accepted.decision, accepted.note) == (asked("omissions", UTM, 5)["id"][2], "accept", "a scarp")
    assert gathered["outlines"]["decision"].tolist() == ["unsure"]
    assert not len(gathered["doubtful"])
