"""At every scale the parameters that make no sense are named, those that do are not, and the advice is good advice."""

import json
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from test_dvc_yaml import ROOT, read_yaml

from hpcl import scale
from hpcl.core import records
from hpcl.core.artifacts import write_json
from hpcl.geo import cog, raster
from hpcl.report import facts
from hpcl.report.findings import findings
from hpcl.scale import Sizes
from hpcl.tiles.area import Area
from stages import terrain


def shipped(**over: Any) -> dict[str, Any]:
    """The parameters of the project by name, some of them changed."""
    document = read_yaml(ROOT / "params.yaml")
    sections = [document[s] for s in ("ingest", "coregister", "terrain", "tile", "model", "outline", "evaluate")]
    values: dict[str, Any] = {}
    for section in sections:
        values |= section
    return values | over


def told(sizes: Sizes, **over: Any) -> dict[str, str]:
    """The sentence on each parameter that is named."""

    def some(*names: str) -> dict[str, Any]:
        return {name: shipped(**over)[name] for name in names}

    sentences = [
        *scale.ingest(sizes, **some("dem_margin_px")),
        *scale.coregister(sizes, **some("maximum_shift_px"), on_reference=bool(over.get("on_reference"))),
        *scale.terrain(sizes, **some("smoothing_m", "relief_radii_m", "roughness_radius_m")),
        *scale.tile(sizes, **some("window_px", "stride_px", "block_px", "gap_px")),
        *scale.outline(sizes, **some("minimum_area_m2", "simplify_px")),
        *scale.evaluate(sizes, **some("object_minimum_area_m2", "object_size_edges_m2", "boundary_px")),
    ]
    names = [sentence.split(" ")[0].rstrip(":").rpartition(".")[2] for sentence in sentences]
    assert len(set(names)) == len(names), "one sentence for each parameter"
    assert all(sentence.endswith(".") for sentence in sentences)
    return dict(zip(names, sentences, strict=True))


def lognormal(low: float, median: float, high: float) -> tuple[float, ...]:
    """Areas with these quantiles (5, 50, 95 %)."""
    z = np.linspace(-1.645, 1.645, 91)
    spread = np.where(z < 0, np.log(median / low), np.log(high / median)) / 1.645
    return tuple(median * np.exp(spread * z))


NEWCOMER = Sizes((2328, 2787), 10.0, 28.55, lognormal(92, 920, 9400))
DRONE = Sizes((6000, 8000), 0.1, 0.1, lognormal(50, 800, 9000))
MARS = Sizes((1664, 1920), 232.0, 232.0, lognormal(1.3e7, 1.6e8, 8e9))
DEMO = Sizes((1030, 1190), 2.0, 5.0, lognormal(7969, 12582, 35004))
LANDSAT = Sizes((4000, 4000), 30.0, 30.0, lognormal(5000, 40000, 500000))

FIT = {  # parameters that a careful user of each ground would have
    "mars": {
        "smoothing_m": 440.0, "relief_radii_m": (2200.0, 22000.0), "roughness_radius_m": 1100.0, "minimum_area_m2": 2e5,
        "object_minimum_area_m2": 2e5, "object_size_edges_m2": (1e8, 1e9),
    },
    "drone": {
        "smoothing_m": 0.5, "window_px": 512, "block_px": 1024, "relief_radii_m": (2.0, 20.0), "roughness_radius_m": 1.0,
        "minimum_area_m2": 10.0, "object_minimum_area_m2": 10.0, "object_size_edges_m2": (300.0, 2000.0),
    },
    "landsat": {
        "smoothing_m": 30.0, "relief_radii_m": (100.0, 400.0), "roughness_radius_m": 90.0, "minimum_area_m2": 3600.0,
        "object_minimum_area_m2": 3600.0, "boundary_px": 1, "object_size_edges_m2": (20000.0, 100000.0),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "over"),
    [
        (DEMO, {}),
        (Sizes((6000, 6000), 2.0, 10.0, lognormal(1500, 9000, 90000)), {}),
        (Sizes((6000, 6000), 0.5, 0.5, lognormal(500, 1900, 30000)), {}),
        (Sizes((4000, 4000), 10.0, 1.0, lognormal(5000, 40000, 500000)), {}),
        (Sizes((900, 700), 2.0, 5.0), {}),  # no inventory
        (MARS, FIT["mars"]),
        (DRONE, FIT["drone"]),
        (LANDSAT, FIT["landsat"]),
        (NEWCOMER, {"smoothing_m": 0.0, "relief_radii_m": (100.0, 400.0), "roughness_radius_m": 90.0, "simplify_px": 0.5,
                    "boundary_px": 1, "object_minimum_area_m2": 0.0, "minimum_area_m2": 0.0}),
    ],
)  # fmt: skip
def test_what_fits_is_not_named(sizes: Sizes, over: dict[str, Any]) -> None:
    found = told(sizes, **over)
    if sizes is NEWCOMER:  # no boundary can be judged where half of the landslides are 3 pixels wide
        assert found.pop("boundary_px").endswith("do not read Boundary IoU.")
    assert found == {}


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        (NEWCOMER, {"smoothing_m", "relief_radii_m", "roughness_radius_m", "simplify_px", "boundary_px"}),
        (DRONE, {"smoothing_m", "window_px", "block_px"}),
        (LANDSAT, {"smoothing_m", "relief_radii_m", "roughness_radius_m", "minimum_area_m2", "object_minimum_area_m2",
                   "boundary_px"}),
        (MARS, {"smoothing_m", "relief_radii_m", "roughness_radius_m", "minimum_area_m2", "object_minimum_area_m2",
                "object_size_edges_m2"}),
        (Sizes((6000, 6000), 0.1, 10.0, lognormal(50, 800, 9000)), {"window_px", "block_px", "gap_px"}),
        (Sizes((6000, 6000), 1.0, 12.5, lognormal(1500, 9000, 90000)), {"smoothing_m", "roughness_radius_m"}),
        (Sizes((90, 110), 2.0, 5.0), {"relief_radii_m", "window_px"}),
    ],
)  # fmt: skip
def test_shipped_numbers_on_other_ground_are_named(sizes: Sizes, names: set[str]) -> None:
    assert set(told(sizes)) == names


