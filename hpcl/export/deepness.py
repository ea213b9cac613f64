"""What the graph says of itself: for QGIS's plugin Deepness, which reads some keys, and for whoever opens the file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping

from hpcl.core.records import TrainedFacts
from hpcl.export.form import NODATA, WEIGHTS

BYTE = 255
"""By which Deepness divides what it reads, as if all images were of bytes; the standardisation below takes that back."""


def metadata(
    facts: TrainedFacts, overlap_frac: float, thresholds: Mapping[str, float], weights_sha256: str
) -> dict[str, str]:
    """Keys and values of the graph, values as JSON. ``thresholds`` are those of new ground by operating point, the one that is
    preset first."""
    names = [{0: "background", 1: "landslide" if len(facts.classes) > 1 else facts.classes[0]}]
    if len(facts.classes) > 1:
        names.append(dict(enumerate(["background", *facts.classes])))
    bands = len(facts.bands)
    told = {
        "model_type": "Segmentor",
        "class_names": names if len(names) > 1 else names[0],  # older versions of the plugin know one output only
        "resolution": round(100 * statistics.median_low(facts.pixel_m), 6),  # cm
        "tile_size": facts.window_px,
        "tiles_overlap": round(100 * overlap_frac),
        "seg_thresh": next(iter(thresholds.values())),
        "seg_small_segment": 0,
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1 / BYTE] * bands,
        "hpcl_bands": facts.band_names,
        "hpcl_classes": facts.classes,
        "hpcl_nodata": NODATA,
        "hpcl_thresholds": thresholds,
        WEIGHTS: weights_sha256,
    }
    return {key: json.dumps(value) for key, value in told.items()}
