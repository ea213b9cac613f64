"""Two dates from raw files to scores: new landslides that were planted between them are found, and old ones are not called new."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from in_process import scored, working_in
from test_dvc_yaml import merged, tiny_params, write_yaml

from hpcl.core.codes import OUTSIDE
from hpcl.core.records import FoldedArea
from hpcl.geo import raster
from hpcl.metrics import classes
from hpcl.metrics.records import ClassScores
from hpcl.metrics.tally import Scene
from hpcl.report import results
from hpcl.report.ground import ground, images, shown
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.report import ReportSettings
from stages import check, synthesize
from stages._stage import params

pytestmark = pytest.mark.xdist_group("pipeline")
AREA = "synthetic_north"
COLOURS = ["red", "green", "blue", "nir"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The recipe of docs/change.md at a tiny size; the folder of this process."""
    folder = tmp_path_factory.mktemp("change")
    params = merged(
        copy.deepcopy(tiny_params()),  # which is one for all tests
        {
            "synthesize": {
                "landslide_frac": 0.12,
                "landslide_length_m": [60.0, 120.0],
            },
            "train": {"steps_per_epoch": 75, "batch_size": 8},
            "inference": {"overlap_frac": 0.0},
            "evaluate": {"resamples": 200},
        },
    )
    planted = {"new_frac": 0.5, "shift_east_m": 5.3, "shift_north_m": -4.1}
    params["synthesize"]["areas"][AREA]["before"] = planted
    dates = {"before": [f"{colour}_before" for colour in COLOURS], "after": COLOURS}
    params["model"]["branches"] = dates | {"terrain": params["model"]["branches"]["terrain"]}
    write_yaml(folder / "params.yaml", params)
    with working_in(folder):
        check.main()
        synthesize.main(AREA)
        scored(AREA)
        yield folder


def test_the_dates_are_laid_on_each_other_and_that_is_said(project: Path) -> None:
    findings = json.loads((project / "data" / "ingest" / AREA / "facts.json").read_text())["findings"]
    (said,) = [finding for finding in findings if finding.startswith("optical_before.tif")]
    assert said.startswith("optical_before.tif was moved onto optical.tif: 6.")


def test_bands_of_both_dates_are_jittered_as_images(project: Path) -> None:
    bands = json.loads((project / "data" / "tiles" / "facts.json").read_text())["bands"]
    assert {band["name"] for band in bands if band["kind"] == "image"} == {*COLOURS, *(f"{c}_before" for c in COLOURS)}


def test_new_landslides_are_found_and_old_ones_are_not_called_new(project: Path) -> None:
    scores = json.loads((project / "reports" / "evaluate" / "metrics.json").read_text())["classes"]
    of = {row["name"]: row for row in scores}
    print(json.dumps(of, indent=1))
    low, high = of["new"]["iou_interval"]
    assert low < of["new"]["iou"] < high
    assert of["new"]["iou"] > 0.25
    assert of["new"]["found"] >= 0.4 * of["new"]["objects"] > 3
    assert of["new"]["mapped_as"]["new"] > 0.4
    assert of["old"]["mapped_as"]["new"] < 0.1


def test_the_report_shows_each_class_by_itself() -> None:
    shares = {"background": 0.3, "new": 0.01, "old": 0.69}
    row = ClassScores(name="old", iou=0.5, iou_interval=(0.4, 0.6), objects=9, found=7, mapped_as=shares)
    table = results._by_class([row])
    for said in ("its ground: as new", "0.500 [0.400, 0.600]", "7 of 9", "1.0"):
        assert said in table
    assert results._by_class([]) == ""


def test_classes_are_counted_as_by_hand() -> None:
    """Two blocks side by side, of which the right one holds a landslide of class 2 that is mapped as class 1, and one that is right."""
    labels, mapped, numbers = (np.zeros((4, 8), np.uint8) for _ in range(3))
    labels[:2, :4], mapped[:2, :3], numbers[:2, :4] = 1, 1, 1
    labels[0:2, 4:6], mapped[0:2, 4:6], numbers[0:2, 4:6] = 2, 1, 2
    labels[2:4, 6:8], mapped[2:4, 6:8], numbers[2:4, 6:8] = 2, 2, 3
    labels[3, 0], mapped[3, 1] = 255, 255
    area = FoldedArea(
        crs="EPSG:32648", transform=[1, 0, 0, 0, -1, 0], shape=[4, 8], pixel_m=1, dem_pixel_m=1, tops=[0], lefts=[0, 4],
        folds=[0, 1],
    )  # fmt: skip
    settings = EvaluateSettings(
        resamples=50, confidence_frac=0.9, seed=0, object_found_frac=0.75, object_minimum_area_m2=2.0,
        object_size_edges_m2=(), boundary_px=1, calibration_bins=2,
    )  # fmt: skip
    counted = classes.count(Scene(labels, area), lambda rows: mapped[rows], lambda rows: numbers[rows], 2, settings)
    assert counted.confusion.sum() == 31
    one, two = classes.scores([counted], ["one", "two"], settings)
    assert (one.iou, one.objects, one.found) == (pytest.approx(6 / 12), 1, 1)
    assert (two.iou, two.objects, two.found) == (pytest.approx(4 / 8), 2, 1)
    assert two.mapped_as == {"background": 0, "one": 0.5, "two": 0.5}
    area = FoldedArea(**{**vars(area), "folds": [0, OUTSIDE]})
    counted = classes.count(Scene(labels, area), lambda rows: mapped[rows], lambda rows: numbers[rows], 2, settings)
    assert counted.objects.shape == (1, 3, 2)
    assert counted.objects.sum() == 2


def test_the_report_shows_both_dates(project: Path) -> None:
    settings = params("report", ReportSettings)
    with raster.Source(project / "data" / "ingest" / AREA / "image.tif") as image:
        assert shown(image) == ["red", "green", "blue"]
        assert shown(image, earlier=True) == ["red_before", "green_before", "blue_before"]
    drawn = images(ground(AREA, settings, inventory=False, mapped=False), settings)
    seen = {kind: figure.axes[0].images[0].get_array() for kind, figure in drawn.items()}
    assert set(seen) == {"image", "image_before"}
    assert np.abs(seen["image"] - seen["image_before"]).max() > 0.1
