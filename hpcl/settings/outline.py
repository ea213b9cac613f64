"""Section `outline`: how a map of probabilities becomes polygons."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class OutlineSettings:
    """How a map is generalised.

    ``minimum_area_m2``: the minimum mapping unit; smaller holes are filled, smaller patches dropped. ``simplify_px``:
    detail up to about this size is smoothed away; 0 keeps every pixel corner. ``minimum_mean_probability``: landslides
    whose mean probability is below are dropped; 0 keeps all above the threshold.
    """

    minimum_area_m2: Annotated[float, Field(ge=0)]
    simplify_px: Annotated[float, Field(ge=0)]
    minimum_mean_probability: Annotated[float, Field(ge=0, le=1)]
