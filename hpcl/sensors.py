"""Which colour a band shows, by what sensors call their bands, and which bands are shown in colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hpcl.core.dates import after, is_before

COLOURS = (
    "coastal", "blue", "green", "yellow", "red", "rededge", "nir", "swir", "pan", "tir", "cirrus", "water_vapour",
)  # fmt: skip


@dataclass(frozen=True)
class Sensor:
    """How a sensor calls its bands, and between which pixels [m] its images are delivered."""

    name: str
    pixel_m: tuple[float, float]
    colours: dict[str, str]


SENSORS = (
    Sensor("Sentinel-2", (5, 25), {
        "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge", "B6": "rededge", "B7": "rededge", "B8": "nir",
        "B8A": "nir", "B9": "water_vapour", "B10": "cirrus", "B11": "swir", "B12": "swir",
    }),
    Sensor("Landsat 8 or 9", (25, 35), {
        "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "nir", "B6": "swir", "B7": "swir", "B8": "pan",
        "B9": "cirrus", "B10": "tir", "B11": "tir",
    }),
    Sensor("PlanetScope", (2.5, 5.5), {
        "coastal_blue": "coastal", "blue": "blue", "green_i": "green", "green": "green", "yellow": "yellow", "red": "red",
        "rededge": "rededge", "nir": "nir",
    }),
)  # fmt: skip
"""Landsat 4 to 7 number their bands otherwise (B1 is blue), which no name tells apart: those of SR_B1 to SR_B4 alone are not
said to be any colour."""


def recognised(names: Sequence[str], pixel_m: float) -> Sensor | None:
    """The sensor whose names all of these are, at such pixels; None if there is none, or a single band could be anyone's.

    >>> recognised(["B02", "B03", "B04", "B08"], 10).name
    'Sentinel-2'
    >>> recognised(["SR_B4", "SR_B5"], 30).name
    'Landsat 8 or 9'
    >>> recognised(["thermal", "B2"], 10)
    """
    keys = [_key(name) for name in names]
    for sensor in SENSORS:
        low, high = sensor.pixel_m
        if low <= pixel_m <= high and len(keys) > 1 and all(key in map(_key, sensor.colours) for key in keys):
            return sensor
    return None


def colours(names: Sequence[str], sensor: Sensor | None) -> tuple[str, ...]:
    """The colour of each band, by its sensor or because it is called so; empty where nobody knows.

    >>> colours(["NIR", "b3"], None), colours(["B2", "B8A"], SENSORS[0])
    (('nir', ''), ('blue', 'nir'))
    """
    known = {colour: colour for colour in COLOURS}
    known |= {_key(name): colour for name, colour in sensor.colours.items()} if sensor else {}
    return tuple(known.get(_key(name), "") for name in names)


def shown(names: Sequence[str], pixel_m: float, *, earlier: bool = False) -> list[str]:
    """The bands to show as red, green and blue: those that are called so, then those of a sensor with such pixels; where there is
    neither, the first three, or the first as grey. Of the later date, or of the ``earlier`` one; none where there is none.

    >>> shown(["nir", "blue", "green", "red"], 2), shown(["B2", "B3", "B4", "B8"], 10), shown(["B2", "B3", "B4", "B8"], 1)
    (['red', 'green', 'blue'], ['B4', 'B3', 'B2'], ['B2', 'B3', 'B4'])
    >>> shown(["pan", "swir"], 10), shown(["B2", "B3", "B4", "pan_before"], 10, earlier=True)
    (['pan'], ['pan_before'])
    """
    called = {after(name): name for name in names if is_before(name) is earlier}
    own = list(called)
    for sensor in (None, recognised(own, pixel_m)):
        found = colours(own, sensor)
        if {"red", "green", "blue"} <= set(found):
            return [called[own[found.index(colour)]] for colour in ("red", "green", "blue")]
    return list(called.values())[: 3 if len(called) >= 3 else 1]


def _key(name: str) -> str:
    """A name as it is compared: B02, b2 and SR_B2 are one."""
    plain = name.strip().casefold().replace(" ", "_").replace("-", "_")
    return re.sub(r"^(?:sr_)?b0*(\d+a?)$", r"b\1", plain)
