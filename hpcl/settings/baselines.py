"""Section `baselines`: how the non-neural baselines are made."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class BaselinesSettings:
    """How the non-neural baselines are made.

    ``slope_step_deg``: distance of the slope thresholds tried. ``pixels``: those that the classifier of each fold learns
    from (all, if there are fewer), drawn with ``seed``. ``trees, learning_rate, leaves``: its size.
    """

    slope_step_deg: Annotated[float, Field(gt=0, le=10)]
    pixels: Annotated[int, Field(ge=1)]
    seed: int = Field(ge=0)
    trees: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    leaves: Annotated[int, Field(ge=2)]
