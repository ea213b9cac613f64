"""Areas as arrays: what is refused before the ground is split."""

import errno
import os
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
from affine import Affine

from hpcl.core.artifacts import write_json
from hpcl.geo import cog, raster
from hpcl.settings.terrain import BandNameError
from hpcl.settings.tile import TileError
from hpcl.tiles import stacks, stored
from hpcl.tiles.area import Area


def test_a_full_disk_is_a_sentence_before_a_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TileError, match=r"a\.bands\.npy could not be written .*is the disk full"):
        stacks.new_array(tmp_path / "a.bands.npy", np.float32, (3, 10, 10))


def test_a_band_of_the_users_is_not_taken_for_the_terrains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = raster.Grid((8, 8), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    values = np.ones((2, 8, 8), np.float32)
    area = Area("valley")
    cog.write(area.image, raster.Raster(values, grid, (raster.Band("red"), raster.Band("slope"))))
    cog.write(area.terrain, raster.Raster(values, grid, (raster.Band("slope"), raster.Band("n_east"))))
    write_json(area.terrain.with_name("facts.json"), examples.terrain(("slope", "scalar"), ("n_east", "scalar")))
    with pytest.raises(BandNameError, match="Area valley has a band 'slope' of its own"):
        stacks.common_bands([area])


def test_the_digest_of_the_scored_ground_changes_with_labels_and_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "TILES", tmp_path)
    labels = np.zeros((160, 160), np.uint8)
    seen = set()
    for edited, folds in ((False, (0, 1)), (True, (0, 1)), (False, (1, 0))):
        labels[3, 4] = edited
        np.save(tmp_path / "a.labels.npy", labels)
        facts = examples.tiles({"a": examples.tiled_area(*folds)})
        assert stored.ground_sha256(facts) == stored.ground_sha256(facts)
        seen.add(stored.ground_sha256(facts))
    assert len(seen) == 3
