"""Which pixels a landslide has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Footprint:
    """The pixels of a landslide: the part of the scene that holds them, and which of it they are, ``(row, column)``."""

    roi: tuple[slice, slice]
    inside: npt.NDArray[np.bool_]
