"""Section `explain`: where the network's attention is looked at."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ExplainSettings:
    """At most ``windows`` windows with landslide ground are explained per area; ``seed`` draws the untrained control."""

    windows: int = Field(ge=1)
    seed: int = Field(ge=0)
