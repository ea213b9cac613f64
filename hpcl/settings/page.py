"""Section `page`: how much of all areas the map for the browser holds."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class PageSettings:
    """How much the page may hold, of all areas together: what bounds its size.

    ``raster_mpx``: pixels of each raster, in millions; larger scenes are shrunk. ``rows``: candidates to decide on.
    ``pictures``: candidates with a picture of their own, ``picture_px`` wide at most. The first by rank count.
    """

    raster_mpx: float = Field(gt=0, le=100)
    rows: int = Field(ge=0)
    pictures: int = Field(ge=0)
    picture_px: int = Field(ge=32, le=1024)
