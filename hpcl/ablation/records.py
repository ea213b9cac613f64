"""ablation/results as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class VariantScores:
    """ablation/results/<variant>-<seed>.json."""

    ground: str
    landslide_iou: float | None
    """None where the test ground holds no landslide."""
    val_iou: float
    probe_auc: float | None
    steps: int
    parameters: int
    blocks: dict[str, list[Any]]
    """Confusion in each test block, by column."""
