"""Section `terrain`: how the ground is described, and what its bands are called."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


class BandNameError(ValueError):
    """A band of an area is called as one of its terrain will be."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TerrainSettings:
    """How the ground is described.

    ``smoothing_m``: standard deviation of the Gaussian that precedes differentiation, 0 for none. ``sun_azimuth_deg``
    (clockwise from north) and ``sun_altitude_deg`` (above the horizon) light the hillshade. ``relief_radii_m``: half
    sides of the squares over which elevation is averaged; ``roughness_radius_m``: the same for the local texture.
    ``compression`` of terrain.tif: ``deflate``, which every GIS reads, or ``zstd``, which is faster and which old ones do not.
    """

    smoothing_m: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sun_azimuth_deg: Annotated[float, Field(ge=0, le=360)]
    sun_altitude_deg: Annotated[float, Field(ge=0, le=90)]
    relief_radii_m: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    roughness_radius_m: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    compression: Literal["deflate", "zstd"]


BANDS = (
    "slope", "n_east", "n_north", "n_up", "hillshade", "profile_curvature", "plan_curvature", "relief_{}m", "roughness",
)  # fmt: skip
"""Every attribute of the ground, in the order of the bands; ``{}`` stands for each of ``relief_radii_m``."""


def names(settings: TerrainSettings) -> tuple[str, ...]:
    """The bands of terrain.tif, in order.

    >>> names(TerrainSettings(smoothing_m=0, sun_azimuth_deg=315, sun_altitude_deg=45, relief_radii_m=(20, 80.5),
    ...                       roughness_radius_m=10, compression="deflate"))[-3:]
    ('relief_20m', 'relief_80.5m', 'roughness')
    """
    return tuple(
        name.format(f"{radius:g}") for name in BANDS for radius in (settings.relief_radii_m if "{}" in name else (0.0,))
    )


def check_own_bands(area: str, image: Collection[str], terrain: Collection[str]) -> None:
    """Raise `BandNameError` if a band of an area's image bears the name of one of its terrain."""
    if twice := set(image) & set(terrain):
        raise BandNameError(
            f"Area {area} has a band '{min(twice)}' of its own, which is what a band of its terrain is called; rename the file"
            " or band in data/raw."
        )
