"""Derive slope, normal, hillshade, curvature, relief and texture from the aligned elevation, as one stack of bands."""

from pathlib import Path

from hpcl.terrain import TerrainSettings, derive
from stages._stage import params, progress, run


def main(area: str) -> None:
    """Write data/terrain/<area>/terrain.tif."""
    settings = params("terrain", TerrainSettings)
    elevation = Path("data/coregister") / area / "dem.tif"
    derive(elevation, Path("data/terrain") / area / "terrain.tif", settings, progress=progress(f"terrain of {area}"))


if __name__ == "__main__":
    run(main)
