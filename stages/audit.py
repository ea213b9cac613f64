"""Hold map and inventory against each other: what is probably missing, wrong or badly drawn, and where to map next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from hpcl.audit import area as asking
from hpcl.audit import next_ground, rows, told
from hpcl.audit.area import MappedArea, Questions
from hpcl.audit.mixture import joined
from hpcl.audit.rows import Answered
from hpcl.calibration import counts, points
from hpcl.core import artifacts
from hpcl.core.areas import Names, distinct
from hpcl.core.codes import UNKNOWN
from hpcl.core.records import Answers, AuditFacts, LayerFacts, MapFacts, Promise, Thresholds
from hpcl.core.review import DOUBTFUL, LAYERS, NEXT, OMISSIONS, OUTLINES
from hpcl.geo import raster, vector
from hpcl.outline import polygons
from hpcl.outline.mapped import Mapped
from hpcl.qgis_project.area import project
from hpcl.settings.audit import AuditSettings
from hpcl.settings.outline import OutlineSettings
from stages._stage import params, progress, run

INGEST, PREDICT, OUT = Path("data/ingest"), Path("data/predict"), Path("data/audit")
PROMISES = Path("reports/audit/promises.json")
SAID = {
    OMISSIONS: ("candidates that are not in the inventory", "landslides"),
    DOUBTFUL: ("landslides of the inventory", "none"),
    OUTLINES: ("outlines of the inventory", "badly drawn"),
}


def main() -> None:
    """Write data/audit/<area>/review.gpkg with a layer for each kind of question, a QGIS project to answer them in, and
    reports/audit/promises.json."""
    settings, names = params("audit", AuditSettings), list(distinct(params("areas", Names)))
    drawing = _drawing()
    thresholds, _ = points.chosen(counts.read(Path("data/calibrate")), drawing.operating_point)
    asked: dict[str, dict[str, Questions]] = {layer: {} for layer in SAID}
    tables: dict[str, dict[str, gpd.GeoDataFrame]] = {name: {} for name in names}
    done = progress("audit")
    for number, name in enumerate(names, 1):
        with _ground(name, thresholds, drawing) as ground:
            asked[OMISSIONS][name] = asking.missing(ground, drawing.minimum_area_m2)
            asked[DOUBTFUL][name] = asking.doubted(ground)
            asked[OUTLINES][name] = asking.misdrawn(ground)
            tables[name][NEXT] = _next(ground, settings)
        done(number, len(names))
    answered = {name: _answered(name) for name in names}
    doubted = asked[DOUBTFUL].values()
    findings = told.findings(
        told.told_apart(joined([one.asked for one in doubted]), joined([one.known for one in doubted]))
    )
    facts = {}
    for layer, questions in asked.items():
        found, promise = rows.layer_rows(
            layer,
            questions,
            {name: one for name, one in answered.items() if one},
            settings.promise_frac,
            told=not findings,
        )
        for name, table in found.items():
            tables[name][layer] = table
        facts[layer] = LayerFacts(
            rows=sum(map(len, found.values())), promise=promise, answers=_answers(layer, answered)
        )
        print(f"audit: {_sentence(layer, facts[layer].rows, promise, settings)}")
    for finding in findings:
        print(f"audit: {finding}")
    for name, layers in tables.items():
        inventory, weights = (
            _inventory(name),
            artifacts.read_json(PREDICT / name / "facts.json", MapFacts).weights_sha256,
        )
        ordered = {layer: rows.finished(layers[layer], inventory, weights) for layer in (*SAID, NEXT)}
        vector.write_layers(OUT / name / "review.gpkg", ordered)
        columns = {layer: [*table.columns.drop("geometry")] for layer, table in ordered.items()}
        artifacts.write_bytes(OUT / name / f"{name}.qgs", project(name, Path("data"), columns).encode())
    artifacts.write_json(
        PROMISES,
        AuditFacts(omissions=facts[OMISSIONS], doubtful=facts[DOUBTFUL], outlines=facts[OUTLINES], findings=findings),
    )


def _drawing() -> OutlineSettings:
    """How candidates are drawn: as polygons are, but at the threshold that tells most, and the unsure ones too."""
    return OutlineSettings(
        operating_point="best_iou",
        neck_frac=params("outline.neck_frac", float),
        minimum_area_m2=params("outline.minimum_area_m2", float),
        simplify_px=params("outline.simplify_px", float),
        minimum_mean_probability=0.0,
    )


@contextmanager
def _ground(name: str, thresholds: Thresholds, drawing: OutlineSettings) -> Iterator[MappedArea]:
    """The area with its files open, and what is mapped there at these thresholds."""
    probability, labels = PREDICT / name / "probability.tif", INGEST / name / "labels.tif"
    classes = artifacts.read_json(PREDICT / name / "facts.json", MapFacts).classes
    table = polygons.landslides(
        probability,
        thresholds,
        drawing,
        classes=classes,
        provenance={},
        terrain=Path("data/terrain") / name / "terrain.tif",
        elevation=Path("data/coregister") / name / "dem.tif",
    )
    with ExitStack() as files:
        mapped = files.enter_context(Mapped(probability, thresholds))
        inventory = _inventory(name, table)
        if not labels.exists():
            yield MappedArea(table, inventory, mapped, _unlabelled)
            return
        source = files.enter_context(raster.Source(labels))
        raster.common_grid({one.path: one.grid for one in (mapped.source, source)})
        yield MappedArea(table, inventory, mapped, lambda roi: source.read(roi)[0])


def _unlabelled(roi: raster.Roi) -> asking.Array:
    return np.full([span.stop - span.start for span in roi], UNKNOWN, np.uint8)


def _inventory(name: str, like: gpd.GeoDataFrame | None = None) -> gpd.GeoDataFrame:
    """The landslides of an area; none where it has no inventory."""
    path = INGEST / name / "landslides.gpkg"
    if path.exists():
        return vector.read(path)
    crs = like.crs if like is not None else None
    return gpd.GeoDataFrame({"id": np.zeros(0, np.int64), "class": np.zeros(0, object)}, geometry=[], crs=crs)


def _next(ground: MappedArea, settings: AuditSettings) -> gpd.GeoDataFrame:
    grid = ground.map.source.grid

    def read(span: slice) -> tuple[asking.Array, asking.Array, asking.Array]:
        roi = span, slice(0, grid.shape[1])
        probability, uncertainty = ground.map.source.read(roi, ["probability", "uncertainty"])
        return probability, uncertainty, ground.unlabelled(roi)

    squares = next_ground.squares(grid, read, settings.next_cell_px, settings.next_cells)
    known = ground.inventory if len(ground.inventory) else ground.mapped
    usual_m2 = float(np.median(known.geometry.area)) if len(known) else 1.0
    return rows.next_rows(squares, usual_m2, ground.mapped.crs)


def _answered(name: str) -> Answered | None:
    """What was decided in earlier rounds, if anything was."""
    path = INGEST / name / "review.gpkg"
    if not path.exists():
        return None
    tables = [vector.read(path, layer).assign(layer=layer) for layer in LAYERS]
    table = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    return Answered(table[table["applied"].astype(bool)].reset_index(drop=True))


def _answers(layer: str, answered: Mapping[str, Answered | None]) -> Answers | None:
    """What became of the rows of a layer that had a probability and were answered yes or no."""
    right, expected = [], []
    for one in answered.values():
        if one is None:
            continue
        table = one.table[(one.table["layer"] == layer) & one.table["decision"].isin(["accept", "redraw", "reject"])]
        table = table[table["probability"].notna()]
        right += (table["decision"] != "reject").tolist()
        expected += table["probability"].tolist()
    return Answers(rows=len(right), right=sum(right), expected=sum(expected)) if right else None


def _sentence(layer: str, count: int, promise: Promise | None, settings: AuditSettings) -> str:
    what, right = SAID[layer]
    if promise is None:
        return f"{count} {what}; too little is known to say how many are {right}."
    sure = f"{settings.promise_frac:.0%}"
    return (
        f"of {promise.rows} {what} {promise.expected:.0f} are probably {right}"
        f" ({promise.low:.0f} to {promise.high:.0f}, {sure} sure)."
    )


if __name__ == "__main__":
    run(main)
