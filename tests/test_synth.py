"""The synthetic scene: what is planted is there, equal settings give equal bytes, and nobody's data is overwritten."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from pydantic import TypeAdapter, ValidationError
from shapely.geometry import Polygon, box

from hpcl.synth import landforms, noise, sensors, write

SMALL: dict[str, Any] = {
    "rows": 270, "columns": 310, "shift_east_m": 6.3, "shift_north_m": -4.1, "shift_up_m": 3.4, "reference_dem": True,
}  # fmt: skip
GIVEN: dict[str, Any] = {
    "areas": {
        "synthetic_small": {"seed": 3, **SMALL},
        "synthetic_other": {"seed": 4, **SMALL, "reference_dem": False},
        "synthetic_wide": {"seed": 1, **SMALL, "rows": 1030, "columns": 1190},
        "synthetic_tall": {"seed": 2, **SMALL, "rows": 1270, "columns": 870},
        "synthetic_tiny": {"seed": 1, **SMALL, "rows": 40, "columns": 40},
    },
    "pixel_m": 2.0,
    "dem_pixel_m": 5.0,
    "dem_noise_m": 0.25,
    "reference_pixel_m": 10.0,
    "reference_noise_m": 0.3,
    "landslide_frac": 0.09,
    "landslide_length_m": [120.0, 340.0],
    "landslide_age": [0.0, 1.0],
    "mapper_jitter_m": 4.0,
    "sun_azimuth_deg": 148.0,
    "sun_altitude_deg": 42.0,
}


def settings(**changes: Any) -> write.SynthesizeSettings:
    return TypeAdapter(write.SynthesizeSettings).validate_json(json.dumps(GIVEN | changes))


def scene(name: str, **changes: Any) -> sensors.Scene:
    s = settings(**changes)
    return sensors.scene(s.areas[name], s)


def whole(grid: Any) -> tuple[slice, slice]:
    return slice(0, grid.shape[0]), slice(0, grid.shape[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "synthetic_small"
    write.synthesize(path, "synthetic_small", settings())
    return path


# ---------------------------------------------------------------------------------------------------------------- files


def test_layout_is_a_users(folder: Path, tmp_path: Path) -> None:
    vectors = ["labelled_extent.gpkg", "landslides.gpkg"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "dem.tif",
        *vectors,
        "optical.tif",
        "reference_dem.tif",
        "truth.json",
    ]
    write.synthesize(tmp_path / "synthetic_other", "synthetic_other", settings())
    assert sorted(p.name for p in (tmp_path / "synthetic_other").iterdir()) == [
        "dem.tif",
        *vectors,
        "optical.tif",
        "truth.json",
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "synthetic_other"]  # no draft is left


def test_rasters_say_what_they_are(folder: Path) -> None:
    with rasterio.open(folder / "optical.tif") as image:
        assert image.descriptions == ("red", "green", "blue", "nir")
        assert (image.dtypes[0], image.nodata, image.shape, image.res) == ("uint16", 0, (270, 310), (2.0, 2.0))
        assert image.crs.to_epsg() == 32648
        extent = box(*image.bounds)
        seen = image.read_masks(1) > 0
    assert 0.9 < seen.mean() < 1
    for name, pixel_m in (("dem", 5.0), ("reference_dem", 10.0)):
        with rasterio.open(folder / f"{name}.tif") as dem:
            assert (dem.dtypes[0], dem.nodata, dem.res) == ("float32", -9999.0, (pixel_m, pixel_m))
            assert (dem.descriptions, dem.units) == (("elevation",), ("m",))
            assert box(*dem.bounds).contains(extent)


def test_equal_settings_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "synthetic_small"
    write.synthesize(again, "synthetic_small", settings())
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_another_seed_is_another_place() -> None:
    one, other = scene("synthetic_small"), scene("synthetic_other")
    assert one.corner != other.corner
    x, y = one.coordinates(one.grid(20.0), whole(one.grid(20.0)))
    assert np.abs(one.elevation(x, y) - other.elevation(x, y)).mean() > 5


# ---------------------------------------------------------------------------------------------------------------- scene


@pytest.mark.parametrize("name", ["synthetic_wide", "synthetic_tall"])
def test_default_areas_have_landslides_on_nine_percent_of_the_ground(name: str) -> None:
    world = scene(name)
    area = world.area
    assert area.rows != area.columns
    assert area.rows % 128
    assert area.columns % 128
    assert len(world.slides) >= 15
    assert len(world.banks) + len(world.heads) >= 15
    grid = world.grid(6.0)
    frac = world.inside(*world.coordinates(grid, whole(grid))).mean()
    assert 0.07 < frac < 0.11
    outlines = [Polygon(write.outline(slide)) for slide in world.slides]
    assert frac == pytest.approx(sum(o.area for o in outlines) / (area.rows * area.columns * 4), abs=0.003)
    assert max(o.buffer(-5).intersection(p.buffer(-5)).area for o in outlines for p in outlines if o is not p) == 0
    assert all(60 <= slide.length_m / 2 <= 220 for slide in world.slides)


def test_landslides_face_downhill_and_lie_below_a_steep_wall() -> None:
    """Against the relief without them, ground is lost below the crown and gained at the toe; nothing moves outside."""
    world = scene("synthetic_wide")
    for slide in world.slides:
        u = np.array([0.05, 0.25, 0.40, 0.85]) * slide.length_m
        x, y = slide.east_m + u * slide.down_east, slide.north_m + u * slide.down_north
        base = landforms.relief(x, y, world.salt)
        assert base[0] > base[3]
        change, wiped = landforms.slide_change(slide, x, y)
        assert change[1] < -0.4 * slide.depth_m
        assert change[2] < 0
        assert change[3] > -1
        assert wiped[1] > 0.4
        far = np.array([slide.centre]) + 1.2 * slide.reach_m * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
        change, wiped = landforms.slide_change(slide, *far.T)
        assert np.abs(change).max() == 0
        assert wiped.max() == 0


def test_age_blurs_landslides_and_moves_none() -> None:
    worlds = [scene("synthetic_small", landslide_age=[age, age]) for age in (0.0, 1.0, 2.0)]
    for slides in zip(*(world.slides for world in worlds), strict=True):
        assert [slide.age for slide in slides] == [0.0, 1.0, 2.0]
        (east, north), line = slides[0].centre, np.arange(-1, 1, 0.01) * 1.3 * slides[0].reach_m
        x, y = np.meshgrid(east + line, north + line)
        assert len({slide.centre for slide in slides}) == 1
        inside = landforms.outline_distance(slides[0], x, y) < 0
        steep = [np.hypot(*np.gradient(landforms.slide_change(slide, x, y)[0]))[inside] for slide in slides]
        walls = [np.percentile(each, 90) for each in steep]
        assert walls[0] > 1.1 * walls[1] > 1.2 * walls[2]


def test_look_alikes_are_as_steep_as_back_walls() -> None:
    world = scene("synthetic_wide")

    def steepest_deg(feature: landforms.Feature) -> float:
        side = np.arange(-0.6, 0.6, 0.02) * feature.length_m
        x, y = np.meshgrid(
            feature.east_m + 0.3 * feature.length_m * feature.down_east + side,
            feature.north_m + 0.3 * feature.length_m * feature.down_north + side,
        )
        u, v = feature.local(x, y)
        upper = (u > 0) & (u < 0.6 * feature.length_m) & (np.abs(v) < feature.width_m / 2)
        slope = np.hypot(*np.gradient(world.elevation(x, y), side[1] - side[0]))
        return float(np.degrees(np.arctan(np.percentile(slope[upper], 90))))

    walls, banks, heads = (
        np.median([steepest_deg(f) for f in kind[:12]]) for kind in (world.slides, world.banks, world.heads)
    )
    assert 28 < walls < 45
    assert banks > walls - 2
    assert heads > walls - 2
    assert not world.inside(*np.array([b.centre for b in world.banks]).T).any()


def test_any_window_can_be_computed_alone() -> None:
    """The ground of a window does not depend on which other ground is computed with it."""
    world = scene("synthetic_small")
    grid = world.grid(2.0)
    part = slice(101, 203), slice(57, 180)
    assert np.allclose(
        world.elevation(*world.coordinates(grid, part)),
        world.elevation(*world.coordinates(grid, whole(grid)))[part],
        atol=1e-4,
    )
    image = sensors.optical(world, grid, whole(grid))[(slice(None), *part)].astype(int)
    assert (
        np.abs(sensors.optical(world, grid, part) - image).max() <= 1
    )  # of 10,000: the last digit may round elsewhere


def test_noise_has_no_preferred_side_and_grain_has_its_standard_deviation() -> None:
    x, y = np.meshgrid(np.arange(600.0) - 300, np.arange(500.0) - 250)
    assert abs(noise.noise(x, y, 12.0, 5).mean()) < 0.02
    grain = noise.grain(x, y, 1.0, 7)
    assert abs(grain.mean()) < 0.01
    assert grain.std() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(grain[:, 1:].ravel(), grain[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.01)


# -------------------------------------------------------------------------------------------------------- planted errors


def test_dem_shows_the_ground_where_the_truth_says(folder: Path) -> None:
    """Undone by the written truth, the DEM equals the true ground but for its noise; taken as it is, it does not."""
    world = scene("synthetic_small")
    truth = json.loads((folder / "truth.json").read_text())["shift"]
    assert truth == {"east_m": 6.3, "north_m": -4.1, "up_m": 3.4}
    with rasterio.open(folder / "dem.tif") as file:
        dem = file.read(1, masked=True).astype(float)
        rows, columns = np.indices(dem.shape)
        x, y = file.transform * (columns + 0.5, rows + 0.5)
    x, y = x - world.corner[0], y - world.corner[1]
    assert 0.001 < np.ma.getmaskarray(dem).mean() < 0.06
    undone = dem - truth["up_m"] - world.elevation(x - truth["east_m"], y - truth["north_m"])
    assert abs(undone.mean()) < 0.1
    assert 0.1 < undone.std() < 0.4
    assert (dem - truth["up_m"] - world.elevation(x, y)).std() > 5 * undone.std()
    assert (dem - truth["up_m"] - world.elevation(x + truth["east_m"], y + truth["north_m"])).std() > 5 * undone.std()


def test_reference_dem_is_not_shifted(folder: Path) -> None:
    world = scene("synthetic_small")
    with rasterio.open(folder / "reference_dem.tif") as file:
        dem = file.read(1, masked=True).astype(float)
        rows, columns = np.indices(dem.shape)
        x, y = file.transform * (columns + 0.5, rows + 0.5)
    error = dem - world.elevation(x - world.corner[0], y - world.corner[1])
    assert abs(error.mean()) < 0.15
    assert error.std() < 0.5


def test_image_is_lit_by_the_sun_of_the_truth(folder: Path) -> None:
    """Of all azimuths, the hillshade under the planted one resembles the image most."""
    world = scene("synthetic_small")
    truth = json.loads((folder / "truth.json").read_text())
    with rasterio.open(folder / "optical.tif") as file:
        image = file.read(masked=True).astype(float)
    x, y = world.coordinates(world.grid(2.0), whole(world.grid(2.0)))
    south, east = np.gradient(world.elevation(x, y), 2.0)
    seen = ~np.ma.getmaskarray(image[0])
    azimuths_deg = np.arange(0, 360, 15)

    def alike(azimuth_deg: float) -> float:
        azimuth = np.radians(azimuth_deg)
        towards = -np.sin(azimuth) * east + np.cos(azimuth) * south
        return float(np.corrcoef(towards[seen], image[0].data[seen])[0, 1])

    best_deg = azimuths_deg[np.argmax([alike(a) for a in azimuths_deg])]
    assert abs(best_deg - truth["sun"]["azimuth_deg"]) <= 20


def test_landslides_hardly_show_in_the_image_alone() -> None:
    """No brightness of any band tells landslides apart: the best threshold is hardly better than calling all ground one."""
    world = scene("synthetic_wide")
    part = slice(300, 700), slice(200, 800)
    image = sensors.optical(world, world.grid(2.0), part)
    inside = world.inside(*world.coordinates(world.grid(2.0), part))
    for band in image:
        for sign in (1, -1):
            hits = inside.ravel()[np.argsort(sign * band.astype(int), axis=None)].cumsum()
            iou = hits / (inside.sum() + np.arange(1, hits.size + 1) - hits)
            assert iou.max() < inside.mean() + 0.08


# ------------------------------------------------------------------------------------------------------------ inventory


def test_inventory_has_a_mappers_mistakes(folder: Path) -> None:
    world = scene("synthetic_wide")
    table, mistakes = write.inventory(world, np.random.default_rng(0))
    assert len(table) == mistakes["mapped"] == len(world.slides) - len(mistakes["missed_ids"])
    assert mistakes["missed_ids"]
    assert list(table["id"][~table.is_valid]) == mistakes["invalid_ids"]
    repaired = table.make_valid()
    assert repaired.area.sum() == pytest.approx(table.area.sum(), rel=0.01)
    for number, drawn in zip(table["id"], repaired.translate(-world.corner[0], -world.corner[1]), strict=True):
        true = Polygon(write.outline(world.slides[number - 1]))
        overlap = drawn.intersection(true).area / drawn.union(true).area
        assert 0.6 < overlap < 0.985, number
    sizes = {i + 1: Polygon(write.outline(s)).area for i, s in enumerate(world.slides)}
    assert max(sizes[i] for i in mistakes["missed_ids"]) < np.median(list(sizes.values()))
    written = json.loads((folder / "truth.json").read_text())["landslides"]
    on_disk = gpd.read_file(folder / "landslides.gpkg")
    assert len(on_disk) == written["mapped"]
    assert (~on_disk.is_valid).sum() == 1


def test_labelled_extent_covers_nearly_all(folder: Path) -> None:
    extent = gpd.read_file(folder / "labelled_extent.gpkg").union_all()
    with rasterio.open(folder / "optical.tif") as file:
        image = box(*file.bounds)
    assert image.contains(extent)
    assert extent.area > 0.85 * image.area


# ------------------------------------------------------------------------------------------------------------- refusals


def contents(path: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() if p.is_file() else b"" for p in sorted(path.rglob("*"))}


def test_own_work_is_written_again(folder: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(folder, tmp_path / "synthetic_small")
    write.synthesize(mine, "synthetic_small", settings(mapper_jitter_m=1.0))
    assert (mine / "landslides.gpkg").read_bytes() != (folder / "landslides.gpkg").read_bytes()
    assert (mine / "optical.tif").read_bytes() == (folder / "optical.tif").read_bytes()
    assert list(tmp_path.iterdir()) == [mine]


def _empty(path: Path, own: Path) -> None:
    path.mkdir()


def _users(path: Path, own: Path) -> None:
    path.mkdir()
    (path / "optical.tif").write_text("a user's")


def _other_truth(path: Path, own: Path) -> None:
    path.mkdir()
    (path / "truth.json").write_text('{"field": "notes"}')


def _own_changed(path: Path, own: Path) -> None:
    shutil.copytree(own, path)
    (path / "dem.tif").write_text("a user's better DEM")


def _own_and_more(path: Path, own: Path) -> None:
    shutil.copytree(own, path)
    (path / "thermal.tif").write_text("a user's further band")


def _own_and_folder(path: Path, own: Path) -> None:
    shutil.copytree(own, path)
    (path / "notes").mkdir()


def _link(path: Path, own: Path) -> None:
    home = shutil.copytree(own, path.with_name("elsewhere"))
    path.symlink_to(home, target_is_directory=True)


@pytest.mark.parametrize("make", [_empty, _users, _other_truth, _own_changed, _own_and_more, _own_and_folder, _link])
def test_a_users_folder_is_refused_and_stays(make: Any, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "synthetic_small"
    make(path, folder)
    before = contents(tmp_path)
    with pytest.raises(
        landforms.SynthError, match=r"not overwritten; rename it, or take 'synthetic_small' out of synthesize\.areas"
    ):
        write.synthesize(path, "synthetic_small", settings())
    assert contents(tmp_path) == before


def test_a_failure_leaves_the_earlier_area(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.copytree(folder, tmp_path / "synthetic_small")
    before = contents(tmp_path)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "inventory", fail)
    with pytest.raises(KeyboardInterrupt):
        write.synthesize(path, "synthetic_small", settings())
    assert contents(tmp_path) == before


def test_unknown_area_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        landforms.SynthError, match=r"no area 'synthetic_smal' \(it has: synthetic_small, synthetic_other, .*\)"
    ):
        write.synthesize(tmp_path / "synthetic_smal", "synthetic_smal", settings())
    assert not list(tmp_path.iterdir())


def test_an_area_without_room_for_a_landslide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(landforms.SynthError, match="40 x 40 px with seed 1 has no slope for a landslide of 120 m"):
        write.synthesize(tmp_path / "synthetic_tiny", "synthetic_tiny", settings())
    assert not list(tmp_path.iterdir())


def test_settings_are_frozen_and_strict() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().pixel_m = 3.0  # type: ignore[misc]  # that it is refused is the test
    with pytest.raises(ValidationError, match="seed"):
        settings(areas={"synthetic_small": {**SMALL, "seed": "3"}})
    with pytest.raises(ValidationError, match=r"\^synthetic_"):
        settings(areas={"../real": {"seed": 3, **SMALL}})
    with pytest.raises(ValidationError, match="pixels_m"):
        settings(pixels_m=2.0)
