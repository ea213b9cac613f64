"""Red is shown as red wherever it lies in the file, on every page."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from hpcl import sensors
from hpcl.core.dates import before
from hpcl.geo import cog, raster
from hpcl.qgis_project import ground
from hpcl.report.ground import shown

SENSORS = {
    "Sentinel-2": (10.0, ("B2", "B3", "B4", "B8")),
    "of a product": (20.0, ("SR_B02", "SR_B03", "SR_B04", "SR_B8A")),
    "Landsat 8": (30.0, ("B2", "B3", "B4", "B5")),
    "named": (0.5, ("blue", "green", "red", "nir")),
    "PlanetScope": (3.0, ("Blue", "Green", "Red", "NIR")),
}


@pytest.mark.parametrize("sensor", SENSORS)
def test_colours_are_found_whatever_their_order(sensor: str) -> None:
    pixel_m, names = SENSORS[sensor]
    blue, green, red, _ = names
    for order in permutations(names):
        assert sensors.shown(order, pixel_m) == [red, green, blue]


@pytest.mark.parametrize(
    ("names", "pixel_m", "wanted"),
    [
        (("green_i", "green", "red", "blue"), 3.0, ["red", "green", "blue"]),  # PlanetScope has two greens
        (("B4", "B3", "B2"), 1.0, ["B4", "B3", "B2"]),  # nobody's pixel: as they come
        (("B2", "B3", "B4", "thermal"), 10.0, ["B2", "B3", "B4"]),  # not all are that sensor's
        (("nir", "red", "green"), 10.0, ["nir", "red", "green"]),  # no blue: as they come
        (("B8",), 10.0, ["B8"]),
        (("pan", "swir"), 10.0, ["pan"]),
    ],
)
def test_what_is_not_known_is_shown_as_it_comes(names: tuple[str, ...], pixel_m: float, wanted: list[str]) -> None:
    assert sensors.shown(names, pixel_m) == wanted


@pytest.mark.parametrize("sensor", SENSORS)
def test_bands_of_an_earlier_image_stay_apart(sensor: str) -> None:
    pixel_m, names = SENSORS[sensor]
    blue, green, red, _ = names
    both = (*names, *map(before, names))
    assert sensors.shown(both, pixel_m) == [red, green, blue]
    assert sensors.shown(both, pixel_m, earlier=True) == [before(red), before(green), before(blue)]
    assert sensors.shown(names, pixel_m, earlier=True) == []


def test_report_and_qgis_ask_with_the_pixel_of_the_image(tmp_path: Path) -> None:
    for pixel_m, wanted in ((10.0, ["B4", "B3", "B2"]), (1.0, ["B3", "B8", "B4"])):
        grid = raster.Grid((16, 16), Affine(pixel_m, 0, 500000, 0, -pixel_m, 3950000), "EPSG:32648")
        bands = tuple(raster.Band(name) for name in ("B3", "B8", "B4", "B2"))
        path = tmp_path / f"{pixel_m}.tif"
        cog.write(path, raster.Raster(np.zeros((4, 16, 16), np.float32), grid, bands))
        with raster.Source(path) as image:
            assert shown(image) == wanted
            drawn = ground.image(image)
            numbers = [1 + [band.name for band in bands].index(name) for name in wanted]
            assert 'redBand="{}" greenBand="{}" blueBand="{}"'.format(*numbers) in drawn
