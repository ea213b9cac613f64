"""A stage that is killed, or whose disk is full, leaves the old complete file or none, and the next run finishes."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from forked import Forked
from scipy import ndimage

from hpcl import terrain
from hpcl.geo import blocks, cog, raster
from hpcl.settings.terrain import TerrainSettings
from stages._stage import params

ROOT = Path(__file__).parents[1]


def program(dem: Path, out: Path, killed_at: float | str | None, limit: int) -> None:
    """Derive the terrain, in a process of its own, which kills itself after this share of the blocks or while copying, or may
    write only so much."""
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # as if the disk were full from here on

    def watch(done: int, total: int) -> None:
        if isinstance(killed_at, float) and done >= killed_at * total:
            os.kill(os.getpid(), signal.SIGKILL)

    copy = cog.rasterio.shutil.copy

    def half(draft: Any, final: Any, **options: Any) -> None:
        copy(draft, final, **options)
        os.truncate(final, Path(final).stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    if killed_at == "copying":
        cog.rasterio.shutil.copy = half
    blocks.BLOCK_PX = 128
    try:
        terrain.derive(dem, out, params("terrain", TerrainSettings), progress=watch)
    except raster.RasterError as error:
        sys.exit(str(error))


@pytest.fixture(scope="module")
def dem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dem") / "dem.tif"
    height = 300 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(400, 500)), 9)
    grid = raster.Grid(height.shape, Affine(5, 0, 5e5, 0, -5, 4e6), "EPSG:32648")
    cog.write(path, raster.Raster(height[None].astype(np.float32), grid, (raster.Band("elevation", "m"),)))
    return path


def derive(dem: Path, out: Path, killed_at: float | str | None = None, limit: int = 0) -> tuple[str, int | None]:
    """What it said, and its exit status."""
    return Forked(program, dem, out, killed_at, limit, folder=ROOT, environment=os.environ).end()


@pytest.mark.parametrize("killed_at", [0.1, 0.6, 1.0, "copying"])
def test_a_killed_stage_leaves_no_half_file_and_the_next_run_finishes(
    dem: Path, tmp_path: Path, killed_at: float | str
) -> None:
    out = tmp_path / "terrain.tif"
    assert derive(dem, out, killed_at)[1] == -9
    assert not out.exists()
    assert derive(dem, out)[1] == 0
    whole = out.read_bytes()
    assert derive(dem, out, killed_at)[1] == -9
    assert out.read_bytes() == whole  # the old file is still there, and still whole
    assert derive(dem, out)[1] == 0
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["terrain.tif"]


@pytest.mark.parametrize("limit", [1_000, 300_000, 4_000_000, 8_500_000])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(dem: Path, tmp_path: Path, limit: int) -> None:
    """Full at the first block, in mid-file, near its end."""
    out = tmp_path / "terrain.tif"
    out.write_bytes(b"the old one")
    said, status = derive(dem, out, limit=limit)
    assert status == 1, said
    assert "could not be written" in said
    assert "is the disk full, or the folder read-only?" in said
    assert "Traceback" not in said
    assert out.read_bytes() == b"the old one"
