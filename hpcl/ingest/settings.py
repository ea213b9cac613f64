"""What is expected of a raw area, and the error that says what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]


class IngestError(ValueError):
    """A raw area that cannot be used; the message names file, finding and remedy."""


@settings_dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class IngestSettings:
    """What is expected of a raw area."""

    optical_bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the optical bands; an optical file has as many, and its own names, where it has them, win."""
    dem_margin_px: Annotated[int, Field(ge=0)]
    """Pixels of the DEM that are kept around the image, so that a shifted DEM still covers it."""
    area_change_max_frac: Annotated[float, Field(ge=0, le=1)]
    """An inventory whose area changes by more when its polygons are repaired is refused."""
    stretch_max_frac: Annotated[float, Field(ge=0)]
    """A projected CRS whose metres differ from metres on the ground by more, anywhere on the image, is no metric grid."""
