"""Trainings of the ablation as DVC runs them, for the commands `ablation` and `budget`: which are outdated, what they cost, and how
they are made.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpcl.core.artifacts import read_json
from hpcl.core.records import TileFacts
from hpcl.networks import store
from hpcl.training import loop
from stages import _ablation
from stages._ablation import ABLATION, Training
from stages._train import TILES, tiles_for

PROBE_STEPS = 4


class UnfinishedError(RuntimeError):
    """Trainings of the ablation that should have a result and have none."""


def tiles_of(variants: Sequence[str]) -> TileFacts:
    """The tiles, made if they are outdated; a variant that cannot be built is said before anything is made."""
    for name in variants:
        recipe = _ablation.recipe(name, 0)
        store.build(recipe.model, 2, recipe.contrast.embedding_dim)
    dvc("repro", "tile", failed="The tiles cannot be made")
    return read_json(TILES / "facts.json", TileFacts)


def make(command: str, what: str, wanted: Sequence[Training], folds: int) -> list[Training]:
    """Say what these trainings cost, and run those that have no result of things as they are now; those that still have none."""
    untrained, missing = outdated(wanted)
    print(
        f"{command}: {what} = {len(wanted)} trainings of {folds} networks, one for"
        f" each fold. {len(untrained)} of them are to be run and {len(missing)} to be scored."
    )
    if untrained:
        minutes = cost_s(untrained, folds) / 60
        span = f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
        print(
            f"{command}: about {span} at the speed of HPCL-Net's steps on this machine, and a fifth more or so for "
            "held-out windows and maps. Stop it at any time: a finished training is kept, an unfinished one goes on after "
            "its last epoch.",
            flush=True,
        )
    if missing:
        scored = [training.stages[1] for training in missing]
        subprocess.run(["dvc", "repro", "--keep-going", *scored], cwd=ABLATION, check=False)
        _, missing = outdated(wanted)
    return missing


def unfinished(missing: Sequence[Training], then: str, command: str) -> None:
    """Raise `UnfinishedError` if trainings are missing; ``then`` says what becomes of them in the table."""
    if missing:
        raise UnfinishedError(
            f"{len(missing)} trainings have no result ({', '.join(map(str, missing[:5]))}{', ...' * (len(missing) > 5)}), {then}; DVC"
            f" said above why. The others are kept: mend the cause and run `make {command}` again."
        )


def dvc(*arguments: str, failed: str, folder: Path | None = None, capture: bool = False) -> str:
    """What DVC says. Raises `UnfinishedError`, which begins with ``failed``."""
    stdout = subprocess.PIPE if capture else None
    done = subprocess.run(["dvc", *arguments], cwd=folder, check=False, stdout=stdout, text=True)
    if done.returncode:
        raise UnfinishedError(f"{failed}; DVC said above why. Nothing of the ablation was changed.")
    return done.stdout or ""


def outdated(wanted: Sequence[Training]) -> tuple[list[Training], list[Training]]:
    """Of the wanted trainings those to be trained, and those to be scored, those included: what has no result of the
    parameters, the code and the tiles as they are now."""
    changed = json.loads(
        dvc("status", "--json", failed="The state of the ablation cannot be told", folder=ABLATION, capture=True)
    )
    untrained = [training for training in wanted if training.stages[0] in changed]
    return untrained, [one for one in wanted if one in untrained or one.stages[1] in changed]


def cost_s(missing: Sequence[Training], folds: int) -> float:
    """Seconds of all steps of these trainings, each of as many networks as there are folds, if every step took as long as one of
    HPCL-Net does here."""
    steps = 0
    for name, trainings in Counter(training.variant for training in missing).items():
        steps += trainings * folds * _ablation.recipe(name, 0).steps  # a network takes as many with any seed and fold
    one = _ablation.recipe("hpcl_net", 0)
    short = replace(one, train=replace(one.train, epochs=1, steps_per_epoch=PROBE_STEPS))
    seen: list[float] = []
    for _ in loop.fit(tiles_for(short, 1), short, progress=lambda done, total: seen.append(time.perf_counter())):
        pass
    step_s = (seen[-1] - seen[0]) / (len(seen) - 1)
    return step_s * steps
