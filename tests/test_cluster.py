"""Blocks on a Dask cluster: the very file that local threads write, even if a worker dies while it computes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from hpcl import terrain
from hpcl.geo import blocks, cog, raster
from stages._stage import params

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def elevation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hills with a hole, 900 x 700 pixels of 5 m."""
    path = tmp_path_factory.mktemp("cluster") / "dem.tif"
    height = 300 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(900, 700)), 12)
    height[200:220, 300:340] = np.nan
    grid = raster.Grid(height.shape, Affine(5, 0, 5e5, 0, -5, 4e6), "EPSG:32648")
    cog.write(path, raster.Raster(height[None].astype(np.float32), grid, (raster.Band("elevation", "m"),)))
    return path


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[terrain.TerrainSettings]:
    monkeypatch.chdir(ROOT)
    return params("terrain", terrain.TerrainSettings)


@pytest.mark.filterwarnings("default")  # distributed's own, when a worker is lost
def test_a_cluster_that_loses_a_worker_writes_the_same_file(
    elevation: Path, settings: terrain.TerrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    terrain.derive(elevation, tmp_path / "local.tif", settings)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # what the workers need to know
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        killed = []

        def lose_one(done: int, total: int) -> None:
            if not killed and done > total // 4:
                worker = cluster.workers[0]
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

        monkeypatch.setattr(blocks, "BLOCK_PX", 128)
        with dask.config.set({"scheduler-address": cluster.scheduler_address}):
            terrain.derive(elevation, tmp_path / "cluster.tif", settings, progress=lose_one)
    assert killed
    assert (tmp_path / "cluster.tif").read_bytes() == (tmp_path / "local.tif").read_bytes()
