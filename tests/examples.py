"""Metadata as stages leave it, for tests: whole records, of which a test names what it depends on."""

from __future__ import annotations

import math
from typing import Any

from hpcl.core import records
from hpcl.core.codes import OUTSIDE
from hpcl.core.records import BandFacts, GroundFacts, ImageGround, Sun
from hpcl.metrics import records as scores

CRS = "EPSG:32648"
TRANSFORM = [2.0, 0.0, 500000.0, 0.0, -2.0, 4000000.0]
SUN = Sun(315.0, 45.0)
NO_GROUND = GroundFacts({}, ImageGround([], [], []))


def inventory(**changes: Any) -> records.InventoryFacts:
    counts = dict.fromkeys(
        ("null", "empty", "unreadable", "not_finite", "other_kinds", "collections", "repaired", "outside", "collapsed",
         "doubles", "without_pixel", "outside_extent", "class_overlaps"), 0,
    )  # fmt: skip
    given: dict[str, Any] = {
        **counts, "file": "landslides.gpkg", "given": 3, "n": 3, "area_change_frac": 0.0, "area_m2": 900.0,
        "labelled_extent": False, "unknown_frac": 0.0, "landslide_frac": 0.1,
    }  # fmt: skip
    return records.InventoryFacts(**given | changes)


def area(**changes: Any) -> records.AreaFacts:
    given: dict[str, Any] = {
        "area": "valley", "crs": CRS, "crs_name": CRS, "pixel_m": 2.0, "dem_pixel_m": 5.0, "stretch_frac": 0.0,
        "shape": [160, 160], "transform": TRANSFORM, "bands": [], "classes": [], "findings": [], "reprojected": [],
        "valid_frac": records.ValidShares(image=1.0, dem=1.0),
    }  # fmt: skip
    return records.AreaFacts(**given | changes)


def shift(**changes: Any) -> records.ShiftFacts:
    moves = dict.fromkeys(
        ("east_m", "north_m", "east_px", "north_px", "vertical_m", "tilt_east_m_per_km", "tilt_north_m_per_km"), 0.0
    )
    given: dict[str, Any] = {
        **moves, "method": "image", "accepted": True, "reason": "Moved.", "dem_pixel_m": 5.0, "quality_before": None,
        "quality_after": None, "sun": None,
    }  # fmt: skip
    return records.ShiftFacts(**given | changes)


def terrain(*bands: tuple[str, records.BandKind], findings: tuple[str, ...] = ()) -> records.TerrainFacts:
    told = [records.TerrainBand(name, "", kind, "made") for name, kind in bands]
    return records.TerrainFacts(bands=told, smoothing_m=0.0, sun=SUN, findings=list(findings))


