"""Train a network for each fold of the tiles; resume where a killed run stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from hpcl import scale
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.records import FoldTraining, TileFacts, TrainingSummary
from hpcl.networks import store
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training.recipe import Recipe
from stages._stage import params, run
from stages._train import TILES, train

MODEL, REPORTS = Path("data/model"), Path("reports/train")
SPEEDS = ["windows_per_s", "data_wait_frac"]
"""They differ from run to run and would make equal results unequal: they stay in the live curves."""


def main() -> None:
    """Train, and write each network as it comes, then curves and summary of all."""
    recipe = Recipe(
        params("model", ModelSettings),
        params("contrastive", ContrastSettings),
        params("train", TrainSettings),
    )
    polygons = artifacts.read_csv(TILES / "landslides.csv", {"area": str, "area_m2": float, "labelled_px": int})
    findings = _findings(polygons, recipe.model.output_stride)
    folds: list[FoldTraining] = []
    curves: list[pd.DataFrame] = []
    for result in train("train", recipe):
        # So that `predict` can compare its polygons with landslides where there is no inventory.
        learnt = polygons.loc[polygons["area"].isin(list(result.facts.areas)), "area_m2"]
        landslide_m2 = np.quantile(learnt, np.linspace(0, 1, 21)).round(1).tolist()
        store.save(MODEL / str(result.fold), result.network, replace(result.facts, landslide_m2=landslide_m2))
        folds.append(FoldTraining(fold=result.fold, held_iou=result.held_iou, findings=result.findings))
        curves.append(pd.DataFrame(result.history).drop(columns=SPEEDS).assign(fold=result.fold))
    if not folds:
        return  # another process than the first
    table = pd.concat(curves)
    artifacts.write_csv(REPORTS / "curves.csv", table[["fold", *table.columns.drop("fold")]], "%.6g")
    write_json(
        REPORTS / "summary.json",
        TrainingSummary(
            folds=folds,
            held_iou=float(np.mean([fold.held_iou for fold in folds])),
            epochs=recipe.train.epochs,
            parameters=sum(p.numel() for p in result.network.parameters()),
            findings=findings,
        ),
    )
    result.kept()


def _findings(polygons: pd.DataFrame, output_stride: int) -> dict[str, list[str]]:
    """Each area's landslides against a hyper-pixel, said before the hours that a training may take."""
    findings = {}
    for area, facts in artifacts.read_json(TILES / "facts.json", TileFacts).areas.items():
        labelled_px = polygons.loc[polygons["area"] == area, "labelled_px"].to_numpy()
        findings[area] = scale.hyper_pixels(facts.pixel_m, labelled_px, output_stride=output_stride)
        for finding in findings[area]:
            print(f"train: {area}: {finding}")
    return findings


if __name__ == "__main__":
    run(main)
