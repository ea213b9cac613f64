"""What the networks of a model say of themselves; their weights are not read."""

from pathlib import Path

from hpcl.core.artifacts import read_json
from hpcl.core.records import ModelFacts


def model_facts(folder: Path) -> list[ModelFacts]:
    """One for each fold, in their order; of folds that are gone, nothing."""
    first = _of_fold(folder, 1)
    return [first, *(_of_fold(folder, fold) for fold in range(2, first.folds + 1))]


def _of_fold(folder: Path, fold: int) -> ModelFacts:
    return read_json(folder / str(fold) / "model.json", ModelFacts)
