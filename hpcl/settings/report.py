"""Section `report`: how finely the report is drawn."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ReportSettings:
    """How finely the report is drawn.

    ``dpi``: pixels per inch of the PNG files; a map is `WIDTH_IN` inches wide. ``map_px``: longest side of a raster as
    it is read for a map; larger scenes are shrunk. ``attention_windows``: explained windows shown per area.
    """

    dpi: int = Field(ge=20, le=600)
    map_px: int = Field(ge=64)
    attention_windows: int = Field(ge=0)
