"""Three classes and three branches from raw files to scores, and an area that lacks one branch's only band."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from in_process import scored, working_in
from rasterio.features import rasterize
from scipy import ndimage
from test_dvc_yaml import merged, tiny_params, write_yaml

from hpcl.networks import store
from stages import _stage, ingest, predict, synthesize

pytestmark = pytest.mark.xdist_group("pipeline")


def configure(project: Path, missing_bands: str = "refuse") -> None:
    params = merged(
        tiny_params(),
        {
            "areas": ["place"],
            "train": {"steps_per_epoch": 4, "batch_size": 4},
            "inference": {"overlap_frac": 0.0, "missing_bands": missing_bands},
        },
    )
    model = params["model"]
    write_yaml(
        project / "params.yaml",
        params | {"model": model | {"branches": model["branches"] | {"thermal": ["thermal"]}}},
    )


def equip(raw: Path) -> None:
    """Landslides alternately `old` and `new` from west to east (so that there are both to train on), and a thermal image
    in which they are warmer by 1."""
    slides = gpd.read_file(raw / "landslides.gpkg")
    slides = slides.iloc[slides.bounds["minx"].argsort()].assign(**{"class": np.resize(["old", "new"], len(slides))})
    slides.to_file(raw / "landslides.gpkg")
    with rasterio.open(raw / "optical.tif") as optical:
        profile = optical.profile | {"count": 1, "dtype": "float32", "nodata": np.nan, "photometric": "minisblack"}
        warm = rasterize(slides.geometry, optical.shape, transform=optical.transform).astype(np.float32)
        warm += 5 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=optical.shape), 10)
    with rasterio.open(raw / "thermal.tif", "w", **profile) as thermal:
        thermal.write(warm, 1)
        thermal.set_band_description(1, "thermal")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The pipeline on `place`, and `bare`, the same ground without its thermal image, as far as its terrain; the folder of this
    process."""
    folder = tmp_path_factory.mktemp("project")
    configure(folder)
    with working_in(folder):
        made(folder)
        yield folder


def made(folder: Path) -> None:
    synthesize.main("synthetic_north")
    raw = folder / "data" / "raw"
    (raw / "synthetic_north").rename(raw / "place")
    equip(raw / "place")
    shutil.copytree(raw / "place", raw / "bare")
    (raw / "bare" / "thermal.tif").unlink()
    scored("place")
    ingest.main("bare")
    for name in ("coregister", "terrain"):  # of the same DEM
        shutil.copytree(folder / "data" / name / "place", folder / "data" / name / "bare")


def test_the_model_knows_two_classes_besides_background_and_has_three_encoders(project: Path) -> None:
    trained = store.load(project / "data" / "model" / "1")
    assert trained.facts.classes == ["new", "old"]
    assert trained.network.classes == 3
    assert list(trained.network.layers()) == ["optical", "terrain", "thermal", "fused"]
    assert trained.network.settings.branches["thermal"] == ("thermal",)


def test_contrast_has_a_queue_for_each_of_three_classes(project: Path) -> None:
    """Facts of the queues are told only when each of them holds keys."""
    curves = pd.read_csv(project / "reports" / "train" / "curves.csv")
    assert np.isfinite(curves[["loss", "contrast_loss", "held_loss"]]).all(axis=None)
    assert np.isfinite(curves["separation"]).any()  # of four steps not every fold's show both classes
    assert (curves["contrast_loss"] > 0).all()
    assert curves["queue_fill_frac"].between(0, 1, inclusive="right").all()


def test_the_probabilities_of_the_classes_make_that_of_landslide(project: Path) -> None:
    with rasterio.open(project / "data" / "predict" / "place" / "probability.tif") as source:
        bands = dict(zip(source.descriptions, source.read(masked=True).filled(np.nan), strict=True))
    assert list(bands) == ["probability", "uncertainty", "probability_new", "probability_old"]
    assert np.isfinite(bands["probability"]).mean() > 0.9
    np.testing.assert_allclose(bands["probability_old"] + bands["probability_new"], bands["probability"], atol=1e-5)
    assert np.nanstd(bands["probability_old"] - bands["probability_new"]) > 0


def test_scores_are_of_landslide_against_the_rest(project: Path) -> None:
    scores = json.loads((project / "reports" / "evaluate" / "metrics.json").read_text())
    for name in ("hpcl_net", "polygons", "slope_threshold", "pixel_classifier"):
        assert 0 <= scores[name]["landslide_iou"] <= 1
    labels = np.load(project / "data" / "tiles" / "place.labels.npy")
    assert set(np.unique(labels)) == {0, 1, 2, 255}


def test_an_area_without_a_band_of_the_model_is_refused_in_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, "refuse")
    monkeypatch.setattr(_stage, "_inputs", [])
    monkeypatch.setenv("HPCL_TRACK", "off")
    monkeypatch.setattr("sys.argv", ["predict", "bare"])
    monkeypatch.setattr("sys.stdout.reconfigure", lambda **_: None, raising=False)
    with pytest.raises(SystemExit) as refused:
        _stage.run(predict.main)
    sentence = str(refused.value.code)  # which Python prints, and ends with 1
    assert sentence.startswith("predict: The model was trained with band 'thermal', which this area lacks")
    assert "\n" not in sentence
    assert sentence.endswith("; inference.missing_bands: mean maps it without.")
    assert not (project / "data" / "predict" / "bare").exists()


def test_or_mapped_with_the_bands_mean_and_said_so(project: Path) -> None:
    configure(project, "mean")
    predict.main("bare")
    out = Path("data") / "predict" / "bare"
    with rasterio.open(out / "probability.tif") as source:
        assert np.isfinite(source.read(1)).mean() > 0.9
    findings = json.loads((out / "facts.json").read_text())["findings"]
    (lacking,) = [
        finding for finding in findings if not finding.startswith("The temperature")
    ]  # of so short a training
    assert "lacks thermal; the networks saw the mean" in lacking
