"""Parameters that had another name: an old params.yaml is refused with the new names, never half understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "predict.windows.turns": "inference.tta (none for 1, d4 for 8; the rest of predict.windows is in section inference)",
    "predict.windows": "inference",
    "predict.missing_bands": "inference.missing_bands",
    "predict.polygons": "outline",
    "predict": "inference and outline",
    "train.augment.drop_branch_frac": "train.augment.branch_dropout_frac",
}
"""Old names, parts before wholes, and what they are now."""
GONE = {
    "tile.val_frac": "all labelled ground is in folds now (tile.folds)",
    "tile.test_frac": "every fold is judged by a network that never saw it (tile.folds)",
    "train.patience_epochs": "all epochs are trained, and no label of the held-out fold chooses among them",
}
"""Names that mean nothing any more, and why."""
VALUES = {
    ("train.predictor", "twin"): "ema",
    ("contrastive.sampling", "walls"): "boundary_without_toe",
}
"""Old values of parameters that kept their names, and what they are now."""


def findings(document: Any) -> list[str]:
    """What of params.yaml has another name today, as parts of a sentence; the most exact name of each."""
    found: list[str] = []
    for old, new in NAMES.items():
        if _at(document, old) is not None and not any(said.startswith(f"'{old}.") for said in found):
            found.append(f"'{old}' is called {new} now")
    found += [f"'{old}' is gone: {why}; delete the line" for old, why in GONE.items() if _at(document, old) is not None]
    for (name, old), new in VALUES.items():
        if _at(document, name) == old:
            found.append(f"'{name}' of '{old}' is called '{new}' now")
    return found


def _at(document: Any, name: str) -> Any:
    for part in name.split("."):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document
