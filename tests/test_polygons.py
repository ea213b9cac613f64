"""Probability to polygons: planted blobs, the way back to pixels, validity, order."""

import json
import tracemalloc
from pathlib import Path

import examples
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

from hpcl.calibration import counts, points
from hpcl.core.artifacts import read_json, write_json
from hpcl.core.records import OutlineFacts
from hpcl.geo import cog, raster, vector
from hpcl.outline import class_map, polygons
from hpcl.outline.mapped import MappedError
from hpcl.settings.outline import AtPrecision, OutlineSettings
from stages import outline

THRESHOLDS = examples.thresholds(0.3, 0.8, elsewhere=0.5)
PIXEL_M = 2.0
AFFINE = Affine(PIXEL_M, 0, 500_000, 0, -PIXEL_M, 4_000_000)
MARS = 'PROJCRS["Mars plane",BASEGEOGCRS["Mars",DATUM["Mars",ELLIPSOID["Mars",3396190,0]]],CONVERSION["Equirectangular",\
METHOD["Equidistant Cylindrical",ID["EPSG",1028]]],CS[Cartesian,2],AXIS["e",east],AXIS["n",north],LENGTHUNIT["metre",1]]'


def plant(path: Path, *layers: np.ndarray, crs: str = "EPSG:32649", networks: np.ndarray | None = None) -> Path:
    """A map, by the mean of all networks if ``networks`` does not say otherwise."""
    bands = [raster.Band("probability"), raster.Band("uncertainty")][: len(layers)]
    grid = raster.Grid(layers[0].shape, AFFINE, crs)
    cog.write(path, raster.Raster(np.stack(layers).astype(np.float32), grid, tuple(bands)))
    networks = np.zeros(layers[0].shape, np.uint8) if networks is None else networks.astype(np.uint8)
    cog.write(path.with_name("network.tif"), raster.Raster(networks[None], grid, (raster.Band("network"),)), 255)
    return path


def outline_settings(**changes: float) -> OutlineSettings:
    given = {"neck_frac": 0.0, "minimum_area_m2": 0.0, "simplify_px": 0.0, "minimum_mean_probability": 0.0}
    return OutlineSettings(operating_point="best_iou", **given | changes)


def vectorise(
    path: Path, minimum_area_m2: float = 0.0, simplify_px: float = 0.0, sure: float = 0.0, **provenance: object
):
    settings = outline_settings(minimum_area_m2=minimum_area_m2, simplify_px=simplify_px, minimum_mean_probability=sure)
    return polygons.landslides(path, THRESHOLDS, settings, classes=["landslide"], provenance=provenance)


def rasterise(table, shape: tuple[int, int]) -> np.ndarray:
    if not len(table):
        return np.zeros(shape, dtype=np.uint8)
    return rasterio.features.rasterize(table.geometry, out_shape=shape, transform=AFFINE)


def rough(shape: tuple[int, int], seed: int, blur_px: float = 2.0) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), blur_px)
    return 0.5 + 0.4 * field / np.abs(field).max()


def test_two_planted_blobs_come_back_with_their_size_place_and_probability(tmp_path):
    probability, uncertainty = np.full((40, 50), 0.1), np.full((40, 50), 0.05)
    probability[30:36, 5:25] = 0.8
    probability[3:10, 30:35] = 0.6
    probability[3, 30] = 0.9
    probability[9, 34] = 0.5  # exactly at the threshold
    uncertainty[30:36, 5:25] = 0.2
    table = vectorise(
        plant(tmp_path / "p.tif", probability, uncertainty), weights_sha256="abc", operating_point="best_iou"
    )

    assert list(table.columns) == [
        *("id", "class", "area_m2", "length_m", "mean_probability", "mean_uncertainty"),
        *("weights_sha256", "operating_point", "geometry"),
    ]
    assert table["id"].tolist() == [1, 2]
    assert table["class"].tolist() == ["landslide"] * 2
    assert table["area_m2"].tolist() == [35 * 4, 120 * 4]
    assert table["length_m"].to_numpy() == pytest.approx([14, 40])
    assert table["mean_probability"].to_numpy() == pytest.approx([(33 * 0.6 + 0.9 + 0.5) / 35, 0.8])
    assert table["mean_uncertainty"].to_numpy() == pytest.approx([0.05, 0.2])
    assert table["weights_sha256"].tolist() == ["abc", "abc"]
    assert table["operating_point"].tolist() == ["best_iou"] * 2
    assert table.geometry[0].equals(shapely.box(500_060, 3_999_980, 500_070, 3_999_994))
    assert table.crs.to_epsg() == 32649


