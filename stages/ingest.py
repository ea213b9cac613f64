"""Check the raw files of one area and bring them onto one metric grid; say what was found."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from hpcl import scale
from hpcl.core.artifacts import write_json
from hpcl.coregister.dates import align_dates
from hpcl.ingest import IngestSettings, output
from hpcl.ingest.onto import opened
from hpcl.ingest.plan import Plan, examine
from hpcl.settings.coregister import CoregisterSettings
from stages._stage import params, progress, run


def main(area: str) -> None:
    """data/raw/<area> -> data/ingest/<area>; what an earlier run wrote there goes only when the new input is sound."""
    settings = params("ingest", IngestSettings)
    plan = _dates_laid(examine(Path("data/raw") / area, settings, progress(f"check {area}")))
    out = Path("data/ingest") / area
    shutil.rmtree(out, ignore_errors=True)
    facts = output.write(plan, out, progress(f"ingest {area}"))
    told = scale.ingest(scale.Sizes.of(facts), dem_margin_px=settings.dem_margin_px)
    facts = replace(facts, findings=[*facts.findings, *told])
    write_json(out / "facts.json", facts)
    for finding in facts.findings:
        print(f"{area}: {finding}")
    if plan.inventory is not None:
        for name, polygons in plan.inventory.table["class"].value_counts().sort_index().items():
            print(f"{area}: {polygons} polygons of class '{name}'.")
    rows, columns = facts.shape
    print(f"{area}: {rows} x {columns} pixels of {facts.pixel_m:.4g} m in {facts.crs_name}.")


def _dates_laid(plan: Plan) -> Plan:
    """The plan with the image of an earlier date moved onto the image, where that can be shown to be right."""
    image, before = plan.image[0], plan.before
    if before is None:
        return plan
    grid, names = plan.common_grid(before), [band.name for band in image.bands]
    with opened(image, grid) as now, opened(before, grid) as earlier:
        shift = align_dates(now, earlier, names, grid, params("coregister", CoregisterSettings), before.path.name)
    return plan.moved(before, shift.move_m, shift.findings)


if __name__ == "__main__":
    run(main)
