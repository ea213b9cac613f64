"""ablation/results as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONFUSION = ["tn", "fp", "fn", "tp"]
COUNTS = [*CONFUSION, "boundary_both_px", "boundary_either_px", "objects", "objects_found"]
"""What is counted in each block: pixels by truth and map, those in both and in either boundary band, landslides and those found."""


@dataclass(frozen=True, kw_only=True)
class VariantScores:
    """ablation/results/<variant>-<seed>.json."""

    blocks: dict[str, dict[str, list[Any]]]
    """The blocks by column (``area, block, fold`` and `COUNTS`), by the ground in words: that of the folds, and that of the test
    areas if there are any."""
    held_iou: float
    """Mean over the folds."""
    probe_auc: float | None
    """Mean over the folds; None where there is nothing to probe."""
    steps: int
    """Of each network, and its..."""
    parameters: int
