"""The audit of a planted project held against the truth, and the table of many."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd

from benchmarks.planted import truth
from benchmarks.planted.project import Project
from benchmarks.planted.scores import LayerScore, score
from hpcl.core import artifacts
from hpcl.core.records import AuditFacts
from hpcl.core.review import DOUBTFUL, OMISSIONS, OUTLINES
from hpcl.geo import vector

WHAT = {
    OMISSIONS: "`omissions`: left-out landslides",
    DOUBTFUL: "`doubtful`: false ones",
    OUTLINES: "`outlines`: displaced ones",
}


def scored(project: Project) -> list[LayerScore]:
    """The layers of a project's audit against the truth."""
    promises = artifacts.read_json(project.folder / "reports/audit/promises.json", AuditFacts)
    truths = {area: truth.read(project.folder, area) for area in project.areas}
    found = []
    for layer in WHAT:
        tables = {area: _rows(project, area, layer) for area in project.areas}
        rows = pd.concat(
            [table.assign(right=truths[area].right(layer, table)) for area, table in tables.items()], ignore_index=True
        ).sort_values(["probability", "id"], ascending=[False, True])
        mean = rows["mean_probability"].to_numpy()
        missed = sum(truths[area].missed(layer, table) for area, table in tables.items())
        right, probability = rows["right"].to_numpy(bool), rows["probability"].to_numpy()
        like_error = mean if layer == OMISSIONS else -mean
        found.append(score(layer, right, probability, like_error, missed, promises.layer(layer).promise))
    return found


def _rows(project: Project, area: str, layer: str) -> gpd.GeoDataFrame:
    return vector.read(project.folder / "data/audit" / area / "review.gpkg", layer)


def summary(table: pd.DataFrame) -> str:
    """The table for the page: means over seeds."""
    lines = [
        f"*{table['seed'].nunique()} seeds; synthetic ground.* Average precision by the audit / by mean probability / by chance.\n",
        "| rows that are right if they show | rows | right | not shown | AP of what is listed | AP, what is not shown as 0 "
        "| promised | right | promise held | Brier / of the share |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for layer, what in WHAT.items():
        one = table[table["layer"] == layer]
        mean = one.mean(numeric_only=True)
        held = one["held"].dropna()
        promised = one[one["held"].notna()].mean(numeric_only=True)
        cells = [
            what,
            *(f"{mean[name]:.1f}" for name in ("rows", "right", "missed")),
            *(
                " / ".join(f"{mean[f'{kind}_{by}']:.2f}" for by in ("audit", "mean", "chance"))
                for kind in ("ap", "ap0")
            ),
            f"{promised['expected']:.1f} [{promised['low']:.1f}, {promised['high']:.1f}]",
            f"{promised['right']:.1f}",
            f"{int(held.astype(bool).sum())} of {len(held)}",
            f"{mean['brier']:.3f} / {mean['brier_share']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
