"""Does it pay to answer what an audit asks? A simulated mapper answers, the map is made again, twice. `make bench-loop`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.planted.cost import announced
from benchmarks.planted.project import AUDIT, GROUND, LAST, MAP, ROOT, Project, opened, with_errors
from benchmarks.planted.rounds import ARMS, ROUNDS, answered, corrections, iou, summary
from stages.ablation import put

TABLE, PAGE = ROOT / "reports/planted_loop.csv", ROOT / "docs/audit.md"
SEEDS = 5
TURNS = (("first", "random"), ("landslides",))
"""Arms that are run together, seed by seed; the second control comes last."""
SMALL: dict[str, Any] = {
    "tile": {"folds": 2},
    "contrastive": {"weight": 0.0},
    "train": {"epochs": 1, "steps_per_epoch": 60, "batch_size": 8},
    "inference": {"overlap_frac": 0.25},
}
"""Parameters with which a training takes two minutes on a core, and an audit still finds what it looks for."""


def begun(folder: Path, ground: Project, seed: int) -> Project:
    """The map and the audit that all arms of a seed start from."""
    project = with_errors(folder, ground, {**SMALL, "train": {**SMALL["train"], "seed": seed}}, seed)
    project.run(*MAP, *AUDIT)
    project.tidy()
    return project


def measured(folder: Path, ground: Project, seed: int, arms: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each round of some arms of a seed, and for its start; what is not there yet is made."""
    start = begun(folder / f"s{seed}" / "start", ground, seed)
    rows = [_row(start, seed, "start", 0)]
    for arm in arms:
        project = start
        for turn in range(1, ROUNDS + 1):
            rng = np.random.default_rng([seed, [*ARMS].index(arm), turn])
            project = answered(project, folder / f"s{seed}" / f"{arm}{turn}", ground, ARMS[arm][1], rng)
            rows.append(_row(project, seed, arm, turn))
    print(pd.DataFrame(rows).to_string(index=False), flush=True)
    return rows


def _row(project: Project, seed: int, arm: str, turn: int) -> dict[str, Any]:
    answers, changed = corrections(project)
    return {
        "seed": seed, "arm": arm, "round": turn, "iou": iou(project), "answers": answers, "corrections": changed
    }  # fmt: skip


def is_finished(folder: Path, seed: int, arms: Sequence[str]) -> bool:
    """Whether nothing has to be made for some arms of a seed."""
    last = [folder / f"s{seed}" / f"{arm}{ROUNDS}" for arm in arms]
    return all((project / LAST[AUDIT[-1]]).exists() for project in last)


def main() -> None:
    """Run what is missing and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted.loop", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".bench-loop"), help="where the projects lie")
    parser.add_argument("--finished", action="store_true", help="train nothing: the table of what is finished")
    given = parser.parse_args()
    folder = given.folder.resolve()
    wanted = [(arms, seed) for arms in TURNS for seed in range(SEEDS)]
    missing = [(arms, seed) for arms, seed in wanted if not is_finished(folder, seed, arms)]
    ground = opened(folder / "ground", SMALL)
    if missing and not given.finished:
        announced(ground, sum(ROUNDS * len(arms) + (arms == TURNS[0]) for arms, _ in missing))
        ground.run(*GROUND)
    rows: list[dict[str, Any]] = []
    for arms, seed in wanted:
        if not (given.finished and (arms, seed) in missing):
            rows += measured(folder, ground, seed, arms)
            keep(pd.DataFrame(rows).drop_duplicates(["seed", "arm", "round"]))


def keep(table: pd.DataFrame) -> None:
    """Put what is finished into the table and onto the page."""
    table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
    print(summary(table), flush=True)
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "loop", "\n" + summary(table)), encoding="utf-8")


if __name__ == "__main__":
    main()
