"""What an area has and training had not: each kind of fault is told, and other ground is not."""

import json
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from hpcl import likeness, terrain
from hpcl.geo import cog, raster
from stages._stage import params

ROOT = Path(__file__).parents[1]
IMAGE = ("red", "green", "blue", "nir")
NAMES = (*IMAGE, "slope", "relief_120m")
KINDS = ("image",) * 4 + ("scalar",) * 2
MEAN, SD = np.array([900.0, 1050, 700, 2600]), np.array([320.0, 260, 210, 600])


def ground(seed: int = 0, brightness: float = 0.0, contrast: float = 1.0, relief: float = 1.0) -> Any:
    """Pixels ``(band, pixel)`` of some ground: albedo common to all bands, vegetation that darkens red and brightens nir."""
    rng = np.random.default_rng(seed)
    albedo, green, own = rng.normal(size=30_000), rng.normal(size=30_000), rng.normal(size=(4, 30_000))
    together = albedo + np.array([-0.3, 0.1, -0.2, 0.6])[:, None] * green + 0.15 * own
    image = MEAN[:, None] + SD[:, None] * (contrast * together + brightness)
    slope = np.degrees(np.arctan(relief * np.abs(rng.gamma(2, 0.12, 30_000))))
    return np.concatenate([image, slope[None], relief * rng.normal(0, 8, (1, 30_000))]).astype(np.float32)


def told(pixels: Any, trained: Any = None) -> list[str]:
    trained = ground() if trained is None else trained
    return likeness.findings(likeness.statistics(NAMES, KINDS, trained), pixels, NAMES)


@pytest.mark.parametrize("brightness", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("contrast", [0.5, 1.0, 1.8])
@pytest.mark.parametrize("relief", [0.2, 1.0, 5.0])
def test_other_ground_is_not_told(brightness: float, contrast: float, relief: float) -> None:
    assert told(ground(1, brightness, contrast, relief)) == []


@pytest.mark.parametrize("hidden", [0.2, 0.9])
def test_neither_gaps_nor_clouds_nor_spikes_are_told(hidden: float) -> None:
    pixels = ground(1)
    rng = np.random.default_rng(2)
    pixels[:4, rng.random(pixels.shape[1]) < 0.15] = 9000
    pixels[:, rng.random(pixels.shape[1]) < 0.005] = 1e9
    pixels[:, rng.random(pixels.shape[1]) < hidden] = np.nan
    assert told(pixels) == []


@pytest.mark.parametrize("factor", [1 / 257, 1e-4, 0.1, 0.25, 4, 10, 100, 257])
@pytest.mark.parametrize("bands", [(0, 1, 2, 3), (2,), (0, 3)])
def test_other_units_are_told_with_the_figures(factor: float, bands: tuple[int, ...]) -> None:
    pixels = ground(1)
    pixels[list(bands)] *= np.float32(factor)
    (sentence,) = told(pixels)
    for band, name in enumerate(NAMES):
        assert (f" {name} is mostly " in sentence) == (band in bands)
    here, there = (np.quantile(p[bands[0]], (0.05, 0.95)) for p in (pixels, ground()))
    shown = [[likeness._figure(x) for x in pair] for pair in (here, there)]
    assert f"{IMAGE[bands[0]]} is mostly {' to '.join(shown[0])} (in training {' to '.join(shown[1])})" in sentence
    assert "units, scaling and sensor of the image" in sentence
    assert "DEM" not in sentence


@pytest.mark.parametrize("offset", [-5.0, -3.0, 3.0, 20.0])
@pytest.mark.parametrize("band", range(4))
def test_another_offset_is_told(band: int, offset: float) -> None:
    pixels = ground(1)
    pixels[band] += offset * SD[band]
    assert f"Band {IMAGE[band]} of the area lies outside" in told(pixels)[0]


@pytest.mark.parametrize("value", [0.0, None, 65535.0])
@pytest.mark.parametrize("band", range(6))
def test_a_constant_band_is_told(band: int, value: float | None) -> None:
    pixels = ground(1)
    pixels[band] = np.median(pixels[band]) if value is None else value
    sentence = told(pixels)[-1]
    assert f"{NAMES[band]} is mostly {likeness._figure(pixels[band, 0])} (in training" in sentence


@pytest.mark.parametrize("band", range(4))
def test_an_inverted_band_is_told(band: int) -> None:
    """About its own mean, so that neither level nor spread gives it away."""
    pixels = ground(1)
    pixels[band] = 2 * pixels[band].mean() - pixels[band]
    (sentence,) = told(pixels)
    assert sentence.startswith(f"Band {IMAGE[band]} runs against ")
    assert sentence.count("inverted") == 1


def test_of_two_bands_that_disagree_neither_is_accused_alone() -> None:
    trained, pixels = ground()[:2], ground(1)[:2]
    pixels[1] = 2 * pixels[1].mean() - pixels[1]
    (sentence,) = likeness.findings(likeness.statistics(NAMES[:2], KINDS[:2], trained), pixels, NAMES[:2])
    assert "red" in sentence
    assert "green" in sentence
    assert "one side" in sentence


@pytest.mark.parametrize("pair", list(combinations(range(4), 2)))
@pytest.mark.parametrize("brightness", [-0.5, 0.0, 0.5])
def test_exchanged_bands_are_told_by_name(pair: tuple[int, int], brightness: float) -> None:
    pixels = ground(1, brightness)
    pixels[list(pair)] = pixels[list(pair)[::-1]]
    (sentence,) = told(pixels)
    one, other = sorted(IMAGE[band] for band in pair)
    assert f"exchanged: {one} looks like the {other} of training, {other} looks like the {one} of training;" in sentence


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (1, 2, 3, 0), (3, 2, 1, 0), (2, 0, 1, 3)])
def test_bands_in_another_order_are_told_by_name(order: tuple[int, ...]) -> None:
    pixels = ground(1)
    pixels[:4] = pixels[list(order)]
    (sentence,) = told(pixels)
    for name, held in zip(IMAGE, order, strict=True):
        assert (f"{name} looks like the {IMAGE[held]} of training" in sentence) == (name != IMAGE[held])


