"""QGIS styles: well-formed, with every colour and class in its place."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from hpcl import qgis
from hpcl.inference.predict import Part


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
def test_class_codes_follow_threshold_and_class(threshold: float) -> None:
    from stages.predict import NO_DATA, _codes

    classes = np.array([[[0.1, 0.4, 0.3, np.nan]], [[0.3, 0.1, 0.4, np.nan]]], np.float32)
    part = Part((slice(0, 1), slice(0, classes.shape[-1])), classes.sum(0), classes.sum(0), classes)
    expected = {0.3: [[2, 1, 2, NO_DATA]], 0.6: [[0, 0, 2, NO_DATA]]}[threshold]
    assert _codes(part, threshold).tolist() == expected
