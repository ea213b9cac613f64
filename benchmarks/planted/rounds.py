"""Rounds of a loop: who answers what, the map that comes of it, and how good it is.

Beside the mapper who takes the rows that are most probably right sit two who answer as much: rows of the same lists at
random, and landslides of the inventory at random. All start from one map, and all know the truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rasterio.features import rasterize
from scipy import stats

from benchmarks.planted import mapper, truth
from benchmarks.planted.errors import record
from benchmarks.planted.mapper import Desk
from benchmarks.planted.project import AUDIT, MAP, Project, share_terrain
from hpcl.core import artifacts
from hpcl.core.records import OutlineFacts
from hpcl.geo import raster, vector
from hpcl.outline.mapped import Mapped

ROUNDS, ROWS = 2, 20

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


def summary(table: pd.DataFrame) -> str:
    """The table for the page: what each arm gained, and the lead of the first over the others with its interval over seeds."""
    ious = table.pivot_table(index="seed", columns=["arm", "round"], values="iou")
    last = table[table["round"] == ROUNDS].groupby("arm")[["answers", "corrections"]].mean()
    lines = [
        f"*{ROUNDS} rounds of {ROWS} answers; synthetic ground.* Landslide IoU with the full truth; without any answer"
        f" {ious['start', 0].mean():.3f}.\n",
        "| who answers what | seeds | corrections | after 1 round | after 2 | gain | lead of the first |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (what, _) in ARMS.items():
        if (name, ROUNDS) not in ious:
            continue
        own = ious[ious[name, ROUNDS].notna()]
        lead = _interval(own["first", ROUNDS] - own[name, ROUNDS]) if name != "first" else ""
        scores = " | ".join(f"{own[name, turn].mean():.3f}" for turn in range(1, ROUNDS + 1))
        found = f"{last.loc[name, 'corrections']:.1f} of {last.loc[name, 'answers']:.1f}"
        gain = _interval(own[name, ROUNDS] - own["start", 0])
        lines.append(f"| {what} | {len(own)} | {found} | {scores} | {gain} | {lead} |")
    return "\n".join(lines)


def _interval(differences: pd.Series) -> str:
    """Mean and 95 % interval (Student's t over seeds)."""
    mean = float(differences.mean())
    if len(differences) < 2:
        return f"{mean:+.3f}"
    half = float(stats.t.ppf(0.975, len(differences) - 1) * differences.std() / np.sqrt(len(differences)))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
