"""An export opened by other programs gives the pipeline's own probabilities and polygons: onnxruntime, pystac, pyarrow and QGIS."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import exported
import numpy as np
import open_export
import pytest
from affine import Affine
from rasterio.windows import Window
from test_export import NAMES, PX, SETTINGS, ensemble, exported_of

from hpcl.export import check, stack
from hpcl.export.content import Content
from hpcl.geo import cog, raster, vector
from hpcl.networks.ensemble import Ensemble
from hpcl.raster_scene import RasterScene

AREA = "Val d 1"
SHAPE, PIXEL_M = (2 * PX, 3 * PX), 2.0
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
"""Of the system, where QGIS puts its modules."""


@dataclass(frozen=True)
class Planted:
    """A project with an export, the networks that it came from, and what the pipeline finds of its windows."""

    folder: Path
    expected: np.ndarray
    """Probability of the whole area, mapped in windows side by side."""


def scene_of(project: Path, model: Ensemble, grid: raster.Grid) -> list[Path]:
    """The rasters that hold the bands of an area; some are missing in places."""
    values = np.random.default_rng(3).normal(12, 4, (len(NAMES), *SHAPE)).astype(np.float32)
    values[0, 5:20, 5:20] = np.nan
    values[2:, 30:50, 20:60] = np.nan
    paths = [project / f"data/ingest/{AREA}/image.tif", project / f"data/terrain/{AREA}/terrain.tif"]
    for path, part, names in zip(paths, (values[:2], values[2:]), (NAMES[:2], NAMES[2:]), strict=True):
        cog.write(path, raster.Raster(part, grid, tuple(map(raster.Band, names))))
    return paths


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    project = tmp_path_factory.mktemp("project")
    model = ensemble()
    grid = raster.Grid(SHAPE, Affine(PIXEL_M, 0, 500_000, 0, -PIXEL_M, 4_000_000), "EPSG:32648")
    rasters = scene_of(project, model, grid)
    expected = np.empty(SHAPE, np.float32)
    with RasterScene(AREA, rasters, model, "refuse") as scene:
        places = [(slice(top, top + PX), slice(left, left + PX)) for top in (0, PX) for left in (0, PX, 2 * PX)]
        ours = check.pipeline(scene, np.stack([scene.read(place) for place in places]), model, SETTINGS)["landslide"]
    for place, window in zip(places, ours[:, 0], strict=True):
        expected[place] = np.where(window < 0, np.nan, window)
    area = exported.area(project, AREA)
    layers = np.stack([expected, np.zeros_like(expected)])
    cog.write(project / f"data/predict/{AREA}/probability.tif", raster.Raster(layers, grid, tuple(area.bands)))
    folder = project / exported.FOLDER
    vrt = stack.vrt(folder / AREA / "bands.vrt", rasters, model.facts.band_names)
    files = {
        **area.files,
        "probability.tif": Content(project / f"data/predict/{AREA}/probability.tif"),
        "bands.vrt": Content(vrt),
    }
    facts = exported.model_facts({AREA: "UTM"}, bands=model.facts.bands, window_px=PX)
    links = exported.links_of([AREA])
    of_area = type(area)(facts=area.facts, grid=grid, bands=area.bands, files=files)
    for name, content in exported.contents(facts, [of_area], links, exported_of(model)).items():
        content.write(folder / name)
    return Planted(folder, expected)


def test_onnxruntime_finds_the_pipelines_probabilities(planted: Planted) -> None:
    """In windows that the pipeline mapped alone, so that nothing is blended."""
    places = [Window(left, top, PX, PX) for top in (0, PX) for left in (0, PX, 2 * PX)]
    found = open_export.probabilities(planted.folder / "model.onnx", planted.folder / AREA / "bands.vrt", places)
    for place, window in zip(places, found, strict=True):
        np.testing.assert_allclose(window, planted.expected[place.toslices()], atol=1e-5)
    assert np.isnan(found).any()


def test_the_script_finds_polygons_and_hashes(planted: Planted) -> None:
    told = open_export.opened(planted.folder)[f"Landslides of {AREA}"]
    polygons = vector.read(planted.folder / AREA / "landslides.gpkg")
    assert told["polygons"] == len(polygons) == 2
    assert told["area_m2"] == pytest.approx(polygons.area.sum())
    assert told["geo_bbox"] == pytest.approx(list(polygons.total_bounds))
    assert told["windows"] == open_export.WINDOWS
    assert told["pixels"] > 10_000
    assert -1 <= told["correlation"] <= 1


def test_a_file_that_is_not_the_catalogues_is_noticed(planted: Planted, tmp_path: Path) -> None:
    shutil.copytree(planted.folder, tmp_path / "export")
    (tmp_path / "export" / AREA / "landslides.gpkg").write_bytes(b"x")
    with pytest.raises(AssertionError, match=r"landslides\.gpkg"):
        open_export.opened(tmp_path / "export")


def test_qgis_reads_the_same_numbers(planted: Planted) -> None:
    if (
        PYTHON is None
        or subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no python of this system has QGIS (Debian's package python3-qgis)")
    row, column = 70, 100
    script = Path(__file__).with_name("export_in_qgis.py")
    told = subprocess.run(
        [PYTHON, script, planted.folder / AREA, str(row), str(column)],
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(planted.folder.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["probability.tif"]["size"] == list(SHAPE)
    assert found["probability.tif"]["pixel"][0] == pytest.approx(float(planted.expected[row, column]), abs=1e-6)
    stacked = raster.read(planted.folder / AREA / "bands.vrt")
    assert found["bands.vrt"]["pixel"] == pytest.approx(stacked.values[:, row, column].tolist(), abs=1e-5)
    polygons = vector.read(planted.folder / AREA / "landslides.gpkg")
    assert found["landslides.gpkg"]["polygons"] == len(polygons)
    assert found["landslides.gpkg"]["area_m2"] == pytest.approx(polygons.area.sum())
    assert found["landslides.gpkg"]["weights"] == ["12" * 32]
