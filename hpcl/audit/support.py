"""What the map says of outlines, wherever they come from: measured pixel by pixel inside each, and just beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import geometry_mask
from scipy import ndimage

from hpcl.geo.raster import Grid, Roi
from hpcl.outline.mapped import Mapped

Array = npt.NDArray[Any]

RING_PX = 4
"""How far beside an outline the ring reaches with which its inside is compared."""
LEAST_LOGIT = 7.0
"""Logits of mean probabilities are held within this: beyond, digits of the map and not the ground decide."""


@dataclass(frozen=True)
class Support:
    """What the map says of each of some shapes; arrays ``(shape,)``, NaN where nothing is known inside."""

    probability: Array
    """Mean inside."""
    ring: Array
    """Mean in the ring around; as inside where there is none."""
    uncertainty: Array
    """Mean inside."""
    mapped_frac: Array
    """Share of the inside that is mapped as landslide."""
    network: Array
    """Code of the network that mapped most of it."""
    area_m2: Array

    @property
    def known(self) -> Array:
        """Of which shapes the map says anything."""
        return np.isfinite(self.probability)

    def features(self) -> Array:
        """What tells landslides from other ground, ``(shape, feature)``: how probable inside, how much more so than beside it,
        how sure, how large."""
        inside, ring = logit(self.probability), logit(self.ring)
        columns = [inside, inside - ring, self.mapped_frac, self.uncertainty, np.log10(self.area_m2)]
        return np.stack(columns, axis=1)


def logit(probability: Array) -> Array:
    """The logarithm of the odds, held within `LEAST_LOGIT`."""
    with np.errstate(divide="ignore"):
        odds = np.log(probability) - np.log1p(-probability)
    return np.asarray(np.clip(odds, -LEAST_LOGIT, LEAST_LOGIT))


def support(mapped: Mapped, shapes: Array) -> Support:
    """Measure ``shapes``, which may lie over each other, in the CRS of the map."""
    rows = [_one(mapped, shape) for shape in shapes]
    probability, ring, uncertainty, mapped_frac, network = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Support(probability, ring, uncertainty, mapped_frac, network.astype(np.int64), shapely.area(shapes))


def _one(mapped: Mapped, shape: shapely.Geometry) -> tuple[float, float, float, float, int]:
    """The numbers of one shape: of the pixels whose centres lie inside, or of the one that holds it if it is smaller."""
    roi = around(mapped.source.grid, shape, RING_PX + 1)
    if roi is None:
        return (np.nan, np.nan, np.nan, np.nan, 0)
    probability, uncertainty = mapped.source.read(roi, ["probability", "uncertainty"])
    inside = drawn(mapped.source.grid, shape, roi)
    known = np.isfinite(probability)
    if not (inside & known).any():
        return (np.nan, np.nan, np.nan, np.nan, 0)
    beside = ndimage.binary_dilation(inside, iterations=RING_PX) & ~inside & known
    inside &= known
    networks = mapped.networks(roi)[inside]
    return (
        float(probability[inside].mean()),
        float(probability[beside if beside.any() else inside].mean()),
        float(uncertainty[inside].mean()),
        float(mapped.landslide(roi)[inside].mean()),
        int(np.bincount(networks).argmax()),
    )


def around(grid: Grid, shape: shapely.Geometry, margin_px: int) -> Roi | None:
    """The pixels of a grid on which a shape lies, and some beside it; None if it lies elsewhere."""
    affine = grid.affine
    west, south, east, north = shape.bounds
    edges = [
        ((north - affine.f) / affine.e, (south - affine.f) / affine.e),
        ((west - affine.c) / affine.a, (east - affine.c) / affine.a),
    ]
    spans = []
    for (first, last), size in zip(edges, grid.shape, strict=True):
        start, stop = max(int(np.floor(first)) - margin_px, 0), min(int(np.ceil(last)) + margin_px, size)
        if start >= stop or first >= size or last <= 0:
            return None
        spans.append(slice(start, stop))
    return spans[0], spans[1]


def drawn(grid: Grid, shape: shapely.Geometry, roi: Roi) -> npt.NDArray[np.bool_]:
    """Which pixels of a window lie in a shape, by their centres; of a shape that holds no centre, those it touches."""
    affine = grid.affine * Affine.translation(roi[1].start, roi[0].start)
    size = roi[0].stop - roi[0].start, roi[1].stop - roi[1].start
    for touched in (False, True):
        inside = ~geometry_mask([shape], size, affine, all_touched=touched)
        if inside.any():
            break
    return np.asarray(inside)
