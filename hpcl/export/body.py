"""On which body of the solar system an area lies, as the ellipsoid of its CRS tells."""

from __future__ import annotations

from functools import cache

from pyproj import CRS
from pyproj.database import query_crs_info
from pyproj.enums import PJType

EARTH, EARTH_RADIUS_M = "Earth", 6378137.0
SAME_FRAC = 0.005
"""Radii that differ by less are those of one body; PROJ itself compares bodies so."""
ROUND_M = 190_000.0
"""The radius from which a body is round. Smaller ones have several radii, and too many of them share one."""


def body(crs: CRS) -> str | None:
    """The name as the IAU spells it (Earth, Mars, Moon...); None where the CRS has no ellipsoid, or one of no known body.

    >>> body(CRS("EPSG:32648")), body(CRS("IAU_2015:49910")), body(CRS("+proj=eqc +R=3389500"))
    ('Earth', 'Mars', 'Mars')
    """
    if crs.ellipsoid is None:
        return None
    radius_m = crs.ellipsoid.semi_major_metre
    if abs(radius_m / EARTH_RADIUS_M - 1) < SAME_FRAC:
        return EARTH
    name, known_m = min(_radii_m().items(), key=lambda item: abs(item[1] - radius_m))
    return name if abs(radius_m / known_m - 1) < SAME_FRAC else None


@cache
def _radii_m() -> dict[str, float]:
    """The radius of each round body in PROJ's database: the IAU's sphere, whose codes end with 00."""
    listed = query_crs_info(auth_name="IAU_2015", pj_types=PJType.GEOGRAPHIC_2D_CRS)
    named = [(info.name.split(" (")[0], CRS.from_authority(info.auth_name, info.code).ellipsoid)
             for info in listed if info.code.endswith("00")]  # fmt: skip
    return {name: sphere.semi_major_metre for name, sphere in named if sphere and sphere.semi_major_metre >= ROUND_M}
