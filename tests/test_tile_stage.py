"""The stage tile: what it refuses that no function of hpcl.tiles can see."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from hpcl.geo import cog, raster
from hpcl.settings.terrain import BandNameError
from hpcl.tiles.split import TileError
from stages import tile


def test_a_full_disk_is_a_sentence_before_a_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tile, "OUT", tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TileError, match=r"a\.bands\.npy could not be written .*is the disk full"):
        tile._array("a", "bands", np.float32, (3, 10, 10))


def test_a_band_of_the_users_is_not_taken_for_the_terrains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = raster.Grid((8, 8), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    values = np.ones((2, 8, 8), np.float32)
    image, relief = tile._stacks("valley")
    cog.write(image, raster.Raster(values, grid, (raster.Band("red"), raster.Band("slope"))))
    cog.write(relief, raster.Raster(values, grid, (raster.Band("slope"), raster.Band("n_east"))))
    monkeypatch.setattr(
        tile, "_terrain_facts", lambda area: {"bands": [{"name": n, "kind": "scalar"} for n in ("slope", "n_east")]}
    )
    with pytest.raises(BandNameError, match="Area valley has a band 'slope' of its own"):
        tile._common_bands(["valley"])
