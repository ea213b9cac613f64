"""The map of a scene: equal to what the network says window by window, seamless, of any size, NaN where nothing is known."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import examples
import numpy as np
import pytest
import torch
from affine import Affine
from torch import nn

from hpcl import raster_scene as scene_module
from hpcl.core.records import BandFacts
from hpcl.geo import cog, raster
from hpcl.inference import predict
from hpcl.networks.base import Outputs
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.networks.store import Trained
from hpcl.settings.model import ModelSettings
from hpcl.windows import pad

SETTINGS = ModelSettings(
    architecture="hpcl_net", branches={"optical": ("red", "green"), "terrain": ("slope",)}, encoder="test_resnet",
    pretrained=False, weights={}, output_stride=8, fusion="coordinate_attention", fused_channels=16, decoder_channels=16, dropout=0.0,
)  # fmt: skip
SETTING: dict[str, Any] = {"batch_size": 3, "adapt_windows": 0, "missing_bands": "refuse", "networks": "all"}
BANDS = [BandFacts(name, "scalar", 1.0, 2.0) for name in ("red", "green", "slope")]


class PerPixel(HPCLNet):
    """A network whose answer at a pixel depends on this pixel alone, so that any tiling must give the same map."""

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1]
        return Outputs(torch.cat([-red, red], 1), red, None)


def trained(network: type[nn.Module] = PerPixel, temperature: float = 1.0) -> Ensemble:
    torch.manual_seed(0)
    facts = examples.trained(bands=BANDS, held=examples.held(temperature))
    return Ensemble((Trained(network(SETTINGS, 2, 4), facts),))


def scene(folder: Path, shape: tuple[int, int], nan: bool = False) -> tuple[list[Path], np.ndarray]:
    grid = raster.Grid(shape, Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    values = np.random.default_rng(0).normal(1, 2, size=(3, *shape)).astype(np.float32)
    if nan:
        values[0, 10:20, 10:30] = np.nan  # red alone is missing: the branch still has green
        values[2, 30:40, 10:30] = np.nan  # the terrain branch has nothing left
    paths = [folder / "image.tif", folder / "terrain.tif"]
    cog.write(paths[0], raster.Raster(values[[1, 0]], grid, (raster.Band("green"), raster.Band("red"))))
    cog.write(paths[1], raster.Raster(values[2:], grid, (raster.Band("slope", "deg"),)))
    return paths, values


def run(
    paths: list[Path], model: Ensemble, overlap: float = 0.5, tta: Literal["none", "d4"] = "none"
) -> dict[str, np.ndarray]:
    with scene_module.RasterScene("here", paths, model, "refuse") as opened:
        return whole(
            predict.predict(opened, model, predict.InferenceSettings(**SETTING, overlap_frac=overlap, tta=tta))
        )


def whole(parts: Iterator[predict.Part]) -> dict[str, np.ndarray]:
    """The layers of a map whose parts cover it once, as one."""
    held = list(parts)
    shape = held[-1].roi[0].stop, held[-1].roi[1].stop
    covered, layers = np.zeros(shape, int), {name: np.zeros(shape) for name in ("probability", "uncertainty")}
    for part in held:
        covered[part.roi] += 1
        for name, layer in layers.items():
            layer[part.roi] = getattr(part, name)
    assert (covered == 1).all()
    return layers


@pytest.mark.parametrize("shape", [(200, 150), (64, 64), (40, 300), (65, 127), (30, 30)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_tiled_equals_whole_for_any_size(tmp_path: Path, shape: tuple[int, int], overlap: float) -> None:
    paths, values = scene(tmp_path, shape)
    got = run(paths, trained(), overlap)
    red = np.clip((values[0] - 1) / 2, -6, 6)
    np.testing.assert_allclose(got["probability"], 1 / (1 + np.exp(-2 * red)), atol=1e-5)
    np.testing.assert_allclose(got["uncertainty"], 0, atol=2e-3)


def test_temperature_softens_the_map_and_moves_no_pixel_across_the_boundary(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (64, 64))
    sharp, soft = (run(paths, trained(temperature=t))["probability"] for t in (1.0, 3.0))
    assert np.abs(soft - 0.5).mean() < np.abs(sharp - 0.5).mean()
    np.testing.assert_array_equal(sharp > 0.5, soft > 0.5)


def test_no_map_where_a_branch_has_no_data_and_only_there(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (100, 100), nan=True)
    got = run(paths, trained())["probability"]
    expected = np.zeros((100, 100), bool)
    expected[30:40, 10:30] = True
    np.testing.assert_array_equal(np.isnan(got), expected)


def test_blended_windows_leave_no_seam(tmp_path: Path) -> None:
    """With a real network, steps across window borders are no larger than steps anywhere else."""
    paths, _ = scene(tmp_path, (256, 256))
    got = run(paths, trained(HPCLNet))["probability"]
    steps = np.abs(np.diff(got, axis=1)).mean(axis=0)
    borders = steps[31::32]
    assert borders.mean() < 1.25 * np.delete(steps, np.arange(31, 255, 32)).mean()


def test_uncertainty_is_the_spread_between_windows(tmp_path: Path) -> None:
    class ByCorner(PerPixel):
        """All landslide or none of it, as the first pixel of the window says."""

        def forward(self, bands: Any, contrast: bool = False) -> Outputs:
            red = bands["optical"][:, :1]
            sign = 5 * red[:, :, :1, :1].sign().expand_as(red)
            return Outputs(torch.cat([-sign, sign], 1), red, None)

    paths, _ = scene(tmp_path, (64, 96))
    image = raster.read(paths[0])
    image["red"][0, [0, 32]] = -9, 9
    cog.write(paths[0], image)
    got = run(paths, trained(ByCorner))
    assert got["uncertainty"][32, 48] > 0.4
    assert got["uncertainty"][32, 2] < 0.01


def test_how_many_cores_share_the_windows_does_not_show(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (150, 200), nan=True)
    before = torch.get_num_threads()
    maps = []
    try:
        for threads in (1, 3, 3):
            torch.set_num_threads(threads)
            maps.append(run(paths, trained(HPCLNet)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for name in ("probability", "uncertainty"):
        np.testing.assert_allclose(maps[0][name] ** 2, maps[1][name] ** 2, atol=1e-5)
        np.testing.assert_array_equal(maps[1][name], maps[2][name])


@pytest.mark.parametrize("panel_px", [1, 96, 150])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_panels_of_a_wide_scene_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, panel_px: int, overlap: float
) -> None:
    paths, _ = scene(tmp_path, (100, 310), nan=True)
    one = run(paths, trained(HPCLNet), overlap)
    monkeypatch.setattr(predict, "PANEL_PX", panel_px)
    many = run(paths, trained(HPCLNet), overlap)
    np.testing.assert_allclose(many["probability"], one["probability"], atol=1e-5)
    np.testing.assert_allclose(many["uncertainty"] ** 2, one["uncertainty"] ** 2, atol=1e-5)


def test_a_row_of_windows_reads_a_panel_of_the_scene_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, _ = scene(tmp_path, (192, 640))
    monkeypatch.setattr(predict, "PANEL_PX", 160)
    read: list[tuple[slice, slice]] = []
    plain = scene_module.RasterScene.read
    monkeypatch.setattr(scene_module.RasterScene, "read", lambda at, roi: read.append(roi) or plain(at, roi))
    run(paths, trained())
    for top in (0, 32, 64):
        below = next(i for i, (rows, _) in enumerate(read) if rows.start == top + 32)
        first = next(i for i, (rows, _) in enumerate(read) if rows.start == top)
        assert sum(columns.stop - columns.start for _, columns in read[first:below]) < 160 + 3 * 64


def test_only_a_few_windows_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, _ = scene(tmp_path, (1920, 64))
    read: list[int] = []
    plain = scene_module.RasterScene.read
    monkeypatch.setattr(scene_module.RasterScene, "read", lambda at, roi: read.append(roi[0].start) or plain(at, roi))
    model = trained()
    with scene_module.RasterScene("here", paths, model, "refuse") as ground:
        rows = predict.predict(ground, model, predict.InferenceSettings(**SETTING, overlap_frac=0.0, tta="none"))
        for number in range(3):
            next(rows)
            assert len(read) <= number + 1 + SETTING["batch_size"] * (max(torch.get_num_threads(), 1) + 2)
        rows.close()
    assert read == sorted(read)


def test_windows_without_data_are_not_predicted_and_the_map_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, _ = scene(tmp_path, (400, 300))
    terrain = raster.read(paths[1])
    terrain.values[:, :170] = terrain.values[:, 300:] = np.nan  # wholly empty rows above and below
    terrain.values[:, :, 130:] = np.nan
    cog.write(paths[1], terrain)
    model, sizes = trained(HPCLNet), []
    plain_composed, plain_row = predict.composed, predict._read_row
    monkeypatch.setattr(predict, "composed", lambda *given: sizes.append(len(given[2])) or plain_composed(*given))
    skipped = run(paths, model)
    few = sum(sizes)
    assert sizes[:-1] == [SETTING["batch_size"]] * (len(sizes) - 1)

    def every_window(there: predict.Scene, window_px: int, top: int, lefts: list[int]) -> predict.WindowRow:
        row = plain_row(there, window_px, top, lefts)
        rows = slice(top, min(top + window_px, there.shape[0]))
        raw = [pad(there.read((rows, slice(left, min(left + window_px, there.shape[1])))), window_px) for left in lefts]
        everywhere = np.zeros((window_px, window_px), np.uint8)
        return predict.WindowRow([predict.Window(one, everywhere) for one in raw], [True] * len(lefts), row.known)

    monkeypatch.setattr(predict, "_read_row", every_window)
    sizes.clear()
    whole_map = run(paths, model)
    assert few < 0.4 * sum(sizes)
    assert np.isnan(skipped["probability"]).mean() > 0.8
    for name in ("probability", "uncertainty"):
        np.testing.assert_allclose(skipped[name] ** 2, whole_map[name] ** 2, atol=1e-6)


def test_a_window_keeps_no_more_than_itself_in_memory(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (64, 1000))
    terrain = raster.read(paths[1])
    terrain.values[:, :, 100:] = np.nan
    cog.write(paths[1], terrain)
    with scene_module.RasterScene("here", paths, trained(), "refuse") as opened:
        row = predict._read_row(opened, 64, 0, list(range(0, 936, 32)))
    assert sum(row.shown) == len(row.windows) == 4
    assert all(window.raw.base is None and window.networks.base is None for window in row.windows)


@pytest.mark.parametrize(("threads", "workers", "cores"), [(1, 1, 1), (3, 3, 1), (16, 4, 4), (64, 4, 16)])
def test_memory_does_not_grow_with_the_number_of_cores(threads: int, workers: int, cores: int) -> None:
    seen: list[tuple[str, int]] = []

    def forward(windows: list[predict.Window]) -> np.ndarray:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return np.stack([window.raw for window in windows])

    window = predict.Window(np.zeros((1, 4, 4), np.float32), np.zeros((4, 4), np.uint8))
    row = predict.WindowRow([window] * 5, [True] * 5, np.ones((4, 20), bool))
    places = [(top, [0, 4, 8, 12, 16]) for top in range(40)]
    found = list(predict._predictions(places, lambda _: row, forward, threads, 3))
    assert [len(windows) for _, windows in found] == [5] * 40
    assert len({name for name, _ in seen}) <= workers
    assert {count for _, count in seen} == {cores}


def test_a_scene_without_any_data_is_mapped_as_nothing(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (150, 90))
    terrain = raster.read(paths[1])
    terrain.values[:] = np.nan
    cog.write(paths[1], terrain)
    assert np.isnan(run(paths, trained(HPCLNet))["probability"]).all()


def test_a_band_that_is_missing_is_named(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (64, 64))
    with pytest.raises(scene_module.SceneError, match="band 'slope', which this area lacks"):
        scene_module.RasterScene("here", paths[:1], trained(), "refuse")


def test_a_band_that_comes_twice_is_refused(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (64, 64))
    with pytest.raises(scene_module.SceneError, match="has a band 'slope' of its own"):
        scene_module.RasterScene("here", [*paths, paths[1]], trained(), "refuse")


def test_a_declared_missing_branch_is_mapped_as_its_mean_and_only_where_the_others_have_data(tmp_path: Path) -> None:
    paths, _ = scene(tmp_path, (100, 100), nan=True)
    model = trained(HPCLNet)
    settings = predict.InferenceSettings(**SETTING, overlap_frac=0.5, tta="none")
    with scene_module.RasterScene("here", paths[:1], model, "mean") as ground:
        assert ground.absent == ("slope",)
        got = whole(predict.predict(ground, model, settings))["probability"]
    assert np.isfinite(got).all()  # slope's hole is no hole any more; where red is missing there is green
    flat = raster.Raster(
        np.ones((1, 100, 100), np.float32), raster.Source(paths[0]).grid, (raster.Band("slope", "deg"),)
    )
    cog.write(tmp_path / "flat.tif", flat)
    with scene_module.RasterScene("here", [paths[0], tmp_path / "flat.tif"], model, "refuse") as ground:
        same = whole(predict.predict(ground, model, settings))["probability"]
    np.testing.assert_allclose(got, same, atol=1e-6)  # 1 is slope's mean


def test_d4_asks_the_network_about_the_ground_as_it_lies_eightfold(tmp_path: Path) -> None:
    """A network that looks at one side only answers evenly when asked from all sides."""

    class Eastward(PerPixel):
        def forward(self, bands: Any, contrast: bool = False) -> Outputs:
            red = bands["optical"][:, :1].clone()
            ramp = torch.linspace(-2, 2, red.shape[-1]).expand_as(red)
            return Outputs(torch.cat([-ramp, ramp], 1), red, None)

    paths, _ = scene(tmp_path, (64, 64))
    once, eight = (run(paths, trained(Eastward), tta=tta) for tta in ("none", "d4"))
    assert once["probability"][32, 60] > 0.9
    assert once["uncertainty"].max() < 1e-3
    np.testing.assert_allclose(eight["probability"], eight["probability"][::-1, ::-1], atol=1e-5)
    assert abs(eight["probability"][32, 60] - 0.5) < abs(once["probability"][32, 60] - 0.5)
    assert eight["uncertainty"][32, 60] > 0.2
    level = run(paths, trained(), tta="d4")["probability"]
    np.testing.assert_allclose(level, run(paths, trained())["probability"], atol=1e-6)
