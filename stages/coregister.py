"""Lay the DEM of one area on its image, where that can be shown to be right, and resample it once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpcl import scale
from hpcl.core.artifacts import write_json
from hpcl.coregister.apply import apply, residuals
from hpcl.coregister.image import align_to_image
from hpcl.coregister.reference import align
from hpcl.geo import raster, vector
from hpcl.settings.coregister import CoregisterSettings
from stages._stage import params, progress, run


def main(area: str) -> None:
    """data/ingest/<area> -> data/coregister/<area>: dem.tif, residual_before.tif, residual_after.tif, shift.json."""
    settings = params("coregister", CoregisterSettings)
    raw, out = Path("data/ingest") / area, Path("data/coregister") / area
    image, dem, reference, slides = (raw / f for f in ("image.tif", "dem.tif", "reference_dem.tif", "landslides.gpkg"))
    if reference.exists():
        unstable = vector.read(slides) if slides.exists() else None
        other, shift = reference, align(reference, dem, settings, unstable)
    else:
        other, shift = image, align_to_image(image, dem, settings)
    apply(dem, image, shift, out / "dem.tif", progress=progress(f"align {area}"))
    residuals(dem, other, shift, out / "residual_before.tif", moved=False)
    residuals(dem, other, shift, out / "residual_after.tif", moved=True)
    facts = shift.facts()
    with raster.Source(image) as source:
        sizes = scale.Sizes(source.grid.shape.yx, abs(source.grid.affine.a), facts.dem_pixel_m)
    on_reference = shift.method == "reference"
    told = scale.coregister(sizes, maximum_shift_px=settings.maximum_shift_px, on_reference=on_reference)
    facts = replace(facts, findings=[*facts.findings, *told])
    write_json(out / "shift.json", facts)
    print(f"{area}: {shift.reason}")
    for finding in facts.findings:
        print(f"{area}: {finding}")


if __name__ == "__main__":
    run(main)