def test_both_figures_and_the_remedy_are_in_the_sentence() -> None:
    found = told(NEWCOMER)
    assert found["smoothing_m"] == (
        "terrain.smoothing_m of 6 m is 0.21 DEM pixels (of 28.55 m) and smooths next to nothing; take about 30 m, or 0 for none."
    )
    assert "relief_30m looks 1.1 DEM pixels (of 28.55 m) around" in found["relief_radii_m"]
    assert "relief_120m" not in found["relief_radii_m"]
    assert "(34.23 m)" in found["boundary_px"], 2 * np.sqrt(920 / np.pi)
    assert "0.2 image pixels (of 30 m)" in told(Sizes((4000, 4000), 30.0, 1.0))["smoothing_m"]


@pytest.mark.parametrize("pixel_m", [0.05, 0.1, 0.5, 2.0, 10.0, 30.0, 232.0])
@pytest.mark.parametrize("ratio", [0.1, 0.7, 1.0, 2.855, 4.4, 9.9, 15.0])
def test_what_is_proposed_is_not_named(pixel_m: float, ratio: float) -> None:
    sizes = Sizes((4000, 5000), pixel_m, ratio * pixel_m)
    fits = {
        "smoothing_m": scale.fitting_smoothing_m(sizes),
        "relief_radii_m": scale.fitting_relief_radii_m(sizes),
        "roughness_radius_m": scale.fitting_roughness_radius_m(sizes),
    }
    assert not scale.terrain(sizes, **fits)


@pytest.mark.parametrize("pixel_m", [0.1, 2.0, 30.0])
@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("stride_px", {"stride_px": 129}),
        ("gap_px", {"gap_px": 0}),
        ("gap_px", {"gap_px": 76}),
        ("dem_margin_px", {"dem_margin_px": 2}),
        ("maximum_shift_px", {"maximum_shift_px": 501}),
    ],
)
def test_pixels_that_are_wrong_at_any_scale(name: str, over: dict[str, Any], pixel_m: float) -> None:
    sizes = Sizes((2000, 3000), pixel_m, pixel_m)
    assert name in told(sizes, **over)
    assert name not in told(sizes)


@pytest.mark.parametrize(("pixel_m", "smoothing_m"), [(0.1, 40.0), (2.0, 700.0), (232.0, 80_000.0)])
def test_smoothing_over_the_whole_image_is_refused(pixel_m: float, smoothing_m: float) -> None:
    with pytest.raises(scale.ScaleError, match=r"smoothing_m .* blurs"):
        told(Sizes((2000, 3000), pixel_m, pixel_m), smoothing_m=smoothing_m)


@pytest.mark.parametrize(("stride", "named"), [(8, True), (4, False), (16, True)])
def test_hyper_pixels_are_compared_with_what_was_drawn(stride: int, named: bool) -> None:
    labelled_px = np.array([0, 0, 3, 20, 63, 64, 250, 400])  # of six drawn: 2, 3 and 5 below 16, 64 and 256
    sentences = scale.hyper_pixels(10.0, np.append(labelled_px, 63), output_stride=stride)
    assert bool(sentences) == named
    if stride == 8:
        assert "hyper-pixels of 80 m, and 4 of 7 drawn landslides (57%)" in sentences[0]


