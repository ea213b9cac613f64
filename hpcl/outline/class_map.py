"""A map of probabilities becomes one of classes, and whether it says anything at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcl.core.codes import UNMAPPED
from hpcl.core.records import Thresholds
from hpcl.geo import blocks, cog, raster
from hpcl.outline.mapped import Mapped

MAX_LANDSLIDE_FRAC = 0.9
"""Of an area. An image cut to one landslide's bounding box shows three quarters of it."""


@dataclass(frozen=True)
class Coverage:
    """How much of a map is known and called landslide, and its highest probability."""

    known_px: int = 0
    landslide_px: int = 0
    highest: float = 0.0

    def with_part(self, probability: npt.NDArray[np.float32], threshold: float | npt.NDArray[np.float32]) -> Coverage:
        """This and a further part of the map, with one threshold or one for each pixel."""
        known = probability[~np.isnan(probability)]
        return Coverage(
            self.known_px + known.size,
            self.landslide_px + int((probability >= threshold).sum()),
            max(self.highest, float(known.max(initial=0))),
        )

    def findings(self, *thresholds: float) -> list[str]:
        """A sentence for a map that says everything or nothing at these thresholds."""
        low, high = f"{min(thresholds):.3g}", f"{max(thresholds):.3g}"
        named = f"a threshold of {low}" if low == high else f"thresholds from {low} to {high}"
        if not self.known_px:
            return [
                "Nothing was mapped: no pixel has data for every branch of the network; look at the area's rasters."
            ]
        share = self.landslide_px / self.known_px
        look = (
            "the findings on the area's bands, probability.tif, and reports/train/curves.csv with train.learning_rate"
        )
        if share == 0:
            return [
                f"The map shows no landslide, at {named}, which no pixel reaches (the highest probability is"
                f" {self.highest:.3g}); unless the area has none, look at {look}."
            ]
        if share > MAX_LANDSLIDE_FRAC:
            return [
                f"The map calls {share:.1%} of the area a landslide, at {named}, which no ground is; look at {look}."
            ]
        return []


def write(path: Path, out: Path, classes: Sequence[str], thresholds: Thresholds) -> Coverage:
    """Write the class codes of the map at ``path``: 0 below the threshold of a pixel's network, otherwise 1 + the most probable
    of ``classes``; `UNMAPPED` where nothing is known."""
    covered = Coverage()
    names = ["probability", *(f"probability_{name}" for name in classes if len(classes) > 1)]
    with (
        Mapped(path, thresholds) as mapped,
        cog.create(out, mapped.source.grid, [raster.Band("class")], "uint8", UNMAPPED) as sink,
    ):
        for roi in blocks.walk(mapped.source.grid.shape):
            probability, *by_class = mapped.source.read(roi, names)
            threshold = mapped.thresholds(roi)
            covered = covered.with_part(probability, threshold)
            best = np.nan_to_num(by_class).argmax(0) if by_class else 0
            codes = np.where(probability >= threshold, 1 + best, 0)
            sink.write(np.where(np.isnan(probability), UNMAPPED, codes).astype(np.uint8)[None], roi)
    return covered
