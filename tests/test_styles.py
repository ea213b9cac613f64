"""QGIS styles: well-formed, with every colour and class in its place."""

import xml.etree.ElementTree as ET
from pathlib import Path

import examples
import numpy as np
import pytest
import rasterio
from affine import Affine

from hpcl import qgis
from hpcl.core.codes import NO_NETWORK, UNMAPPED
from hpcl.geo import cog, raster
from hpcl.outline import class_map


def test_probability_runs_from_0_to_1() -> None:
    items = ET.fromstring(qgis.probability()).findall(".//colorrampshader/item")
    values = [float(item.attrib["value"]) for item in items]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 1.0)


def test_every_class_has_its_code_and_background_is_clear() -> None:
    names = ["old", "new", 'a <"&> b']
    entries = ET.fromstring(qgis.classes(names)).findall(".//colorPalette/paletteEntry")
    assert [(int(e.attrib["value"]), e.attrib["label"]) for e in entries] == list(enumerate(["background", *names]))
    assert [e.attrib["alpha"] for e in entries] == ["0", "255", "255", "255"]
    assert len({e.attrib["color"] for e in entries}) == 4


def test_more_classes_than_colours_still_have_one() -> None:
    names = [f"c{i}" for i in range(12)]
    assert len(ET.fromstring(qgis.classes(names)).findall(".//colorPalette/paletteEntry")) == 13


def test_polygons_are_outlines() -> None:
    options = ET.fromstring(qgis.landslides()).findall(".//layer/Option/Option")
    assert {"style": "no"}.items() <= {o.attrib["name"]: o.attrib["value"] for o in options}.items()


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_class_codes_follow_threshold_and_class(threshold: float, tmp_path: Path) -> None:
    classes = np.array([[[0.1, 0.4, 0.3, np.nan]], [[0.3, 0.1, 0.4, np.nan]]], np.float32)
    grid = raster.Grid((1, 4), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    bands = tuple(raster.Band(name) for name in ("probability", "uncertainty", "probability_old", "probability_new"))
    layers = np.stack([classes.sum(0), classes.sum(0), *classes])
    cog.write(tmp_path / "probability.tif", raster.Raster(layers, grid, bands))
    networks = np.array([[[1, 1, 1, NO_NETWORK]]], np.uint8)
    with cog.create(tmp_path / "network.tif", grid, [raster.Band("network")], "uint8", NO_NETWORK) as sink:
        sink.write(networks, (slice(0, 1), slice(0, 4)))
    thresholds = examples.thresholds(threshold, 0.9)
    class_map.write(tmp_path / "probability.tif", tmp_path / "class.tif", ["old", "new"], thresholds)
    expected = {0.3: [[2, 1, 2, UNMAPPED]], 0.6: [[0, 0, 2, UNMAPPED]]}[threshold]
    with rasterio.open(tmp_path / "class.tif") as file:
        assert file.read(1).tolist() == expected
        assert file.nodata == UNMAPPED
