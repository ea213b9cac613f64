"""Does it pay to answer what an audit asks? A simulated mapper answers, the map is made again, twice. `make bench-loop`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.planted.cost import announced
from benchmarks.planted.project import AUDIT, GROUND, MAP, ROOT, Project, opened, with_errors
from benchmarks.planted.rounds import ARMS, ROUNDS, answered, corrections, iou, summary
from stages.ablation import put

TABLE, PAGE = ROOT / "reports/planted_loop.csv", ROOT / "docs/audit.md"
SEEDS = 5
SMALL: dict[str, Any] = {
    "synthesize": {
        "areas": {
            "synthetic_north": {"rows": 1500, "columns": 1500},
            "synthetic_south": {"rows": 1500, "columns": 1500},
        }
    },
    "tile": {"folds": 2},
    "train": {"epochs": 1, "steps_per_epoch": 80, "batch_size": 8},
    "inference": {"overlap_frac": 0.25},
}
"""Parameters with which a loop takes minutes: more ground than in the demo, so that a list has far more rows than are answered,
and less training."""


def begun(folder: Path, ground: Project, seed: int) -> Project:
    """The map and the audit that all arms of a seed start from."""
    project = with_errors(folder, ground, {**SMALL, "train": {**SMALL["train"], "seed": seed}}, seed)
    project.run(*MAP, *AUDIT)
    project.tidy()
    return project


def measured(folder: Path, ground: Project, seed: int) -> list[dict[str, Any]]:
    """A row for the start of a seed and for each round of each arm, of what is there and what has to be made."""
    start = begun(folder / f"s{seed}" / "start", ground, seed)
    rows = [{"seed": seed, "arm": "start", "round": 0, "iou": iou(start), "answers": 0, "corrections": 0}]
    for number, (name, (_, arm)) in enumerate(ARMS.items()):
        project = start
        for turn in range(1, ROUNDS + 1):
            rng = np.random.default_rng([seed, number, turn])
            project = answered(project, folder / f"s{seed}" / f"{name}{turn}", ground, arm, rng)
            answers, changed = corrections(project)
            rows.append(
                {
                    "seed": seed,
                    "arm": name,
                    "round": turn,
                    "iou": iou(project),
                    "answers": answers,
                    "corrections": changed,
                }
            )
    return rows


def is_finished(folder: Path, seed: int) -> bool:
    """Whether nothing has to be made for a seed."""
    projects = [folder / f"s{seed}" / f"{name}{turn}" for name in ARMS for turn in range(1, ROUNDS + 1)]
    return all((project / "reports/audit/promises.json").exists() for project in projects)


def main() -> None:
    """Run what is missing and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted.loop", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".bench-loop"), help="where the projects lie")
    parser.add_argument("--finished", action="store_true", help="train nothing: the table of what is finished")
    given = parser.parse_args()
    folder = given.folder.resolve()
    missing = [seed for seed in range(SEEDS) if not is_finished(folder, seed)]
    ground = opened(folder / "ground", SMALL)
    if missing and not given.finished:
        announced(ground, len(missing) * (1 + ROUNDS * len(ARMS)))
        ground.run(*GROUND)
    rows: list[dict[str, Any]] = []
    for seed in range(SEEDS):
        if seed not in missing or not given.finished:
            rows += measured(folder, ground, seed)
            print(pd.DataFrame(rows[-1 - ROUNDS * len(ARMS) :]).to_string(index=False), flush=True)
    if rows:
        table = pd.DataFrame(rows)
        table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
        print(summary(table))
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "loop", "\n" + summary(table)), encoding="utf-8")


if __name__ == "__main__":
    main()
