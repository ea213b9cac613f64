"""The same with this pipeline: `python -m benchmarks.peers.ours maps <folder>`, wide, terrain_deflate or terrain_zstd."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.told import tell
from benchmarks.rasters import map_scene
from hpcl import terrain
from hpcl.settings.terrain import TerrainSettings
from stages._stage import params


def maps(folder: Path, overlap_frac: float) -> None:
    """The stage `predict`, of one network, from bands to probability and uncertainty."""
    tell(lambda: map_scene(str(folder / "warm_up"), overlap_frac), lambda: map_scene(str(folder), overlap_frac))


def relief(folder: Path, compression: str) -> None:
    """The stage `terrain`, of two bands."""
    # The others smooth nothing either.
    settings = params("terrain", TerrainSettings, {"smoothing_m": 0.0, "compression": compression})

    def derive(dem: str) -> None:
        terrain.derive(folder / dem, folder / "ours.tif", settings, bands=("slope", "hillshade"))

    tell(lambda: derive("small.tif"), lambda: derive("dem.tif"))


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what in ("maps", "wide"):
        maps(folder, 0.5 if what == "maps" else 0.0)
    else:
        relief(folder, what.removeprefix("terrain_"))
