"""Section `predict`: how windows are laid, what an area may lack, and how the map becomes polygons."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Missing = Literal["refuse", "mean"]
"""What to do when an area lacks a band of the network: refuse, or let the network see the band's mean."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class InferSettings:
    """``overlap_frac`` of a window is shared with its neighbour (at least a quarter for smooth seams);
    ``batch_size`` windows are in the network at a time; the cores of a CPU share them. ``turns`` 8 maps every window in
    all quarter turns and mirrors and takes the mean, at eight times the cost; 1 maps it as it lies. On an area that it
    was not trained on, the network's batch statistics are measured anew on ``adapt_windows`` windows at most
    (`hpcl.adapt`); 0 leaves them as trained everywhere."""

    overlap_frac: float = Field(ge=0, le=0.75)
    batch_size: int = Field(ge=1)
    turns: Literal[1, 8]
    adapt_windows: int = Field(ge=0)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class PolygonSettings:
    """How a map is generalised.

    ``minimum_area_m2``: the minimum mapping unit; smaller holes are filled, smaller patches dropped. ``simplify_px``:
    detail up to about this size is smoothed away; 0 keeps every pixel corner. ``minimum_mean_probability``: landslides
    whose mean probability is below are dropped; 0 keeps all above the threshold.
    """

    minimum_area_m2: Annotated[float, Field(ge=0)]
    simplify_px: Annotated[float, Field(ge=0)]
    minimum_mean_probability: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class PredictSettings:
    """The whole section."""

    windows: InferSettings
    missing_bands: Missing
    polygons: PolygonSettings
