"""Metadata as stages leave it, for tests: whole records, of which a test names what it depends on."""

from __future__ import annotations

from typing import Any

from hpcl.core import records
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


def tiled_area(*splits: str, **changes: Any) -> records.TiledArea:
    given: dict[str, Any] = {
        "crs": CRS, "transform": TRANSFORM, "shape": [160, 160], "pixel_m": 2.0, "dem_pixel_m": 5.0,
        "blocks": [records.BlockFacts(number, split) for number, split in enumerate(splits)],
    }  # fmt: skip
    return records.TiledArea(**given | changes)


def tile_band(name: str, kind: records.BandKind = "scalar", mean: float = 0.0, std: float = 1.0) -> records.TileBand:
    return records.TileBand(name, kind, mean, std, "")


def tiles(areas: dict[str, records.TiledArea], **changes: Any) -> records.TileFacts:
    given: dict[str, Any] = {
        "sun": SUN, "bands": [tile_band("red", "image"), tile_band("slope")], "ground": NO_GROUND, "gap_px": 8,
        "classes": ["landslide"], "window_px": 64, "split": {},
    }  # fmt: skip
    return records.TileFacts(areas=areas, **given | changes)


def trained(**changes: Any) -> records.TrainedFacts:
    given: dict[str, Any] = {
        "bands": [BandFacts("red", "image", 0.0, 1.0)], "classes": ["landslide"], "window_px": 64, "sun": SUN,
        "trained_on": [], "pixel_m": [2.0], "temperature": 1.0, "threshold": 0.5, "epoch": 0,
    }  # fmt: skip
    return records.TrainedFacts(**given | changes)


def baselines(**changes: Any) -> records.BaselineFacts:
    given: dict[str, Any] = {
        "slope_threshold_deg": 14.25, "direction": "steeper", "slope_threshold_train_landslide_iou": 0.2,
        "pixel_classifier_threshold": 0.45, "pixel_classifier_validation_landslide_iou": 0.4, "pixels": 1000,
        "bands": ["red", "slope"],
    }  # fmt: skip
    return records.BaselineFacts(**given | changes)


def mapped(**changes: Any) -> records.MapFacts:
    given: dict[str, Any] = {
        "area": "valley", "threshold": 0.4, "temperature": 1.3, "weights_sha256": "ab" * 32, "input_sha256": "cd" * 32,
        "classes": ["landslide"], "training_landslide_m2": [],
    }  # fmt: skip
    return records.MapFacts(**given | changes)


def outlined(**changes: Any) -> records.OutlineFacts:
    given: dict[str, Any] = {"area": "valley", "threshold": 0.4, "landslides": 0, "landslide_area_m2": 0.0}
    return records.OutlineFacts(**given | changes)


def attention(**changes: Any) -> records.AttentionFacts:
    given: dict[str, Any] = {"windows": [], "window_px": 64, "attention": {}}
    return records.AttentionFacts(**given | changes)


def training(**changes: Any) -> records.TrainingSummary:
    given: dict[str, Any] = {"val_iou": 0.5, "threshold": 0.4, "temperature": 1.3, "best_epoch": 15, "epochs": 20}
    return records.TrainingSummary(**{"parameters": 10**7} | given | changes)


def metrics(**changes: Any) -> scores.Metrics:
    none = scores.MapScores()
    counts = scores.Counts(test_blocks=9, test_px=123456, landslide_frac=0.09, no_prediction_px=12)
    given: dict[str, Any] = {
        "hpcl_net": none, "polygons": none, "slope_threshold": none, "pixel_classifier": none, "paired": {}, "counts": counts, "areas": [],
        "object_sizes": [],
    }  # fmt: skip
    return scores.Metrics(**given | changes)
