"""Derive slope, normal, hillshade, curvature, relief and texture from the aligned elevation, as one stack of bands."""

from __future__ import annotations

from pathlib import Path

from hpcl import scale, terrain
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.records import ShiftFacts
from hpcl.geo import raster
from hpcl.settings.terrain import TerrainSettings
from stages._stage import params, progress, run


def main(area: str) -> None:
    """data/coregister/<area> -> data/terrain/<area>: terrain.tif and facts.json."""
    settings = params("terrain", TerrainSettings)
    elevation, out = Path("data/coregister") / area / "dem.tif", Path("data/terrain") / area
    dem_pixel_m = artifacts.read_json(elevation.with_name("shift.json"), ShiftFacts).dem_pixel_m
    with raster.Source(elevation) as source:
        sizes = scale.Sizes(source.grid.shape.yx, abs(source.grid.affine.a), dem_pixel_m)
    findings = scale.terrain(
        sizes,
        smoothing_m=settings.smoothing_m,
        relief_radii_m=settings.relief_radii_m,
        roughness_radius_m=settings.roughness_radius_m,
    )
    terrain.derive(elevation, out / "terrain.tif", settings, progress=progress(f"terrain {area}"))
    write_json(out / "facts.json", terrain.facts(settings, findings))
    for finding in findings:
        print(f"{area}: {finding}")


if __name__ == "__main__":
    run(main)
