"""Check all of params.yaml, against itself and against the headers of the raw files, before anything is computed.

Nothing here imports torch, pandas or SciPy, so that a slip of the pen is told within two seconds and not after an hour.
Raw files are no dependency of this stage, for those of synthetic areas are made after it: `survey` looks at them again
when they change.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from hpcl.core import areas
from hpcl.ingest import IngestSettings, vector_files
from hpcl.settings.audit import AuditSettings
from hpcl.settings.baselines import BaselinesSettings
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.coregister import CoregisterSettings
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.explain import ExplainSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelSettings, check_weights
from hpcl.settings.outline import OutlineSettings
from hpcl.settings.page import PageSettings
from hpcl.settings.report import ReportSettings
from hpcl.settings.synthesize import AreaSettings, SynthesizeSettings
from hpcl.settings.terrain import TerrainSettings
from hpcl.settings.tile import TileSettings, check_areas, check_labelled, check_sizes
from hpcl.settings.train import TrainSettings, check_training
from stages._raw import RAW, check_area, look
from stages._stage import params, run

OUT = Path("data/checked")


def main() -> None:
    """Write data/checked, whose bytes never change: later stages wait for it and are never outdated by it."""
    for finding in sound():
        print(f"check: {finding}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("What params.yaml says was found sound.\n")


def sound() -> list[str]:
    """Findings about params.yaml and data/raw; raises a sentence if the two, or sections of the one, do not fit each other."""
    names = params("areas", areas.Names)
    synthetic = params("synthesize", SynthesizeSettings).areas
    areas.distinct(synthetic)
    tile = _sections()
    labelled = [area for area in names if _is_labelled(area, synthetic)]
    check_labelled(labelled)
    check_areas(tile, labelled, "labelled areas")
    return unread(RAW, names)


def _sections() -> TileSettings:
    """Every section through its record, and what must hold among them; returns the section `tile`."""
    params("ingest", IngestSettings)
    params("coregister", CoregisterSettings)
    params("terrain", TerrainSettings)
    tile = params("tile", TileSettings)
    model, contrast = params("model", ModelSettings), params("contrastive", ContrastSettings)
    train = params("train", TrainSettings)
    params("baselines", BaselinesSettings)
    params("inference", InferenceSettings)
    params("outline", OutlineSettings)
    params("audit", AuditSettings)
    params("evaluate", EvaluateSettings)
    params("explain", ExplainSettings)
    params("report", ReportSettings)
    params("page", PageSettings)
    check_sizes(tile)
    check_weights(model)
    check_training(model, contrast, train, tile.window_px)
    return tile


def _is_labelled(area: str, synthetic: Mapping[str, AreaSettings]) -> bool:
    """Whether an area has an inventory; raises a sentence if params.yaml does not fit its files, or those it will have."""
    if area in synthetic and not (RAW / area).exists():
        check_area(area, synthetic[area].bands, labelled=True)
        return True
    return look(area, others=synthetic)


def unread(raw: Path, names: tuple[str, ...]) -> list[str]:
    """What lies in ``raw`` and nobody reads: areas that are not listed, and rasters and outlines beside the areas."""
    there = sorted(path for path in raw.iterdir() if path.name[0] != ".") if raw.is_dir() else []
    suffixes = (".tif", ".tiff", *vector_files.READ_SUFFIXES)
    strangers = [path.name for path in there if path.is_dir() and path.name not in names]
    loose = [path.name for path in there if path.is_file() and path.suffix.lower() in suffixes]
    findings = []
    for name in strangers:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" (they name {close[0]})" if close else ""
        findings.append(f"{raw / name} is not among the 'areas' of params.yaml{hint}, so nothing reads it.")
    if loose:
        findings.append(f"{', '.join(loose)} in {raw}: read by nothing, for each area has a folder of its own there.")
    return findings


if __name__ == "__main__":
    run(main)
