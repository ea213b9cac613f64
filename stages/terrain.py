"""Derive slope, normal, hillshade, curvature, relief and texture from the aligned elevation, as one stack of bands."""

from __future__ import annotations

from pathlib import Path

from hpcl import terrain
from stages._stage import params, progress, run, write_json


def main(area: str) -> None:
    """data/coregister/<area>/dem.tif -> data/terrain/<area>: terrain.tif and facts.json."""
    settings = params("terrain", terrain.TerrainSettings)
    elevation, out = Path("data/coregister") / area / "dem.tif", Path("data/terrain") / area
    terrain.derive(elevation, out / "terrain.tif", settings, progress=progress(f"terrain {area}"))
    write_json(out / "facts.json", terrain.facts(settings))


if __name__ == "__main__":
    run(main)
