"""What co-registration answers: how far a DEM must be moved, how sure that is, and why it is believed or not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy.typing as npt

from hpcl.core.records import BandLook, ImageSun, ShiftFacts
from hpcl.settings.coregister import CoregisterSettings

Array = npt.NDArray[Any]

Point = tuple[float, float]
"""East and north."""

CERTAIN = 3.0
"""A shift of fewer standard errors is none."""


@dataclasses.dataclass(frozen=True)
class Light:
    """How the image was lit: brightness = ``before`` (or ``after``) . normal, both in the band that `shading` looks at.

    The coefficients belong to the normal (east, north, up) where the DEM was and where it was found to lie (None if it
    was not found); ``spread`` is the standard deviation of the brightness, ``band`` the layer of the image.
    """

    band: str
    spread: float
    before: tuple[float, ...]
    after: tuple[float, ...] | None

    @property
    def sun(self) -> ImageSun | None:
        """Where the sun stood; its altitude rests on the weak upward component, and is None where that makes no sense."""
        if self.after is None:
            return None
        east, north, up = self.after
        altitude_deg = math.degrees(math.atan2(up, math.hypot(east, north)))
        azimuth_deg = math.degrees(math.atan2(east, north)) % 360
        return ImageSun(azimuth_deg, altitude_deg if altitude_deg > 0 else None)


@dataclasses.dataclass(frozen=True)
class Shift:
    """How far the DEM must be moved, and whether that is believed.

    ``east_m`` and ``north_m`` are what was found, and are applied only if ``accepted``. A plane is always added to the
    elevation: ``vertical_m`` in the middle of the grid on which the DEM came, and ``tilt_*_m_per_km`` more for every
    kilometre east and north of it. The first is minus the median difference to the reference DEM and needs no gain, the
    tilt is 0 unless it is sure; both are 0 without reference. ``quality_before`` and ``_after`` are what ``quality`` names,
    as things are and with what was found: ``nmad_m`` of the elevation difference (less is better) or ``correlation`` of
    brightness with shading (more is better). ``bands`` is what each band of the image says by itself, ``findings`` are
    sentences on what is not wrong but must be known; both are empty with a reference DEM.
    """

    method: Literal["reference", "image"]
    accepted: bool
    reason: str
    pixel_m: Point
    east_m: float = 0.0
    north_m: float = 0.0
    vertical_m: float = 0.0
    tilt_east_m_per_km: float = 0.0
    tilt_north_m_per_km: float = 0.0
    quality: Literal["nmad_m", "correlation"] | None = None
    quality_before: float | None = None
    quality_after: float | None = None
    standard_error_px: float | None = None
    light: Light | None = None
    bands: tuple[BandLook, ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def move_m(self) -> Point:
        """Metres east and north by which the DEM is moved: what was found, or nothing."""
        return (self.east_m, self.north_m) if self.accepted else (0.0, 0.0)

    def lift_m(self, away_km: Array) -> Array:
        """Metres ``(row, column)`` that are added to the elevation of pixels which lie `away_from_km` from its middle."""
        return self.vertical_m + rise_m((self.tilt_east_m_per_km, self.tilt_north_m_per_km), away_km)

    def facts(self) -> ShiftFacts:
        """What shift.json says."""
        width_m, height_m = self.pixel_m
        return ShiftFacts(
            method=self.method,
            accepted=self.accepted,
            reason=self.reason,
            east_m=self.east_m,
            north_m=self.north_m,
            east_px=self.east_m / width_m,
            north_px=self.north_m / height_m,
            dem_pixel_m=math.sqrt(width_m * height_m),
            vertical_m=self.vertical_m,
            tilt_east_m_per_km=self.tilt_east_m_per_km,
            tilt_north_m_per_km=self.tilt_north_m_per_km,
            quality=self.quality,
            quality_before=self.quality_before,
            quality_after=self.quality_after,
            standard_error_px=self.standard_error_px,
            sun=self.light.sun if self.light else None,
            band=self.light.band if self.light else None,
            bands=list(self.bands),
            findings=list(self.findings),
        )


def rise_m(tilt_m_per_km: Point, away_km: Array) -> Array:
    """Metres by which a tilted plane rises over the point that ``away_km`` counts from; of the shape of one direction."""
    return tilt_m_per_km[0] * away_km[0] + tilt_m_per_km[1] * away_km[1]


def rounded_m(east_m: float, north_m: float) -> Point:
    """To a tenth of a millimetre: beyond it, the order of sums decides, which differs between machines."""
    return round(float(east_m), 4) + 0.0, round(float(north_m), 4) + 0.0


def size_words(move_m: Point, pixel_m: Point) -> str:
    """A move in metres and in pixels, as a sentence begins."""
    return f"Moving the DEM by {math.hypot(*move_m):.2f} m ({size_px(move_m, pixel_m):.2f} px)"


def size_px(move_m: Point, pixel_m: Point) -> float:
    """The length of a move in pixels."""
    return math.hypot(move_m[0] / pixel_m[0], move_m[1] / pixel_m[1])


def below_words(settings: CoregisterSettings) -> str:
    """What a sentence says of a gain that is too small."""
    return f", a gain below coregister.minimum_gain_frac ({settings.minimum_gain_frac:g}); it was not moved."