@pytest.mark.parametrize("strip_rows", [3, 512])
def test_each_pixel_has_the_threshold_of_its_network(tmp_path, monkeypatch, strip_rows):
    monkeypatch.setattr(polygons, "STRIP_ROWS", strip_rows)
    rng = np.random.default_rng(2)
    probability, networks = rng.random((31, 47)), rng.integers(0, 3, (31, 47))
    probability[:3, :5], networks[:3, :5] = np.nan, 255
    path = plant(tmp_path / "p.tif", probability, networks=networks)
    expected = probability.astype(np.float32) >= np.array([0.5, 0.3, 0.8], np.float32)[networks % 255]
    assert np.array_equal(rasterise(vectorise(path), networks.shape), expected)
    covered = class_map.write(path, tmp_path / "class.tif", ["landslide"], THRESHOLDS)
    codes = raster.read(tmp_path / "class.tif").values[0]
    assert np.array_equal(codes, np.where(np.isnan(probability), 255, expected))
    assert covered.landslide_px == expected.sum()


def test_a_map_without_its_networks_or_of_other_ones_is_refused(tmp_path):
    path = plant(tmp_path / "p.tif", np.ones((9, 9)), networks=np.full((9, 9), 3))
    with pytest.raises(MappedError, match=r"network of fold 3, but thresholds were chosen for 2 folds"):
        vectorise(path)
    path.with_name("network.tif").unlink()
    with pytest.raises(raster.RasterError, match=r"network\.tif does not exist"):
        vectorise(path)


def test_length_is_the_longer_side_whatever_the_direction(tmp_path):
    row, column = np.mgrid[:80, :80]
    along, across = (row + column) / np.sqrt(2), (row - column) / np.sqrt(2)
    bar = (np.abs(along - 56) < 20) & (np.abs(across) < 4)
    table = vectorise(plant(tmp_path / "p.tif", bar * 0.9))
    assert table["length_m"].item() == pytest.approx(40 * PIXEL_M, rel=0.06)


def test_what_is_below_the_unit_goes_and_what_reaches_it_stays(tmp_path):
    mask = np.zeros((40, 40))
    mask[5:25, 5:25] = 1
    mask[8:10, 8:10] = 0  # a hole of 4 pixels
    mask[15:18, 15:18] = 0  # a hole of 9 pixels
    mask[30:33, 30:33] = 1  # a patch of 9 pixels
    mask[30:32, 5:9] = 1  # a patch of 8 pixels
    table = vectorise(plant(tmp_path / "p.tif", mask), minimum_area_m2=9 * PIXEL_M**2)
    expected = mask.copy()
    expected[8:10, 8:10] = 1
    expected[30:32, 5:9] = 0
    assert np.array_equal(rasterise(table, mask.shape), expected)
    assert table["area_m2"].tolist() == [391 * 4, 9 * 4]


def test_an_island_in_a_filled_hole_is_not_mapped_twice(tmp_path):
    mask = np.zeros((30, 30))
    mask[5:25, 5:25] = 1
    mask[10:15, 10:15] = 0
    mask[12, 12] = 1
    table = vectorise(plant(tmp_path / "p.tif", mask), minimum_area_m2=30 * PIXEL_M**2)
    assert table["area_m2"].tolist() == [400 * 4]


def test_ground_without_a_probability_is_not_mapped_and_a_small_void_is_filled_without_counting(tmp_path):
    probability = np.full((30, 30), 0.9)
    probability[:, 20:] = np.nan
    probability[10, 10] = np.nan
    path = plant(tmp_path / "p.tif", probability)
    table = vectorise(path, minimum_area_m2=20.0)
    assert table["area_m2"].tolist() == [600 * 4]
    assert table["mean_probability"].item() == pytest.approx(0.9)
    assert vectorise(path)["area_m2"].tolist() == [599 * 4]


