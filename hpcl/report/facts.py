"""What the report is made of: an area's metadata, and those of the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from hpcl.core.digest import joint
from hpcl.core.records import (
    AreaFacts,
    AttentionFacts,
    AuditFacts,
    BaselineFacts,
    CalibrationFacts,
    MapFacts,
    ModelFacts,
    OutlineFacts,
    ShiftFacts,
    TerrainFacts,
    TiledArea,
    TileFacts,
    TrainingSummary,
)
from hpcl.metrics.records import Metrics
from hpcl.report.enlarged import Block

SYNTHETIC = "synthetic_"
"""Areas whose names begin like this were made by the stage `synthesize`."""


@dataclass(frozen=True)
class Mapped:
    """The facts of an area that was mapped, as the stages wrote them."""

    name: str
    ingest: AreaFacts
    shift: ShiftFacts
    terrain: TerrainFacts
    predict: MapFacts
    outline: OutlineFacts

    @property
    def synthetic(self) -> bool:
        """Whether the ground was invented."""
        return self.name.startswith(SYNTHETIC)


@dataclass(frozen=True)
class Area(Mapped):
    """The facts of an area that params.yaml lists; what a stage did not make of this area is None."""

    explain: AttentionFacts
    tiles: TiledArea | None
    """The area's entry in data/tiles/facts.json; None without an inventory."""
    outcome_km2: Mapping[int, float] | None
    """Labelled ground by outcome (`hpcl.report.maps.HIT`...); None where the area has none."""
    enlarged: Sequence[Block] = ()
    """The blocks to look at closely; none without landslides in the inventory."""


@dataclass(frozen=True)
class Report:
    """All that the page tells. ``figures``: file name to PNG bytes."""

    areas: Sequence[Area]
    figures: Mapping[str, bytes]
    tiles: TileFacts
    models: Sequence[ModelFacts]
    """One for each fold, in their order."""
    baselines: BaselineFacts
    training: TrainingSummary
    calibration: CalibrationFacts
    metrics: Metrics
    audit: AuditFacts
    objects: pd.DataFrame
    blocks: pd.DataFrame
    """objects.csv and blocks.csv of the stage evaluate."""
    ablation: pd.DataFrame
    """reports/ablation.csv: what each component buys, by ground."""
    budget: pd.DataFrame
    """reports/budget.csv: what labels are worth, by ground."""
    besides: Sequence[Mapped] = ()
    """Areas that `make map` mapped, and params.yaml does not list."""

    @property
    def weights_sha256(self) -> str:
        """Of all networks together."""
        return joint(model.weights_sha256 for model in self.models)
