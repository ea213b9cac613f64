"""Section `inference`: how a trained network is laid over an area."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Missing = Literal["refuse", "mean"]
"""What to do when an area lacks a band of the network: refuse, or let the network see the band's mean."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class InferenceSettings:
    """``overlap_frac`` of a window is shared with its neighbour (at least a quarter for smooth seams); ``batch_size`` windows
    are in the network at a time, on a CPU up to four times as many, one batch for each core. ``tta`` (test-time augmentation)
    ``d4`` maps every window in all quarter turns and mirrors, the symmetries of a square, and takes the mean, at eight times
    the cost; ``none`` maps it as it lies. On an area that it was not trained on, the network's batch statistics are measured
    again on ``adapt_windows`` windows at most (AdaBN, `hpcl.inference.adabn`); 0 leaves them as trained everywhere.
    ``missing_bands`` says what becomes of an area that lacks a band of the network. ``networks``: ground that lies in no fold is
    mapped by the mean of ``all`` networks, or by the first ``one``, for those in a hurry."""

    overlap_frac: float = Field(ge=0, le=0.75)
    batch_size: int = Field(ge=1)
    tta: Literal["none", "d4"]
    adapt_windows: int = Field(ge=0)
    missing_bands: Missing
    networks: Literal["all", "one"]
