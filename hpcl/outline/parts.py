"""A patch of the map is cut at its necks, so that landslides that touch become polygons of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

Array = npt.NDArray[Any]

MOST_PX = 2**25
"""Pixels of the rectangle around a patch that can be cut, which takes 80 bytes each."""

_ACROSS_EDGES = ndimage.generate_binary_structure(2, 1)
"""How pixels join to patches."""


class PartsError(ValueError):
    """A patch too large to be cut."""


def cut(patch: shapely.Polygon, neck_frac: float, fill_px: float = 0.0) -> list[shapely.Polygon]:
    """The parts of a patch, each a polygon like it: with sides along those of pixels, in pixels. Together they tile it.

    Two bodies are cut apart where the neck between them is narrower than ``neck_frac`` of the narrower body: where, of the
    distance to the nearest pixel beside the patch, the pass between two tops is below that share of the lower top. These tops
    are the markers of a watershed. A share, for landslides differ in size by orders of magnitude: a depth in metres that parts
    the large ones misses the small ones. Holes below ``fill_px`` [px^2] make no neck.

    A patch is cut as a whole, so that nothing depends on the strips in which a map is read. `PartsError` if it spans more than
    `MOST_PX`.
    """
    if patch.area * neck_frac**2 <= 1:  # no body is wide enough for the narrowest neck, a pixel
        return [patch]
    left, top, right, bottom = (round(side) for side in patch.bounds)
    shape = bottom - top, right - left
    if shape[0] * shape[1] > MOST_PX:
        raise PartsError(
            f"A patch of the map spans {shape[1]:,} x {shape[0]:,} pixels, more than can be cut ({MOST_PX:,} pixels); hardly any"
            " landslide does: choose an outline.operating_point with a higher threshold, or set outline.neck_frac to 0."
        )
    place = Affine.translation(left, top)
    inside, filled = (
        rasterize([one], out_shape=shape, transform=place, dtype="uint8") > 0
        for one in (patch, _filled(patch, fill_px))
    )
    width = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    bodies, count = ndimage.label(_tops(width, neck_frac) & filled, _ACROSS_EDGES)
    if count < 2:
        return [patch]
    parts = watershed(-width, np.where(inside, bodies, 0), mask=inside, connectivity=1)
    found = shapes(parts.astype(np.int32), mask=inside, connectivity=4, transform=place)
    return [shapely.Polygon(one["coordinates"][0], one["coordinates"][1:]) for one, _ in found]


def _filled(patch: shapely.Polygon, fill_px: float) -> shapely.Polygon:
    return shapely.Polygon(patch.exterior, [hole for hole in patch.interiors if shapely.Polygon(hole).area >= fill_px])


def _tops(width: Array, neck_frac: float) -> Array:
    """Where each body is widest ``(row, column)`` bool, and around it down to ``neck_frac`` of that.

    h-maxima with a share in place of the height h. `skimage.morphology.h_maxima` itself tells two tops of one height apart,
    however shallow the pass between them is.
    """
    return np.asarray(local_maxima(reconstruction(width * neck_frac, width, footprint=_ACROSS_EDGES), connectivity=1))