@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_valid_and_go_back_to_exactly_their_pixels(tmp_path, seed):
    noise = np.random.default_rng(seed).random((31, 47))  # corners that touch, holes in holes
    table = vectorise(plant(tmp_path / "p.tif", noise))
    assert table.is_valid.all()
    assert np.array_equal(rasterise(table, noise.shape), noise.astype(np.float32) >= 0.5)
    ids, count = ndimage.label(noise.astype(np.float32) >= 0.5)
    assert len(table) == count
    means = ndimage.mean(noise, ids, range(1, count + 1))
    assert np.sort(table["mean_probability"]) == pytest.approx(np.sort(means), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_smoothing_leaves_valid_polygons_that_do_not_overlap_and_keep_the_unit(tmp_path, seed):
    path = plant(tmp_path / "p.tif", rough((90, 110), seed, blur_px=1.5))
    plain, smooth = vectorise(path, 40.0), vectorise(path, 40.0, simplify_px=1.5)
    assert smooth.is_valid.all()
    assert smooth["area_m2"].min() >= 40
    assert all(shapely.Polygon(hole).area >= 40 for shape in smooth.geometry for hole in shape.interiors)
    assert smooth.geometry.union_all().area == pytest.approx(smooth["area_m2"].sum())
    assert smooth.geometry.union_all().area == pytest.approx(plain["area_m2"].sum(), rel=0.05)
    assert shapely.get_num_coordinates(smooth.geometry).sum() < 0.6 * shapely.get_num_coordinates(plain.geometry).sum()


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_that_touch_do_not_come_to_overlap_when_they_are_smoothed(tmp_path, seed):
    table = vectorise(plant(tmp_path / "p.tif", rough((60, 60), seed, blur_px=0.6)), 0.0, simplify_px=3.0)
    assert table.is_valid.all()
    assert table.geometry.union_all().area == pytest.approx(table["area_m2"].sum(), rel=1e-9)


def test_order_is_north_to_south(tmp_path):
    table = vectorise(plant(tmp_path / "p.tif", rough((60, 60), 3)))
    norths = table.bounds["maxy"].to_numpy()
    assert (np.diff(norths) <= 0).all()
    assert table["id"].tolist() == list(range(1, len(table) + 1))


def test_strips_do_not_show(tmp_path, monkeypatch):
    field = rough((61, 50), 1)
    field[20:30, 20:22] = np.nan
    path = plant(tmp_path / "p.tif", field, 1 - field)
    whole = vectorise(path, 20.0)
    monkeypatch.setattr(polygons, "STRIP_ROWS", 7)
    striped = vectorise(path, 20.0)
    assert striped.geometry.equals(whole.geometry)
    for column in ("area_m2", "mean_probability", "mean_uncertainty"):
        assert striped[column].to_numpy() == pytest.approx(whole[column].to_numpy(), rel=1e-6)


def test_a_map_without_landslides_is_an_empty_table_that_can_be_written(tmp_path):
    table = vectorise(
        plant(tmp_path / "p.tif", np.full((9, 9), 0.2)), 10.0, 1.0, weights_sha256="abc", operating_point="best_iou"
    )
    vector.write(tmp_path / "landslides.gpkg", table)
    back = vector.read(tmp_path / "landslides.gpkg")
    assert len(back) == 0
    assert list(back.columns) == list(table.columns)
    assert back["mean_probability"].dtype == np.float64


def test_equal_maps_are_equal_bytes_also_on_a_grid_without_an_epsg_code(tmp_path):
    for name in ("a", "b"):
        path = plant(tmp_path / name / "probability.tif", rough((40, 40), 2), crs=MARS)
        vector.write(tmp_path / name / "landslides.gpkg", vectorise(path, 20.0, 1.0, input_sha256="1f"))
    assert (tmp_path / "a/landslides.gpkg").read_bytes() == (tmp_path / "b/landslides.gpkg").read_bytes()
    assert "Mars" in vector.read(tmp_path / "a/landslides.gpkg").crs.to_wkt()


def test_a_planted_slope_gives_its_dip_direction_and_relief(tmp_path):
    """A plane that falls 1 m in 4 towards the south-west, 20 m wide and 12 m high."""
    probability = np.full((40, 50), 0.1)
    probability[10:16, 5:15] = 0.8
    drop = np.arctan(0.25)
    down = np.array([-1.0, -1.0]) / np.sqrt(2)
    slope = np.full(probability.shape, np.degrees(drop))
    east, north = (np.full(probability.shape, np.sin(drop) * part) for part in down)
    rows, columns = np.indices(probability.shape)
    height = 100 + 0.25 * (columns - rows) * PIXEL_M / np.sqrt(2)
    height[10, 5] = np.nan
    grid = raster.Grid(probability.shape, AFFINE, "EPSG:32649")
    names = [raster.Band("slope", "deg"), raster.Band("n_east"), raster.Band("n_north")]
    cog.write(tmp_path / "t.tif", raster.Raster(np.stack([slope, east, north]).astype(np.float32), grid, tuple(names)))
    cog.write(
        tmp_path / "z.tif", raster.Raster(height[None].astype(np.float32), grid, (raster.Band("elevation", "m"),))
    )
    settings = outline_settings()
    (row,) = polygons.landslides(
        plant(tmp_path / "p.tif", probability), THRESHOLDS, settings, classes=["landslide"], provenance={},
        terrain=tmp_path / "t.tif", elevation=tmp_path / "z.tif",
    ).to_dict("records")  # fmt: skip
    assert row["mean_slope_deg"] == pytest.approx(np.degrees(drop), abs=1e-4)
    assert row["aspect_deg"] == pytest.approx(225.0, abs=1e-3)
    assert row["relief_m"] == pytest.approx(0.25 * (9 + 5) * PIXEL_M / np.sqrt(2), abs=1e-4)


def test_landslides_of_little_confidence_are_dropped(tmp_path):
    probability = np.full((40, 50), 0.1)
    probability[3:9, 5:15] = 0.6
    probability[20:26, 5:15] = 0.9
    path = plant(tmp_path / "p.tif", probability)
    assert vectorise(path)["mean_probability"].tolist() == pytest.approx([0.6, 0.9])
    assert vectorise(path, sure=0.7)["mean_probability"].tolist() == pytest.approx([0.9])
    assert vectorise(path, sure=0.7)["id"].tolist() == [1]


@pytest.mark.parametrize("blur_px", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("strip_rows", [1, 7, 16])
def test_outlines_joined_from_strips_equal_those_of_the_whole(tmp_path, monkeypatch, strip_rows, blur_px):
    """Patches with holes that touch their rim at a corner, patches across many strips: all as if read at once."""
    path = plant(tmp_path / "p.tif", rough((50, 41), seed=3, blur_px=blur_px))
    whole = vectorise(path, simplify_px=1.0, minimum_area_m2=8.0)
    corners = vectorise(path)
    monkeypatch.setattr(polygons, "STRIP_ROWS", strip_rows)
    assert vectorise(path, simplify_px=1.0, minimum_area_m2=8.0).to_wkb().equals(whole.to_wkb())
    assert vectorise(path).to_wkb().equals(corners.to_wkb())
    assert np.array_equal(rasterise(corners, (50, 41)), raster.read(path)["probability"] >= 0.5)


def test_memory_does_not_grow_with_the_scene(tmp_path, monkeypatch):
    """The same patches on ground eight times as long: nothing but strips may be held."""

    def peak(rows: int) -> int:
        probability = np.zeros((rows, 400))
        probability[10:30, 10:30] = probability[100:120, 50:90] = 1
        path = plant(tmp_path / f"{rows}.tif", probability)
        tracemalloc.start()
        assert len(vectorise(path)) == 2
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    monkeypatch.setattr(polygons, "STRIP_ROWS", 64)
    peak(128)  # what is imported and cached on first use
    assert peak(2048) < 1.2 * peak(256)


@pytest.mark.parametrize(("share", "reached"), [(0.5, True), (1.0, False)])
def test_the_stage_draws_at_the_operating_point_and_tells_what_nothing_reaches(
    tmp_path, monkeypatch, capsys, share, reached
):
    """Fold 1 has alarms up to 0.6, fold 2 up to 0.9: each is drawn at what the other one's map gives."""
    histogram = np.zeros((2, 2, counts.LEVELS), np.int64)
    histogram[0, :, 600], histogram[1, :, 900] = [4, 6], [3, 7]
    calibrated = counts.Counts(histogram, np.zeros((3, counts.LEVELS), np.int64))
    counts.write(tmp_path / "data/calibrate", calibrated)
    networks = np.arange(40).repeat(50).reshape(40, 50) // 20 + 1
    probability = np.where(networks == 1, 0.89, 0.61)
    plant(tmp_path / "data/predict/valley/probability.tif", probability, 1 - probability, networks=networks)
    write_json(tmp_path / "data/predict/valley/facts.json", examples.mapped())
    write_json(tmp_path / "data/ingest/valley/facts.json", examples.area(shape=[40, 50]))
    grid = raster.Grid((40, 50), AFFINE, "EPSG:32649")
    for name, bands in {
        "terrain/valley/terrain": ["slope", "n_east", "n_north"],
        "coregister/valley/dem": ["z"],
    }.items():
        values = np.ones((len(bands), 40, 50), np.float32)
        cog.write(tmp_path / f"data/{name}.tif", raster.Raster(values, grid, tuple(map(raster.Band, bands))))
    section = {"operating_point": {"precision": share}, "neck_frac": 0, "minimum_area_m2": 0, "simplify_px": 0}
    (tmp_path / "params.yaml").write_text(json.dumps({"outline": section | {"minimum_mean_probability": 0.0}}))
    monkeypatch.chdir(tmp_path)
    outline.main("valley")
    facts = read_json(Path("data/outline/valley/facts.json"), OutlineFacts)
    assert facts.operating_point == points.name_of(AtPrecision(share))
    assert facts.thresholds == points.chosen(calibrated, AtPrecision(share))[0]
    table = vector.read(Path("data/outline/valley/landslides.gpkg"))
    assert set(table["operating_point"]) == {facts.operating_point}
    mapped = probability.astype(np.float32) >= facts.thresholds.by_network[networks]
    assert np.array_equal(rasterise(table, (40, 50)), mapped)
    told = f"No threshold gives {facts.operating_point}"
    assert any(finding.startswith(told) for finding in facts.findings) is not reached
    assert (told in capsys.readouterr().out) is not reached
