"""What planted projects cost, said before they run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.planted.project import Project
from benchmarks.training import Training, make_tiles
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.tile import TileSettings
from hpcl.settings.train import TrainSettings
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._stage import params

BESIDES = 1.5
"""Held-out windows, maps and all other stages take half as long again as the steps do, or so."""


def announced(project: Project, trainings: int) -> None:
    """Say how long this many trainings with a project's parameters take at the speed of a few steps here and now."""
    file = project.folder / "params.yaml"
    recipe = Recipe(
        params("model", ModelSettings, file=file),
        params("contrastive", ContrastSettings, file=file),
        params("train", TrainSettings, file=file),
    )
    tile = params("tile", TileSettings, file=file)
    with tempfile.TemporaryDirectory() as place:
        bands = sorted({name for names in recipe.model.branches.values() for name in names})
        make_tiles(Path(place), bands, tile.window_px)
        step_s = Training(Tiles(Path(place), recipe.model.branches, 1), recipe)()
    steps = recipe.steps * tile.folds
    minutes = trainings * steps * step_s * BESIDES / 60
    print(
        f"planted: {trainings} trainings of {tile.folds} networks with {recipe.steps} steps each: about {minutes:.0f} minutes at the speed"
        " of this machine now. Stop at any time: what is finished is kept.",
        flush=True,
    )
