"""Rasters that are laid on each other pixel by pixel lie on one grid, or the stage says which two do not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
from affine import Affine
from test_likeness import ground
from test_unlike_area import ROOT, area, model

from hpcl import raster_scene
from hpcl.core.artifacts import write_json
from hpcl.core.codes import NO_NETWORK
from hpcl.geo import blocks, cog, raster
from hpcl.geo.raster import Grid, RasterError, common_grid
from hpcl.outline import polygons
from hpcl.settings.tile import TileError
from hpcl.tiles.area import Area
from stages import explain, predict, tile
from stages._stage import params

UTM = "EPSG:32648"
HERE = Grid((160, 160), Affine(2, 0, 5e5, 0, -2, 4e6), UTM)
MARS = "+proj=eqc +lat_ts=-10 +lon_0=-70 +R=3396190 +units=m +no_defs"
CONE = "+proj=lcc +lat_0=30 +lat_1=25 +lat_2=35 +lon_0=100 +datum=WGS84 +units=m +no_defs"
OTHERS = {
    "cropped at the top": Grid((150, 160), Affine(2, 0, 5e5, 0, -2, 4e6 - 20), UTM),
    "cropped at the right": Grid((160, 159), HERE.affine, UTM),
    "moved by a pixel": Grid((160, 160), Affine(2, 0, 5e5 + 2, 0, -2, 4e6), UTM),
    "moved by a tenth of a pixel": Grid((160, 160), Affine(2, 0, 5e5, 0, -2, 4e6 + 0.2), UTM),
    "other pixels": Grid((160, 160), Affine(2.001, 0, 5e5, 0, -2, 4e6), UTM),
    "turned": Grid((160, 160), Affine(2, 0.01, 5e5, 0, -2, 4e6), UTM),
    "upside down": Grid((160, 160), Affine(2, 0, 5e5, 0, 2, 4e6 - 320), UTM),
    "another zone": Grid((160, 160), HERE.affine, "EPSG:32649"),
    "another planet": Grid((160, 160), HERE.affine, MARS),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_grid_is_refused_with_both_files_and_the_stages(other: Grid) -> None:
    image, relief = Path("data/ingest/valley/image.tif"), Path("data/terrain/valley/terrain.tif")
    with pytest.raises(RasterError) as refused:
        common_grid({image: HERE, relief: other})
    for words in (
        image,
        relief,
        "160 x 160",
        f"{other.shape[0]} x {other.shape[1]}",
        "ingest@valley",
        "terrain@valley",
    ):
        assert str(words) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("crs", [UTM, MARS, CONE, "EPSG:3031"])
@pytest.mark.parametrize("pixel", [0.04, 2.0, 30.0, 1 / 3])
def test_one_grid_stays_one_through_files_and_facts(crs: str, pixel: float, tmp_path: Path) -> None:
    """Written, read, written again, and noted in JSON with 12 digits."""
    first = Grid((40, 23000), Affine(pixel, 0, 499_980.123456789, 0, -pixel, 3_999_999.987654321), crs)
    grids = {Path("given"): first}
    for name in ("once.tif", "twice.tif"):
        small = Grid((40, 60), first.affine, list(grids.values())[-1].crs)
        cog.write(tmp_path / name, raster.Raster(np.zeros((1, 40, 60), np.float32), small, (raster.Band("a"),)))
        with raster.Source(tmp_path / name) as source:
            grids[tmp_path / name] = Grid(first.shape, source.grid.affine, source.grid.crs)
    noted = [float(f"{value:.12g}") for value in first.affine[:6]]
    grids[Path("noted")] = Grid(first.shape, Affine(*noted), str(grids[tmp_path / "once.tif"].crs))
    assert common_grid(grids) is first


def rewrite(path: Path, other: Grid) -> None:
    held = raster.read(path)
    rows, columns = other.shape
    nodata = 255 if held.values.dtype == np.uint8 else np.nan
    cog.write(path, raster.Raster(held.values[:, :rows, :columns], other, held.bands), nodata)


@pytest.mark.parametrize(
    "which", ["ingest/valley/image.tif", "terrain/valley/terrain.tif", "coregister/valley/dem.tif"]
)
@pytest.mark.parametrize("other", [name for name in OTHERS if name != "another planet"])
def test_predict_makes_no_map_of_two_grids(
    which: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area(tmp_path, ground(), 5)
    monkeypatch.chdir(tmp_path)
    path = Path("data") / which
    rewrite(path, OTHERS[other])
    image, relief, dem = (
        Path("data") / p for p in ("ingest/valley/image.tif", "terrain/valley/terrain.tif", "coregister/valley/dem.tif")
    )
    model_free = {"provenance": {}, "classes": ["landslide"], "terrain": relief, "elevation": dem}
    settings = polygons.OutlineSettings(
        operating_point="best_iou", neck_frac=0, minimum_area_m2=0, simplify_px=0, minimum_mean_probability=0
    )
    probability = Path("data/predict/valley/probability.tif")
    cog.write(probability, raster.Raster(np.zeros((1, 160, 160), np.float32), HERE, (raster.Band("probability"),)))
    networks = raster.Raster(np.zeros((1, 160, 160), np.uint8), HERE, (raster.Band("network"),))
    cog.write(probability.with_name("network.tif"), networks, NO_NETWORK)
    if "ingest" not in which:
        with pytest.raises(RasterError, match="do not lie on one grid"):
            polygons.landslides(probability, examples.thresholds(), settings, **model_free)  # type: ignore[arg-type]  # a dict of them
    if "coregister" not in which:
        ensemble: Any = None  # refused before the networks are asked
        with pytest.raises(RasterError, match="do not lie on one grid"):
            raster_scene.RasterScene("valley", [image, relief], ensemble, "refuse")


def test_predict_and_explain_refuse_by_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area(tmp_path, ground(), 5)
    model(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "data/tiles").mkdir()
    write_json(tmp_path / "data/tiles/facts.json", examples.tiles({}))
    monkeypatch.chdir(tmp_path)
    rewrite(Path("data/ingest/valley/image.tif"), OTHERS["cropped at the top"])
    for stage in (predict, explain):
        with pytest.raises(RasterError, match=r"150 x 160 pixels[^;]*160 x 160 pixels"):
            stage.main("valley")
    assert not Path("data/predict").exists()
    assert not Path("data/explain").exists()


def labelled(folder: Path) -> None:
    """An area with an inventory, as far as `tile` looks at its grids."""
    area(folder, ground(), 5)
    place = folder / "data/ingest/valley"
    facts = examples.area(classes=["landslide"], inventory=examples.inventory(), transform=list(HERE.affine)[:6])
    write_json(place / "facts.json", replace(facts, crs=HERE.crs.proj.to_wkt()))
    cog.write(
        place / "labels.tif", raster.Raster(np.zeros((1, 160, 160), np.uint8), HERE, (raster.Band("label"),)), 255
    )
    (place / "landslides.gpkg").touch()


@pytest.mark.parametrize("which", ["ingest/valley/image.tif", "terrain/valley/terrain.tif", "ingest/valley/labels.tif"])
@pytest.mark.parametrize("other", ["cropped at the right", "moved by a pixel", "another zone"])
def test_tile_joins_no_two_grids(which: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path)
    monkeypatch.chdir(tmp_path)
    Area("valley").check_grids()
    rewrite(Path("data") / which, OTHERS[other])
    with pytest.raises(RasterError, match=re.escape(which)):
        Area("valley").check_grids()


@pytest.mark.parametrize("lost", ["labels.tif", "landslides.gpkg"])
def test_an_area_whose_inventory_lost_a_file_is_refused(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert Area("valley").has_inventory()
    (Path("data/ingest/valley") / lost).unlink()
    with pytest.raises(TileError, match=rf"{lost} does not exist, though .*dvc repro -s -f ingest@valley"):
        Area("valley").has_inventory()


def test_an_area_without_inventory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    area(tmp_path, ground(), 5)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    write_json(Path("data/ingest/valley/facts.json"), examples.area())
    monkeypatch.setattr(tile, "params", lambda name, kind: ["valley"] if name == "areas" else params(name, kind))
    with pytest.raises(TileError):
        tile.main()
    assert "tile: valley has no inventory of landslides; it is mapped" in capsys.readouterr().out


def test_a_function_of_blocks_takes_no_two_grids(tmp_path: Path) -> None:
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, grid in zip(paths, (HERE, OTHERS["moved by a pixel"]), strict=True):
        cog.write(path, raster.Raster(np.zeros((1, 160, 160), np.float32), grid, (raster.Band("a"),)))
    with (
        cog.create(tmp_path / "sum.tif", HERE, [raster.Band("a")]) as sink,
        pytest.raises(RasterError, match="do not lie on one grid"),
    ):
        blocks.map_blocks(np.add, paths, sink)
