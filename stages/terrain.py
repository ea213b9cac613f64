"""Derive slope, normal, hillshade, curvature, relief and texture from the aligned elevation, as one stack of bands."""

from pathlib import Path

from hpcl.terrain import TerrainSettings, derive, kinds, names
from stages._stage import params, progress, run, write_json


def main(area: str) -> None:
    """Write data/terrain/<area>/: terrain.tif, and facts.json that says how its bands turn and under which sun."""
    settings = params("terrain", TerrainSettings)
    out = Path("data/terrain") / area
    derive(
        Path("data/coregister") / area / "dem.tif", out / "terrain.tif", settings, progress=progress(f"terrain {area}")
    )
    sun = {"azimuth_deg": settings.sun_azimuth_deg, "altitude_deg": settings.sun_altitude_deg}
    write_json(out / "facts.json", {"sun": sun, "kinds": kinds(names(settings))})


if __name__ == "__main__":
    run(main)
