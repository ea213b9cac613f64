"""An area's bands as one raster: equal to the rasters that it refers to, in the order that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from hpcl.export import stack
from hpcl.geo import cog, raster

NAMES = ("red", "green", "slope", "n_east")


@pytest.fixture
def rasters(tmp_path: Path) -> list[Path]:
    grid = raster.Grid((40, 70), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    values = np.random.default_rng(0).normal(size=(4, 40, 70)).astype(np.float32)
    values[:, :3, :5] = np.nan
    paths = [tmp_path / "data/ingest/a b/image.tif", tmp_path / "data/terrain/a b/terrain.tif"]
    for path, part, bands in zip(paths, (values[:2], values[2:]), (("green", "red"), ("n_east", "slope")), strict=True):
        cog.write(
            path, raster.Raster(part, grid, tuple(raster.Band(name, "deg" * (name == "slope")) for name in bands))
        )
    return paths


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], ("slope",)])
def test_a_stack_reads_back_equal_wherever_the_project_lies(
    rasters: list[Path], tmp_path: Path, names: tuple[str, ...]
) -> None:
    path = tmp_path / "data/export/a b/bands.vrt"
    path.parent.mkdir(parents=True)
    path.write_bytes(stack.vrt(path, rasters, names))
    moved = tmp_path / "moved"
    (tmp_path / "data").rename(moved)
    with (
        rasterio.open(moved / "export/a b/bands.vrt") as opened,
        rasterio.open(moved / "ingest/a b/image.tif") as image,
    ):
        assert opened.descriptions == tuple(names)
        assert (opened.transform, opened.crs, opened.shape) == (image.transform, image.crs, image.shape)
        assert all(np.isnan(opened.nodatavals))
        got = opened.read()
    parts = [raster.read(moved / path.relative_to(tmp_path / "data")) for path in rasters]
    known = {band.name: part[band.name] for part in parts for band in part.bands}
    np.testing.assert_array_equal(got, np.stack([known[name] for name in names]))


def test_there_is_no_stack_where_a_band_is_missing(rasters: list[Path], tmp_path: Path) -> None:
    assert stack.vrt(tmp_path / "bands.vrt", rasters, (*NAMES, "nir")) == b""
