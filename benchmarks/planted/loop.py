"""Does it pay to answer what an audit asks? A simulated mapper answers, the map is made again, twice. `make bench-loop`.

Beside the mapper who takes the rows that are most probably right sit two who answer as much: rows of the same lists at
random, and landslides of the inventory at random. All start from one map, and all know the truth.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rasterio.features import rasterize
from scipy import stats

from benchmarks.planted import mapper, truth
from benchmarks.planted.cost import announced
from benchmarks.planted.errors import record
from benchmarks.planted.mapper import Desk
from benchmarks.planted.project import AUDIT, GROUND, MAP, ROOT, Project, opened, share_terrain, with_errors
from hpcl.core import artifacts
from hpcl.core.records import OutlineFacts
from hpcl.geo import raster, vector
from hpcl.outline.mapped import Mapped
from stages.ablation import put

TABLE, PAGE = ROOT / "reports/planted_loop.csv", ROOT / "docs/audit.md"
SEEDS, ROUNDS, ROWS = 5, 2, 20
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

Arm = Callable[[dict[str, Desk], np.random.Generator], dict[str, Any]]
"""Chooses what to answer, and answers: the layers of each area."""


def first_rows(desks: dict[str, Desk], rng: np.random.Generator) -> dict[str, Any]:
    """The rows that are most probably right."""
    return _rows(desks, mapper.open_rows(desks).iloc[:ROWS])


def any_rows(desks: dict[str, Desk], rng: np.random.Generator) -> dict[str, Any]:
    """Rows of the same lists, whatever their rank."""
    rows = mapper.open_rows(desks)
    return _rows(desks, rows.iloc[rng.choice(len(rows), min(ROWS, len(rows)), replace=False)])


def any_landslides(desks: dict[str, Desk], rng: np.random.Generator) -> dict[str, Any]:
    """Landslides of the inventory, asked or not."""
    places = [(area, at) for area, one in desks.items() for at in range(len(one.inventory))]
    chosen = [places[number] for number in rng.choice(len(places), ROWS, replace=False)]
    return {
        area: mapper.looked_at(one, np.array([at for place, at in chosen if place == area], dtype=np.int64))
        for area, one in desks.items()
    }


ARMS: dict[str, tuple[str, Arm]] = {
    "first": ("the 20 rows most probably right", first_rows),
    "random": ("20 rows of the lists at random", any_rows),
    "landslides": ("20 landslides of the inventory at random", any_landslides),
}


def _rows(desks: dict[str, Desk], chosen: pd.DataFrame) -> dict[str, Any]:
    layers = {area: dict(one.layers) for area, one in desks.items()}
    for (area, layer), rows in chosen.groupby(["area", "layer"]):
        layers[area][layer] = mapper.answered(desks[area], layer, rows["at"].to_numpy())
    return layers


def begun(folder: Path, ground: Project, seed: int) -> Project:
    """The map and the audit that all arms of a seed start from."""
    project = with_errors(folder, ground, {**SMALL, "train": {**SMALL["train"], "seed": seed}}, seed)
    project.run(*MAP, *AUDIT)
    project.tidy()
    return project


def answered(before: Project, folder: Path, ground: Project, arm: Arm, rng: np.random.Generator) -> Project:
    """The project after a round: answered, gathered, mapped again, audited."""
    if not folder.exists():
        draft = Project(folder.with_name(f".{folder.name}"), before.areas)
        shutil.rmtree(draft.folder, ignore_errors=True)
        for name in ("raw", "ingest", "audit"):
            shutil.copytree(before.folder / "data" / name, draft.folder / "data" / name)
        shutil.copy(before.folder / "params.yaml", draft.folder)
        for area in before.areas:
            shutil.copy(record(before.folder, area), draft.folder)
        desks = {area: mapper.desk(draft.folder, area, truth.read(draft.folder, area)) for area in before.areas}
        for area, layers in arm(desks, rng).items():
            mapper.write(draft.folder, area, layers)
            draft.call("review", area)
        for name in ("ingest", "audit"):
            shutil.rmtree(draft.folder / "data" / name)
        draft.folder.rename(folder)
    project = Project(folder, before.areas)
    share_terrain(project, ground)
    project.run("ingest", *MAP, *AUDIT)
    project.tidy()
    return project


def iou(project: Project) -> float:
    """Landslide IoU of the map with all landslides that are there, on the labelled ground of all areas."""
    both = either = 0
    for area in project.areas:
        data = project.folder / "data"
        thresholds = artifacts.read_json(data / "outline" / area / "facts.json", OutlineFacts).thresholds
        extent = vector.read(data / "raw" / area / "labelled_extent.gpkg")
        with Mapped(data / "predict" / area / "probability.tif", thresholds) as mapped:
            grid = mapped.source.grid
            roi = slice(0, grid.shape[0]), slice(0, grid.shape[1])
            found, known = mapped.landslide(roi), np.isfinite(mapped.source.read(roi, ["probability"])[0])
        there, looked = (
            _drawn(shapes, grid) for shapes in (truth.read(project.folder, area).landslides, extent.geometry)
        )
        seen = known & looked
        both, either = both + int((found & there & seen).sum()), either + int(((found | there) & seen).sum())
    return both / either


def _drawn(shapes: Any, grid: raster.Grid) -> Any:
    return rasterize(list(shapes), out_shape=grid.shape, transform=grid.affine, dtype="uint8") == 1


def corrections(project: Project) -> tuple[int, int]:
    """How many answers there are so far, and how many of them changed the inventory."""
    decisions: list[str] = []
    for area in project.areas:
        path = project.folder / "data/raw" / area / "review.gpkg"
        for layer in mapper.ASKED if path.exists() else ():
            decisions += vector.read(path, layer)["decision"].tolist()
    return len(decisions), sum(decision in ("accept", "redraw") for decision in decisions)


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


def summary(table: pd.DataFrame) -> str:
    """The table for the page: what each arm gained, and the lead of the first over the others with its interval over seeds."""
    seeds = table["seed"].nunique()
    ious = table.pivot_table(index="seed", columns=["arm", "round"], values="iou")
    last = table[table["round"] == ROUNDS].groupby("arm")[["answers", "corrections"]].mean()
    start = ious["start", 0]
    lines = [
        f"*{seeds} seeds, {ROUNDS} rounds of {ROWS} answers; synthetic ground.* Landslide IoU with the full truth; without any answer"
        f" {start.mean():.3f}.\n",
        "| who answers what | corrections | after 1 round | after 2 | gain | lead of the first |",
        "|---|---|---|---|---|---|",
    ]
    for name, (what, _) in ARMS.items():
        after = [ious[name, turn] for turn in range(1, ROUNDS + 1)]
        lead = _interval(ious["first", ROUNDS] - after[-1]) if name != "first" else ""
        scores = " | ".join(f"{one.mean():.3f}" for one in after)
        found = f"{last.loc[name, 'corrections']:.1f} of {last.loc[name, 'answers']:.1f}"
        lines.append(f"| {what} | {found} | {scores} | {_interval(after[-1] - start)} | {lead} |")
    return "\n".join(lines)


def _interval(differences: pd.Series) -> str:
    """Mean and 95 % interval (Student's t over seeds)."""
    mean = float(differences.mean())
    if len(differences) < 2:
        return f"{mean:+.3f}"
    half = float(stats.t.ppf(0.975, len(differences) - 1) * differences.std() / np.sqrt(len(differences)))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


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
