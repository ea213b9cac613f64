"""Raw areas by the headers of their files, held against params.yaml: what `check` does for all, and `survey` for one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpcl.ingest import IngestSettings, headers
from hpcl.settings.coregister import CoregisterSettings, counting_bands
from hpcl.settings.model import Branches, check_bands
from hpcl.settings.terrain import TerrainSettings, check_own_bands, names
from stages._stage import params

RAW = Path("data/raw")


def look(area: str, others: Iterable[str] = ()) -> bool:
    """Whether a raw area has an inventory; ``others`` are areas that may have been meant.

    Raises a sentence if a file is missing or cannot be opened, or if a band that params.yaml names is in none of them.
    """
    found = headers.read(RAW / area, params("ingest", IngestSettings), others)
    if not found.has_reference:
        counting_bands(found.bands, params("coregister", CoregisterSettings).bands)
    check_area(area, found.bands, found.has_inventory)
    return found.has_inventory


def check_area(area: str, image: tuple[str, ...], labelled: bool) -> None:
    """Raise a sentence if an area with these bands cannot be trained on, or mapped if it is not ``labelled``."""
    terrain = names(params("terrain", TerrainSettings))
    check_own_bands(area, image, terrain)
    may_lack = params("inference.missing_bands", str) == "mean"
    if labelled or not may_lack:
        remedy = "" if labelled else " (inference.missing_bands: mean would map it nevertheless)"
        branches = params("model.branches", Branches)
        check_bands(branches, (*image, *terrain), f"area {area}", remedy)
