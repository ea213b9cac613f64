"""Section `contrastive`: the numbers of the contrast."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ContrastSettings:
    """Numbers of the contrast (our choices, for the paper leaves them open: thresholds on a block's landslide share,
    sampling, queues).

    ``weight`` 0 switches the contrast off, momentum encoder and queues included. ``momentum`` is the encoder's: it keeps
    this share of itself at every step (less in the first steps); 0 means that the network itself is the source of the keys.
    ``queue_size`` 0 compares with the keys of the current batch alone. ``start_frac`` is the share of all steps in
    which the queues fill but the loss does not act yet. ``alone_frac`` is the share of all steps, the first ones, in which
    the contrast alone teaches: pretraining, before the pixels' loss joins in. ``sampling`` says where landslide samples and most of the
    background samples lie: on both sides of the ``boundary`` (published), of the ``boundary_without_toe``, in the
    ``interior`` of either, or ``random``.
    """

    weight: float = Field(ge=0)
    temperature: float = Field(gt=0)
    queue_size: int = Field(ge=0)
    momentum: float = Field(ge=0, lt=1)
    embedding_dim: int = Field(ge=2)
    sampling: Literal["boundary", "boundary_without_toe", "interior", "random"]
    start_frac: float = Field(ge=0, le=1)
    alone_frac: float = Field(ge=0, lt=1)
    positive_frac: float = Field(gt=0, le=1)
    negative_frac: float = Field(ge=0, lt=1)
    inside_blocks: int = Field(ge=1)
    outside_blocks: int = Field(ge=1)
    random_background_frac: float = Field(ge=0, le=1)
    per_class_per_window: int = Field(ge=1)
    hard_frac: float = Field(ge=0, le=1)