@pytest.fixture(scope="module")
def hills() -> Any:
    """An elevation with relief of all sizes."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    smooth = (ndimage.gaussian_filter(rng.normal(size=(400, 400)), s) * s**2 for s in (2, 5, 12, 30))
    return np.sum(list(smooth), axis=0)


def derived(folder: Path, elevation: Any) -> tuple[list[str], Any]:
    grid = raster.Grid(elevation.shape, Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    values = elevation[None].astype(np.float32)
    cog.write(folder / "dem.tif", raster.Raster(values, grid, (raster.Band("elevation", "m"),)))
    terrain.derive(folder / "dem.tif", folder / "terrain.tif", params("terrain", terrain.TerrainSettings))
    with raster.Source(folder / "terrain.tif") as source:
        return [band.name for band in source.bands], likeness.sample(source.read, tuple(source.grid.shape))


@pytest.mark.parametrize(
    ("factor", "is_told"), [(0.3, False), (1.5, False), (4, False), (0.001, True), (100, True), (1000, True)]
)
def test_relief_of_other_ground_is_not_told_and_a_dem_in_other_units_is(
    factor: float, is_told: bool, hills: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    names, trained = derived(tmp_path / "a", hills)
    _, here = derived(tmp_path / "b", factor * hills[::-1].T)
    found = likeness.findings(likeness.statistics(names, ["scalar"] * len(names), trained), here, names)
    assert bool(found) == is_told
    assert all(
        "check the units of the DEM, and" in sentence and "relief_120m is mostly" in sentence for sentence in found
    )


def test_bands_that_the_model_or_the_area_lacks_take_no_part() -> None:
    pixels = ground(1)
    pixels[0] = np.nan
    assert told(pixels) == []
    assert likeness.findings(likeness.statistics(NAMES[1:], KINDS[1:], ground()[1:]), 100 * pixels[:1], NAMES[:1]) == []
    assert told(pixels[:, :10]) == []


def test_what_is_kept_is_plain_json_and_the_same_for_the_same_ground() -> None:
    one, other = (likeness.statistics(NAMES, KINDS, ground()) for _ in range(2))
    texts = [json.dumps(asdict(ground), sort_keys=True, allow_nan=False) for ground in (one, other)]
    assert texts[0] == texts[1]
    np.testing.assert_allclose(one.bands["slope"].quantiles, np.quantile(ground()[4], likeness.QUANTILES), 1e-6)
    correlation = likeness._correlation(np.array(one.image.covariance))
    np.testing.assert_allclose(correlation, np.corrcoef(ground()[:4]), atol=0.02)


@pytest.mark.parametrize("shape", [(7, 9), (128, 400), (5000, 3000), (20_000, 20_000)])
def test_a_sample_is_of_single_pixels_spread_over_the_scene_and_bounded(shape: tuple[int, int]) -> None:
    def read(roi: tuple[slice, slice]) -> Any:
        assert roi[0].stop <= shape[0]
        assert roi[1].stop <= shape[1]
        return np.stack(np.meshgrid(np.arange(shape[0])[roi[0]], np.arange(shape[1])[roi[1]], indexing="ij")).astype(
            "f"
        )

    rows, columns = likeness.sample(read, shape)
    assert 0 < rows.size <= likeness.SAMPLE_PX
    for at, side in ((rows, shape[0]), (columns, shape[1])):
        assert at.mean() == pytest.approx((side - 1) / 2, rel=0.2)
        assert at.min() < 0.1 * side
        assert at.max() >= 0.9 * side - likeness.STEP_PX
