"""What all stages wrote, gathered for the report: an area's metadata, and every figure as the bytes of its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from hpcl import sensors
from hpcl.core import artifacts
from hpcl.core.codes import OUTSIDE, UNKNOWN
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
from hpcl.geo import blocks, raster, vector
from hpcl.metrics.records import Metrics
from hpcl.report import charts, enlarged, facts, maps, sheets, style
from hpcl.report.budget import of_areas
from hpcl.report.html import worded
from hpcl.settings.report import ReportSettings
from hpcl.tiles import stored

DATA, REPORTS = Path("data"), Path("reports")
Array = npt.NDArray[Any]


def curves(metrics: Metrics, settings: ReportSettings) -> dict[str, bytes]:
    """The figures of training and scores, by file name."""
    table = artifacts.read_csv(REPORTS / "train" / "curves.csv", {"fold": int, "epoch": int, "loss": float})
    losses = {"loss": "training", "held_loss": "held-out fold", "contrast_loss": "contrast, unweighted"}
    watches = {
        "held_iou": "landslide IoU, held-out fold",
        "key_spread": "spread of keys",
        "queue_fill_frac": "filled queues",
        "queue_purity_frac": "purity of queues",
        "separation": "separation of classes",
    }
    drawn = {
        "scores": charts.score_intervals(metrics),
        "precision_recall": charts.precision_recall(
            artifacts.read_csv(REPORTS / "evaluate" / "precision_recall.csv", {"map": str}), metrics
        ),
        "reliability": charts.reliability(artifacts.read_csv(REPORTS / "evaluate" / "reliability.csv", {"map": str})),
        "risk_coverage": charts.risk_coverage(
            artifacts.read_csv(REPORTS / "evaluate" / "risk_coverage.csv", {"coverage": float, "error_frac": float})
        ),
        "training_loss": charts.training(table, charts.Curves("Losses", losses, "loss [-]", True)),
        "training_watch": charts.training(table, charts.Curves("Watches", watches, "value [-]", False)),
    }
    return style.pngs({f"{name}.png": figure for name, figure in drawn.items()}, settings)


def budget_curves(table: pd.DataFrame, names: Sequence[str], settings: ReportSettings) -> dict[str, bytes]:
    """The figures of the label budget, one for each ground of these areas, by file name."""
    grounds = of_areas(table, set(names)).groupby("ground", sort=False)
    drawn = {f"budget_{number}.png": charts.label_budget(one) for number, (_, one) in enumerate(grounds, start=1)}
    return style.pngs(drawn, settings)


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
    return style.pngs(_maps(area, _ground(area, inventory=False, settings=settings), settings), settings)


def area_figures(area: facts.Area, outcomes: Array, settings: ReportSettings) -> dict[str, bytes]:
    """Every figure of one area, by kind."""
    drawn = _views(area, outcomes, settings) | _residuals(area.name, settings) | _attention(area, settings)
    if area.enlarged and area.tiles:
        drawn["enlarged"] = _enlarged(area, area.tiles, settings)
    return style.pngs(drawn, settings)


def _views(area: facts.Area, outcomes: Array, settings: ReportSettings) -> dict[str, Any]:
    ground = _ground(area, area.tiles is not None, settings)
    with raster.Source(DATA / "predict" / area.name / "probability.tif") as mapped:
        grid, uncertainty = mapped.grid, mapped.thumbnail(settings.map_px, ["uncertainty"])[0]
    drawn = _maps(area, ground, settings) | {"uncertainty": maps.uncertainty_map(ground, uncertainty)}
    if area.tiles is not None:
        labels, block = stored.arrays(area.name, area.tiles, "labels", "block")
        at = np.ix_(*(maps.sample(length, max(grid.shape), settings.map_px) for length in grid.shape))
        folds = np.where(labels[at] == UNKNOWN, OUTSIDE, np.asarray(area.tiles.folds)[block[at]])
        drawn["folds"] = maps.fold_map(ground, area.tiles, folds)
        if area.outcome_km2 is not None:
            drawn["outcomes"] = maps.outcome_map(ground, outcomes, area.outcome_km2)
    return drawn


def _ground(area: facts.Mapped, inventory: bool, settings: ReportSettings) -> maps.Ground:
    """What all maps of an area share, with the outlines of its inventory if that is shown."""
    with raster.Source(DATA / "terrain" / area.name / "terrain.tif") as relief:
        grid, hillshade = relief.grid, relief.thumbnail(settings.map_px, ["hillshade"])[0]
    return maps.Ground(
        area=area.name,
        crs_name=area.ingest.crs_name,
        extent_km=_extent_km(grid),
        hillshade=hillshade,
        mapped=_outlines(DATA / "outline" / area.name / "landslides.gpkg"),
        inventory=_outlines(DATA / "ingest" / area.name / "landslides.gpkg") if inventory else [],
    )


def _maps(area: facts.Mapped, ground: maps.Ground, settings: ReportSettings) -> dict[str, Any]:
    """The landslide map, and the image on the same frame."""
    with (
        raster.Source(DATA / "terrain" / area.name / "terrain.tif") as relief,
        raster.Source(DATA / "ingest" / area.name / "image.tif") as optical,
        raster.Source(DATA / "predict" / area.name / "probability.tif") as mapped,
    ):
        raster.common_grid({source.path: source.grid for source in (optical, relief, mapped)})
        shown = _shown(optical)
        image = optical.thumbnail(settings.map_px, shown)
        probability = mapped.thumbnail(settings.map_px, ["probability"])[0]
    return {
        "map": maps.landslide_map(ground, probability, worded(area.outline.operating_point)),
        "image": maps.image_map(ground, image, shown),
    }


def _shown(image: raster.Source) -> list[str]:
    """The bands of an image to show, as red, green and blue or as grey."""
    return sensors.shown([band.name for band in image.bands], abs(image.grid.affine.a))


def _enlarged(area: facts.Area, tiles: TiledArea, settings: ReportSettings) -> Any:
    """The blocks to look at closely, in all of their pixels, or in as many as a map may have."""
    name, most = area.name, settings.map_px
    inventory = _outlines(DATA / "ingest" / name / "landslides.gpkg")
    (labels,) = stored.arrays(name, tiles, "labels")
    views = []
    with (
        raster.Source(DATA / "terrain" / name / "terrain.tif") as relief,
        raster.Source(DATA / "ingest" / name / "image.tif") as optical,
        raster.Source(DATA / "predict" / name / "probability.tif") as mapped,
    ):
        shown = _shown(optical)
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
                extent_km=_extent_km(optical.grid[roi]),
                hillshade=relief.read(roi, ["hillshade"])[0][at],
                inventory=inventory,
            )
            title = f"{block.why}: block {block.number}, landslide IoU {block.landslide_iou:.2f}"
            views.append(sheets.View(title, ground, optical.thumbnail(most, shown, roi), codes[at]))
    source = (
        f"{name} in data/ingest ({', '.join(shown)}; stretched 2-98 %), data/predict, data/tiles, over its data/terrain"
    )
    return sheets.enlarged(views, source, settings.dpi)


def _extent_km(grid: raster.Grid) -> tuple[float, float, float, float]:
    box = grid.boundingbox
    return box.left / 1e3, box.right / 1e3, box.bottom / 1e3, box.top / 1e3


def _outlines(path: Path) -> list[Array]:
    """Every ring of the polygons of a file, in km."""
    shapes = vector.read(path).geometry.to_numpy()
    rings = shapely.get_rings(shapely.get_parts(shapes))
    return [shapely.get_coordinates(ring) / 1e3 for ring in rings]


def _residuals(name: str, settings: ReportSettings) -> dict[str, Any]:
    """Residuals before and after the coregistration, if it compared anything."""
    residuals = []
    for when in ("before", "after"):
        path = DATA / "coregister" / name / f"residual_{when}.tif"
        if path.exists():
            with raster.Source(path) as source:
                values, band = source.thumbnail(settings.map_px)[0], source.bands[0]
                residuals.append(maps.Residual(name, when, values, _extent_km(source.grid), band.name, band.unit))
    limit = maps.residual_limit(*(residual.values for residual in residuals))
    return {f"residual_{residual.when}": maps.residual_map(residual, limit) for residual in residuals}


def _attention(area: facts.Area, settings: ReportSettings) -> dict[str, Any]:
    """The first explained windows, and the shares of all of them."""
    name, explained = area.name, area.explain
    folder, drawn = DATA / "explain" / name, {}
    for number, window in enumerate(explained.windows[: settings.attention_windows], start=1):
        seen, top, left = raster.read(folder / f"attention_{number:02d}.tif"), window.row_px, window.column_px
        cams = dict(zip([band.name for band in seen.bands], seen.values, strict=True))
        height, width = seen.grid.shape
        roi = slice(top, top + height), slice(left, left + width)
        with raster.Source(DATA / "ingest" / name / "image.tif") as source:
            image = source.read(roi, _shown(source))
        with raster.Source(DATA / "terrain" / name / "terrain.tif") as source:
            hillshade = source.read(roi, ["hillshade"])[0]
        landslide = np.zeros(hillshade.shape, bool)
        if area.tiles is not None:
            labels = stored.arrays(name, area.tiles, "labels")[0][roi]
            landslide = (labels >= 1) & (labels != UNKNOWN)
        title = f"{name}: window {number}, rows from {top}, columns from {left}"
        source_file = f"data/explain/{name}/attention_{number:02d}.tif"
        drawn[f"attention_{number}"] = sheets.attention(
            sheets.Explained(title, image, hillshade, landslide, cams, source_file)
        )
    known = [share.boundary_ground_frac for share in explained.attention.values()]
    if explained.windows and any(value is not None for value in known):
        drawn["attention_shares"] = charts.attention_shares(name, explained.attention)
    return drawn
