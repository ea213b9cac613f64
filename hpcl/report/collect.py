"""What all stages wrote, gathered for the report: an area's metadata, and every figure as the bytes of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.core import artifacts
from hpcl.core.records import (
    AreaFacts,
    AttentionFacts,
    MapFacts,
    OutlineFacts,
    ShiftFacts,
    TerrainFacts,
    Thresholds,
    TiledArea,
    TileFacts,
)
from hpcl.geo import blocks, raster
from hpcl.metrics.records import Metrics
from hpcl.report import charts, enlarged, facts, maps, sheets, style
from hpcl.report.ground import DATA, extent_km, ground, images, outlines, shown
from hpcl.report.html import worded
from hpcl.settings.report import ReportSettings
from hpcl.tiles import stored

REPORTS = Path("reports")
Array = npt.NDArray[Any]


def curves(metrics: Metrics, settings: ReportSettings) -> dict[str, bytes]:
    """The figures of scores, by file name."""
    drawn = {
        "scores": charts.score_intervals(metrics),
        "precision_recall": charts.precision_recall(
            artifacts.read_csv(REPORTS / "evaluate" / "precision_recall.csv", {"map": str}), metrics
        ),
        "reliability": charts.reliability(artifacts.read_csv(REPORTS / "evaluate" / "reliability.csv", {"map": str})),
        "risk_coverage": charts.risk_coverage(
            artifacts.read_csv(REPORTS / "evaluate" / "risk_coverage.csv", {"coverage": float, "error_frac": float})
        ),
    }
    return style.pngs({f"{name}.png": figure for name, figure in drawn.items()}, settings)


def read_mapped(name: str) -> facts.Mapped:
    """The facts of one area that every area has."""
    return facts.Mapped(
        name=name,
        ingest=artifacts.read_json(DATA / "ingest" / name / "facts.json", AreaFacts),
        shift=artifacts.read_json(DATA / "coregister" / name / "shift.json", ShiftFacts),
        terrain=artifacts.read_json(DATA / "terrain" / name / "facts.json", TerrainFacts),
        predict=artifacts.read_json(DATA / "predict" / name / "facts.json", MapFacts),
        outline=artifacts.read_json(DATA / "outline" / name / "facts.json", OutlineFacts),
    )


def read_area(name: str, tiles: TileFacts, settings: ReportSettings) -> tuple[facts.Area, Array]:
    """The facts of one area, and what became of its labelled ground, as codes that stand for the map."""
    mapped = read_mapped(name)
    own = tiles.areas.get(name)
    codes, counts = (
        _outcomes(name, own, mapped.outline.thresholds, settings.map_px) if own else (np.zeros(0), np.zeros((0, 5)))
    )
    pixel_km2 = abs(own.transform[0] * own.transform[4]) / 1e6 if own else 0.0
    area = facts.Area(
        **vars(mapped),
        explain=artifacts.read_json(DATA / "explain" / name / "facts.json", AttentionFacts),
        tiles=own,
        outcome_km2={code: float(n) * pixel_km2 for code, n in enumerate(counts.sum(axis=0))}
        if counts[:, 1:].any()
        else None,
        enlarged=enlarged.blocks(own, counts) if own else [],
    )
    return area, codes


def _outcomes(name: str, tiles: TiledArea, thresholds: Thresholds, max_px: int) -> tuple[Array, Array]:
    """Outcomes of the pixels that stand for the map, and how many pixels of the whole scene have each, ``(block, code)``.

    Shown are outcomes of real pixels: those of averaged probabilities would be none that was scored.
    """
    (labels,) = stored.arrays(name, tiles, "labels")
    rows, columns = (maps.sample(length, max(labels.shape), max_px) for length in labels.shape)
    shown = np.zeros((len(rows), len(columns)), dtype=np.uint8)
    counts = np.zeros((len(tiles.folds), 5), dtype=np.int64)
    with raster.Source(DATA / "predict" / name / "probability.tif") as source:
        raster.common_grid({stored.FACTS: stored.grid(tiles), source.path: source.grid})
        for down, across in blocks.walk(source.grid.shape):
            roi = down, across
            codes = maps.outcomes(source.read(roi, ["probability"])[0], labels[roi], tiles.networks(*roi), thresholds)
            counts += np.bincount((tiles.blocks(*roi) * 5 + codes).ravel(), minlength=counts.size).reshape(counts.shape)
            i, j = (
                np.flatnonzero((at >= part.start) & (at < part.stop)) for at, part in ((rows, down), (columns, across))
            )
            shown[np.ix_(i, j)] = codes[np.ix_(rows[i] - down.start, columns[j] - across.start)]
    return shown, counts


def mapped_figures(area: facts.Mapped, settings: ReportSettings) -> dict[str, bytes]:
    """The figures of an area that was only mapped, by kind."""
    seen = ground(area.name, settings, inventory=False, mapped=True)
    return style.pngs({"map": _map(area, seen, settings)} | images(seen, settings), settings)


def area_figures(area: facts.Area, outcomes: Array, settings: ReportSettings) -> dict[str, bytes]:
    """The figures of one area that show what its map says at the operating point, by kind."""
    seen = ground(area.name, settings, inventory=area.tiles is not None, mapped=True)
    with raster.Source(DATA / "predict" / area.name / "probability.tif") as mapped:
        uncertainty = mapped.thumbnail(settings.map_px, ["uncertainty"])[0]
    drawn = {"map": _map(area, seen, settings), "uncertainty": maps.uncertainty_map(seen, uncertainty)}
    if area.outcome_km2 is not None:
        drawn["outcomes"] = maps.outcome_map(seen, outcomes, area.outcome_km2)
    if area.enlarged and area.tiles:
        drawn["enlarged"] = _enlarged(area, area.tiles, settings)
    return style.pngs(drawn, settings)


def _map(area: facts.Mapped, seen: maps.Ground, settings: ReportSettings) -> Any:
    """The landslide map."""
    paths = [DATA / "terrain" / area.name / "terrain.tif", DATA / "predict" / area.name / "probability.tif"]
    with raster.Source(paths[0]) as relief, raster.Source(paths[1]) as mapped:
        raster.common_grid({source.path: source.grid for source in (relief, mapped)})
        probability = mapped.thumbnail(settings.map_px, ["probability"])[0]
    return maps.landslide_map(seen, probability, worded(area.outline.operating_point))


def _enlarged(area: facts.Area, tiles: TiledArea, settings: ReportSettings) -> Any:
    """The blocks to look at closely, in all of their pixels, or in as many as a map may have."""
    name, most = area.name, settings.map_px
    inventory = outlines(DATA / "ingest" / name / "landslides.gpkg")
    (labels,) = stored.arrays(name, tiles, "labels")
    views = []
    with (
        raster.Source(DATA / "terrain" / name / "terrain.tif") as relief,
        raster.Source(DATA / "ingest" / name / "image.tif") as optical,
        raster.Source(DATA / "predict" / name / "probability.tif") as mapped,
    ):
        bands = shown(optical)
        for block in area.enlarged:
            roi = block.rows, block.columns
            sides = [side.stop - side.start for side in roi]
            at = np.ix_(*(maps.sample(side, max(sides), most) for side in sides))
            codes = maps.outcomes(
                mapped.read(roi, ["probability"])[0], labels[roi], tiles.networks(*roi), area.outline.thresholds
            )
            ground = maps.Ground(
                area=name,
                crs_name=area.ingest.crs_name,
                extent_km=extent_km(optical.grid[roi]),
                hillshade=relief.read(roi, ["hillshade"])[0][at],
                inventory=inventory,
            )
            title = f"{block.why}: block {block.number}, landslide IoU {block.landslide_iou:.2f}"
            views.append(sheets.View(title, ground, optical.thumbnail(most, bands, roi), codes[at]))
    source = (
        f"{name} in data/ingest ({', '.join(bands)}; stretched 2-98 %), data/predict, data/tiles, over its data/terrain"
    )
    return sheets.enlarged(views, source, settings.dpi)
