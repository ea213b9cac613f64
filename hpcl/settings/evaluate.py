"""Section `evaluate`: how a map is scored."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class EvaluateSettings:
    """How a map is scored.

    ``resamples``, ``confidence_frac``, ``seed``: the block bootstrap. ``object_found_frac``: share of its pixels from
    which an object counts as found. ``object_minimum_area_m2``: objects and mapped patches below it are not counted.
    ``object_size_edges_m2``: borders between size classes. ``boundary_px``: width of the boundary band.
    ``calibration_bins``: equal bins of probability.
    """

    resamples: Annotated[int, Field(ge=1)]
    confidence_frac: Annotated[float, Field(gt=0, lt=1)]
    seed: int = Field(ge=0)
    object_found_frac: Annotated[float, Field(gt=0, le=1)]
    object_minimum_area_m2: Annotated[float, Field(ge=0)]
    object_size_edges_m2: tuple[float, ...]
    boundary_px: Annotated[int, Field(ge=1)]
    calibration_bins: Annotated[int, Field(ge=1)]
