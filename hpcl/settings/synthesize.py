"""Section `synthesize`: the built-in areas."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.core import dates

BANDS = ("red", "green", "blue", "nir")
"""Of each image of each synthetic area."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class BeforeSettings:
    """An earlier image of a synthetic area, and the DEM of that date: ``new_frac`` of the landslides are younger than both.

    The image shows the ground ``shift_east_m`` and ``shift_north_m`` away from where the later image has it.
    """

    new_frac: Annotated[float, Field(gt=0, lt=1)]
    shift_east_m: float
    shift_north_m: float


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class AreaSettings:
    """One synthetic area: its random ``seed``, its size in image pixels, and what is wrong with its DEM.

    The DEM shows the ground ``shift_east_m`` and ``shift_north_m`` away from where the image has it, and
    ``shift_up_m`` too high. ``reference_dem`` says whether a coarser DEM without these errors comes along, ``before`` whether an
    earlier image does.
    """

    seed: int = Field(ge=0)
    rows: int
    columns: int
    shift_east_m: float
    shift_north_m: float
    shift_up_m: float
    reference_dem: bool
    before: BeforeSettings | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Of its image, those of the earlier date included."""
        return (*BANDS, *map(dates.before, BANDS)) if self.before else BANDS


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SynthesizeSettings:
    """What all synthetic areas share. Their names begin with ``synthetic_``, so that no map of one is taken for real.

    ``landslide_frac`` is the share of the ground inside landslides, ``landslide_length_m`` the range of their lengths
    from crown to toe (short ones are frequent), ``landslide_age`` that of their ages: 0 is fresh, at 1 walls and hummocks have
    faded and gullies come back, at 2 little but a hollow is left. ``mapper_jitter_m`` is the standard deviation of a mapped
    vertex.
    """

    areas: dict[Annotated[str, Field(pattern="^synthetic_[A-Za-z0-9_-]+$")], AreaSettings]
    pixel_m: float
    dem_pixel_m: float
    dem_noise_m: float
    reference_pixel_m: float
    reference_noise_m: float
    landslide_frac: float
    landslide_length_m: tuple[float, float]
    landslide_age: tuple[Annotated[float, Field(ge=0, le=2)], Annotated[float, Field(ge=0, le=2)]]
    mapper_jitter_m: float
    sun_azimuth_deg: float
    sun_altitude_deg: float
