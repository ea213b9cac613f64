"""Does an audit find errors that were planted, and does it keep its promise? `make bench-audit`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.planted.cost import announced
from benchmarks.planted.project import AUDIT, GROUND, MAP, ROOT, Project, opened, with_errors
from benchmarks.planted.scored import WHAT, scored, summary
from stages.ablation import put

TABLE, PAGE = ROOT / "reports/planted.csv", ROOT / "docs/audit.md"
SEEDS = 10
SHORT = {"train": {"epochs": 2}}


def main() -> None:
    """Run what is missing and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted.audit", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".bench-planted"), help="where the projects lie")
    parser.add_argument("--finished", action="store_true", help="train nothing: the table of what is mapped")
    given = parser.parse_args()
    folder = given.folder.resolve()
    ground = opened(folder / "ground", SHORT)
    missing = [seed for seed in range(SEEDS) if not Project(folder / f"s{seed}", ground.areas).has(MAP[-1])]
    if missing and not given.finished:
        announced(ground, len(missing))
        ground.run(*GROUND)
    rows: list[dict[str, Any]] = []
    for seed in range(SEEDS):
        if seed in missing and given.finished:
            continue
        project = with_errors(folder / f"s{seed}", ground, SHORT, seed)
        project.run(*MAP)
        project.run(*AUDIT)
        rows += [{"seed": seed, **asdict(one)} for one in scored(project)]
        print(pd.DataFrame(rows[-len(WHAT) :]).round(3).to_string(index=False), flush=True)
    if rows:
        table = pd.DataFrame(rows)
        table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
        print(summary(table))
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "planted", "\n" + summary(table)), encoding="utf-8")


if __name__ == "__main__":
    main()
