"""Where a landslide's boundary is its toe: the part that faces downhill. The rest are its back and side walls.

Old landslides keep their walls longest; their toes blur into the valley floor (METHOD of arXiv 2308.01251: contrast
distils walls; which part of the boundary that is, is our choice).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

TOE_HALF_ANGLE_DEG = 45.0
EIGHT = np.ones((3, 3), bool)


def toe(
    landslide: npt.NDArray[np.bool_], east: npt.NDArray[np.float32], north: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Pixels ``(row, column)`` whose nearest landslide faces downhill there.

    ``east`` and ``north`` are the horizontal components of the surface normal, which points downhill. The outward
    normal of a landslide is the gradient of the distance to it; the toe is where it lies within 45 degrees of the
    landslide's mean downhill direction. Landslides are 8-connected patches; without one, or on level ground, there is
    no toe.
    """
    patches, found = ndimage.label(landslide, EIGHT)
    if not found:
        return np.zeros_like(landslide)
    outside, (rows, columns) = ndimage.distance_transform_edt(~landslide, return_indices=True)
    distance = outside - ndimage.distance_transform_edt(landslide)
    down_row, down_column = np.gradient(distance)
    numbers = np.arange(1, found + 1)
    downhill = np.array([ndimage.mean(np.nan_to_num(part), patches, numbers) for part in (east, north)])
    length = np.hypot(*downhill)
    downhill /= np.where(length > 0, length, np.inf)
    mine = patches[rows, columns] - 1
    outward = np.stack([down_column, -down_row])  # rows count southwards
    along = (outward * downhill[:, mine]).sum(0)
    facing = along > np.cos(np.radians(TOE_HALF_ANGLE_DEG)) * np.hypot(*outward)
    return np.asarray(facing & (along > 0))
