"""Section `audit`: what the map and the inventory are asked about each other."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class AuditSettings:
    """``promise_frac``: how often the interval of a promise is to hold. ``next_cells`` squares of ground without labels, each
    ``next_cell_px`` wide, are proposed to be mapped next in each area."""

    promise_frac: Annotated[float, Field(gt=0, lt=1)]
    next_cells: Annotated[int, Field(ge=0)]
    next_cell_px: Annotated[int, Field(ge=16)]
