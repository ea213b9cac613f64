"""Section `outline`: how a map of probabilities becomes polygons."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class AtPrecision:
    """The lowest threshold from which on so much of the mapped ground is landslide."""

    precision: Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class AtRecall:
    """The highest threshold that still maps so much of the landslide ground."""

    recall: Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class AtMisses:
    """The highest threshold at which one landslide in ``misses_one_in`` is missed, or fewer."""

    misses_one_in: Annotated[float, Field(gt=1)]


OperatingPoint = Literal["best_iou"] | AtPrecision | AtRecall | AtMisses | Annotated[float, Field(ge=0, le=1)]
"""From which probability on a pixel is landslide: that of the highest landslide IoU, what a precision or recall needs, or the
probability itself."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class OutlineSettings:
    """How a map of probabilities becomes one of landslides, and how that is generalised.

    ``operating_point``: from which probability on a pixel is landslide, chosen on ground of other folds.

    ``neck_frac``: a patch is cut into landslides where it is narrower than this share of what lies on either side; 0 cuts
    nothing.

    ``minimum_area_m2``: the minimum mapping unit; smaller holes are filled, smaller patches dropped. ``simplify_px``:
    detail up to about this size is smoothed away; 0 keeps every pixel corner. ``minimum_mean_probability``: landslides
    whose mean probability is below are dropped; 0 keeps all above the threshold.
    """

    operating_point: OperatingPoint
    neck_frac: Annotated[float, Field(ge=0, lt=1)]
    minimum_area_m2: Annotated[float, Field(ge=0)]
    simplify_px: Annotated[float, Field(ge=0)]
    minimum_mean_probability: Annotated[float, Field(ge=0, le=1)]