def area(root: Path, pixel_m: float, dem_pixel_m: float, shapes: list[Any]) -> None:
    """What ingest and coregister leave of an area of 64 x 96 pixels, as far as it is read here."""
    grid = raster.Grid((64, 96), Affine(pixel_m, 0, 5e5, 0, -pixel_m, 4e6), "EPSG:32648")
    folder = root / "data" / "ingest" / "valley"
    cog.write(folder / "image.tif", raster.Raster(np.ones((1, 64, 96), np.float32), grid, (raster.Band("red"),)))
    write_json(folder / "facts.json", examples.area(shape=[64, 96], pixel_m=pixel_m, dem_pixel_m=dem_pixel_m))
    table = gpd.GeoDataFrame({"id": range(1, len(shapes) + 1)}, geometry=shapes, crs=grid.crs.proj)
    table.assign(area_m2=table.area).to_file(folder / "landslides.gpkg")
    ground = root / "data" / "coregister" / "valley"
    z = np.random.default_rng(0).normal(size=(1, 64, 96)).astype(np.float32)
    cog.write(ground / "dem.tif", raster.Raster(z, grid, (raster.Band("elevation", "m"),)))
    write_json(ground / "shift.json", examples.shift(dem_pixel_m=dem_pixel_m))


@pytest.mark.parametrize("pixel_m", [0.1, 10.0, 232.0])
def test_counts_tell_what_is_seen(pixel_m: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the centres of all pixels, asked one by one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    at, radius = rng.uniform((-2, -2), (98, 66), (60, 2)), rng.uniform(0.1, 4, 60)
    shapes = [
        shapely.Point(5e5 + x * pixel_m, 4e6 - y * pixel_m).buffer(r * pixel_m)
        for (x, y), r in zip(at, radius, strict=True)
    ]
    image = shapely.box(5e5, 4e6 - 64 * pixel_m, 5e5 + 96 * pixel_m, 4e6)
    shapes = [shape for shape in shapes if shape.intersects(image)]
    area(tmp_path, pixel_m, 3 * pixel_m, shapes)
    labels = np.ones((64, 96), np.uint8)
    labels[:, 70:] = 255
    rows, columns = np.indices(labels.shape) + 0.5
    centres = shapely.points(5e5 + columns * pixel_m, 4e6 - rows * pixel_m)
    inside = np.array([shapely.contains(shape, centres) for shape in shapes])
    found = Area("valley").seen(labels)
    np.testing.assert_array_equal(found["pixels"], inside.sum((1, 2)))
    np.testing.assert_array_equal(found["labelled_px"], (inside & (labels == 1)).sum((1, 2)))
    none, few = (inside.sum((1, 2)) == 0).sum(), ((found["labelled_px"] > 0) & (found["labelled_px"] < 4)).sum()
    apart = ((found["pixels"] > 0) & (found["labelled_px"] == 0)).sum()
    assert min(none, few, apart) > 1
    (sentence,) = scale.seen(Area("valley").sizes(), *found[["pixels", "labelled_px"]].to_numpy().T)
    assert sentence.startswith(
        f"Of {len(shapes)} polygons {none} hold no pixel (of {pixel_m:g} m) and {few} hold fewer than 4"
    )
    assert f"; {apart} lie on ground without labels" in sentence


def test_landslides_that_are_seen_are_not_named() -> None:
    pixels = np.full(100, 300)
    assert scale.seen(DEMO, pixels, pixels) == []


def test_terrain_keeps_the_dems_own_pixel_in_mind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """On the image's grid every DEM has the image's pixel."""
    monkeypatch.chdir(tmp_path)
    area(tmp_path, 5.0, 28.55, [shapely.box(5e5, 4e6 - 50, 5e5 + 50, 4e6)])
    (tmp_path / "params.yaml").write_text(json.dumps({"terrain": read_yaml(ROOT / "params.yaml")["terrain"]}))
    terrain.main("valley")
    findings = json.loads((tmp_path / "data/terrain/valley/facts.json").read_text())["findings"]
    sizes = Sizes((64, 96), 5.0, 28.55)
    assert findings == scale.terrain(sizes, smoothing_m=6.0, relief_radii_m=(30.0, 120.0), roughness_radius_m=15.0)
    assert len(findings) == 3
    assert findings[0] in capsys.readouterr().out


def test_the_report_lists_what_each_stage_found_by_area() -> None:
    place = facts.Area(
        "place", examples.area(), examples.shift(findings=["shift"]), examples.terrain(findings=("smooth",)), examples.mapped(),
        examples.outlined(findings=["polygon"]), examples.attention(), examples.tiled_area(findings=["window"]), None,
    )  # fmt: skip
    none: Any = {}
    report = facts.Report(
        areas=[place], figures={}, tiles=examples.tiles({}, findings=["poor fold"]), models=[], baselines=none,
        calibration=records.CalibrationFacts(areas=["place"], objects=3, findings=["no tell"]),
        training=examples.training(findings={"place": ["stride"]}), metrics=examples.metrics(findings={"place": ["band"]}),
        audit=examples.audit(findings=["blind"]),
        objects=none, blocks=none, ablation=none, budget=none,
    )  # fmt: skip
    assert [found[1:] for found in findings(report)] == [
        ("coregister", "Accepted: Moved."), ("coregister", "shift"), ("terrain", "smooth"), ("tile", "window"),
        ("train", "stride"), ("outline", "polygon"), ("evaluate", "band"), ("tile", "poor fold"), ("calibrate", "no tell"),
        ("audit", "blind"),
    ]  # fmt: skip