def tiled_area(*folds: int, **changes: Any) -> records.TiledArea:
    """Blocks beside each other in one row, unless ``changes`` say otherwise, with these codes of folds."""
    given: dict[str, Any] = {
        "crs": CRS, "transform": TRANSFORM, "shape": [160, 160], "pixel_m": 2.0, "dem_pixel_m": 5.0,
        "tops": [0], "lefts": [160 * number // max(len(folds), 1) for number in range(len(folds))] or [0],
        "folds": list(folds) or [OUTSIDE],
    }  # fmt: skip
    return records.TiledArea(**given | changes)


def tile_band(name: str, kind: records.BandKind = "scalar") -> records.TileBand:
    return records.TileBand(name, kind, "")


def fold(*bands: records.TileBand, **changes: Any) -> records.FoldFacts:
    given: dict[str, Any] = {"blocks": 1, "labelled_px": 100, "landslide_px": 10}
    known = [BandFacts(band.name, band.kind, 0.0, 1.0) for band in bands]
    return records.FoldFacts(**{"bands": known} | given | changes)


def tiles(areas: dict[str, records.TiledArea], **changes: Any) -> records.TileFacts:
    bands = changes.pop("bands", [tile_band("red", "image"), tile_band("slope")])
    given: dict[str, Any] = {
        "sun": SUN, "bands": bands, "ground": NO_GROUND, "gap_px": 8, "classes": ["landslide"], "window_px": 64,
        "folds": [fold(*bands), fold(*bands)], "test": records.LabelledGround(blocks=0, labelled_px=0, landslide_px=0),
    }  # fmt: skip
    return records.TileFacts(areas=areas, **given | changes)


def trained(**changes: Any) -> records.TrainedFacts:
    given: dict[str, Any] = {
        "bands": [BandFacts("red", "image", 0.0, 1.0)], "classes": ["landslide"], "window_px": 64, "sun": SUN,
        "trained_on": [], "pixel_m": [2.0], "fold": 1, "folds": 2, "areas": {}, "held": held(),
    }  # fmt: skip
    return records.TrainedFacts(**given | changes)


def held(temperature: float = 1.0, px: int = 1000) -> records.HeldLoss:
    """A loss that is least at this temperature."""
    loss = [round(0.3 + math.log(tried / temperature) ** 2, 9) for tried in records.TEMPERATURES]
    return records.HeldLoss(loss=loss, px=px)


def thresholds(*by_fold: float, elsewhere: float = 0.4) -> records.Thresholds:
    return records.Thresholds(by_fold=list(by_fold) or [0.4, 0.4], elsewhere=elsewhere)


def temperatures(*by_fold: float, elsewhere: float = 1.3) -> records.Temperatures:
    return records.Temperatures(by_fold=list(by_fold) or [1.3, 1.3], elsewhere=elsewhere)


def baselines(**changes: Any) -> records.BaselineFacts:
    slope = records.SlopeFacts(threshold_deg=14.25, direction="steeper", landslide_iou=0.2)
    given: dict[str, Any] = {
        "slope": [slope, slope], "classifier_thresholds": thresholds(0.45, 0.45), "classifier_pixels": [1000, 1000],
        "bands": ["red", "slope"],
    }  # fmt: skip
    return records.BaselineFacts(**given | changes)


def mapped(**changes: Any) -> records.MapFacts:
    given: dict[str, Any] = {
        "area": "valley", "temperatures": temperatures(), "weights_sha256": "ab" * 32, "input_sha256": "cd" * 32,
        "classes": ["landslide"], "training_landslide_m2": [],
    }  # fmt: skip
    return records.MapFacts(**given | changes)


def outlined(**changes: Any) -> records.OutlineFacts:
    given: dict[str, Any] = {
        "area": "valley", "operating_point": "best_iou", "thresholds": thresholds(), "landslides": 0,
        "landslide_area_m2": 0.0,
    }  # fmt: skip
    return records.OutlineFacts(**given | changes)


def attention(**changes: Any) -> records.AttentionFacts:
    given: dict[str, Any] = {"windows": [], "window_px": 64, "attention": {}}
    return records.AttentionFacts(**given | changes)


def training(**changes: Any) -> records.TrainingSummary:
    folds = [records.FoldTraining(fold=number, held_iou=0.5) for number in (1, 2)]
    given: dict[str, Any] = {"folds": folds, "held_iou": 0.5, "epochs": 20, "parameters": 10**7}
    return records.TrainingSummary(**given | changes)


def audit(**changes: Any) -> records.AuditFacts:
    layer = records.LayerFacts(rows=5, promise=records.Promise(rows=5, expected=2.4, low=1.0, high=4.0))
    given: dict[str, Any] = {"omissions": layer, "doubtful": layer, "outlines": layer, "findings": []}
    return records.AuditFacts(**given | changes)


def metrics(**changes: Any) -> scores.Metrics:
    none = scores.MapScores()
    counts = scores.Counts(blocks=9, px=123456, landslide_frac=0.09, no_prediction_px=12)
    unsure = scores.UncertaintyScores(
        error_auroc=0.7, error_auroc_interval=(0.6, 0.8), top_tenth_error_frac=0.4,
        top_tenth_error_frac_interval=(0.3, 0.5),
    )  # fmt: skip
    given: dict[str, Any] = {
        "hpcl_net": none, "polygons": none, "slope_threshold": none, "pixel_classifier": none, "paired": {}, "counts": counts, "areas": [],
        "object_sizes": [], "instances": [], "folds": [], "operating_point": "best_iou", "operating_points": [], "uncertainty": unsure,
    }  # fmt: skip
    return scores.Metrics(**given | changes)
