"""The stage predict says, prints and keeps in what an area is unlike the training: its bands and its DEM's pixel."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
from affine import Affine
from test_likeness import IMAGE, KINDS, NAMES, ROOT, ground

from hpcl import likeness, raster_scene
from hpcl.core.artifacts import write_json
from hpcl.core.codes import OUTSIDE
from hpcl.core.records import BandFacts
from hpcl.geo import cog, raster
from hpcl.networks import store
from hpcl.networks.ensemble import load
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.settings.model import ModelSettings
from stages import predict

SETTINGS = ModelSettings(
    architecture="hpcl_net", branches={"optical": IMAGE, "terrain": NAMES[4:]}, encoder="test_resnet",
    pretrained=False, weights={}, output_stride=8, fusion="concat", fused_channels=8, decoder_channels=8, dropout=0.0,
)  # fmt: skip


def area(folder: Path, pixels: Any, dem_pixel_m: float) -> None:
    """An area `valley` of 160 x 160 pixels as the stages before `predict` leave it."""
    grid = raster.Grid((160, 160), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    values = pixels[:, : 160 * 160].reshape(-1, 160, 160)
    for stage, file, layers, names in (
        ("ingest", "image.tif", values[:4], IMAGE),
        ("terrain", "terrain.tif", values[4:], NAMES[4:]),
        ("coregister", "dem.tif", values[:1], ("elevation",)),
    ):
        path = folder / "data" / stage / "valley" / file
        path.parent.mkdir(parents=True)
        cog.write(path, raster.Raster(layers, grid, tuple(raster.Band(name) for name in names)))
    write_json(folder / "data" / "ingest" / "valley" / "facts.json", examples.area(dem_pixel_m=dem_pixel_m))


def model(folder: Path, **changes: Any) -> None:
    pixels = ground()
    bands = [
        BandFacts(name, kind, float(values.mean()), float(values.std()))
        for name, kind, values in zip(NAMES, KINDS, pixels, strict=True)
    ]
    facts = examples.trained(
        **{
            "bands": bands, "trained_on": ["hill"], "dem_pixel_m": [5.0],
            "ground": likeness.statistics(NAMES, KINDS, pixels),
        }
        | changes
    )  # fmt: skip
    for fold in (1, 2):
        store.save(folder / "data" / "model" / str(fold), HPCLNet(SETTINGS, 2, 4), replace(facts, fold=fold))


@pytest.mark.parametrize(
    ("factor", "dem_pixel_m", "changes", "beginnings"),
    [
        (1, 5, {}, []),
        (1, 7, {}, []),
        (1, 4, {"dem_pixel_m": [2.0, 5.0]}, []),
        (1 / 257, 5, {}, ["Bands red, green, blue, nir of the area lie outside"]),
        (1, 28.55, {}, ["The DEM's pixels are 28.55 m, but the model was trained with DEMs of 5 m,"]),
        (
            1,
            1,
            {"dem_pixel_m": [2.0, 5.0]},
            ["The DEM's pixels are 1 m, but the model was trained with DEMs of 2, 5 m,"],
        ),
        (4, 30, {}, ["The DEM's pixels are 30 m", "Bands red, green, blue, nir of the area lie outside"]),
        (1, 5, {"ground": None}, ["The model says too little of its training ground"]),
        (1, 5, {"dem_pixel_m": None}, ["The model says too little of its training ground"]),
    ],
)
def test_predict_prints_and_keeps_what_it_finds(
    factor: float, dem_pixel_m: float, changes: dict[str, Any], beginnings: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pixels = ground(1)
    pixels[:4] *= np.float32(factor)
    area(tmp_path, pixels, dem_pixel_m)
    model(tmp_path, **changes)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    predict.main("valley")
    found = json.loads((tmp_path / "data" / "predict" / "valley" / "facts.json").read_text())["findings"]
    assert [a.startswith(b) for a, b in zip(found, beginnings, strict=True)] == [True] * len(beginnings)
    printed = capsys.readouterr().out
    assert all(f"predict: {sentence}\n" in printed for sentence in found)
    assert printed.count("\n") == len(found) + 1  # and the device
    assert ", 2 networks, about 2.0 forward passes per window\n" in printed


def test_the_comparison_reads_little_of_a_large_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area(tmp_path, ground(1), 5)
    model(tmp_path)
    monkeypatch.chdir(tmp_path)
    ensemble = load(Path("data/model"))
    files = [Path("data/ingest/valley/image.tif"), Path("data/terrain/valley/terrain.tif")]
    with raster_scene.RasterScene("valley", files, ensemble, "refuse") as held:
        pixels = likeness.sample(held.read, held.shape)
    assert pixels.shape[1] <= likeness.SAMPLE_PX
    assert set(pixels[0].tolist()) <= set(ground(1)[0].tolist())  # single pixels, no means


@pytest.mark.parametrize("folds", [[], [0, 1, OUTSIDE]])
def test_predict_writes_which_network_maps_which_ground(
    folds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area(tmp_path, ground(1), 5)
    model(tmp_path, areas={"valley": examples.tiled_area(*folds)} if folds else {})
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    predict.main("valley")
    out = Path("data/predict/valley")
    network = raster.read(out / "network.tif")
    assert network.values.dtype == np.uint8
    assert [band.name for band in network.bands] == ["network"]
    assert network.grid == raster.read(out / "probability.tif").grid
    expected = np.repeat([1, 2, 0], [53, 53, 54]) if folds else np.zeros(160)
    np.testing.assert_array_equal(network.values[0], np.broadcast_to(expected, (160, 160)))
    facts, ensemble = json.loads((out / "facts.json").read_text()), load(Path("data/model"))
    assert facts["weights_sha256"] == ensemble.weights_sha256
    assert len(facts["temperatures"]["by_fold"]) == 2


@pytest.mark.parametrize(
    "other", [{"shape": [160, 150]}, {"transform": [2.0, 0.0, 500002.0, 0.0, -2.0, 4e6]}, {"crs": "EPSG:32649"}]
)
def test_an_area_whose_folds_lie_on_another_grid_is_refused(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area(tmp_path, ground(1), 5)
    model(tmp_path, areas={"valley": examples.tiled_area(0, 1, **other)})
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(raster_scene.SceneError, match=r"in an area valley on another grid .* Run dvc repro"):
        predict.main("valley")
    assert not Path("data/predict").exists()
