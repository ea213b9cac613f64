"""The ladder as one command: say what it costs, run what is missing, keep the table. `make ladder`."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd

from hpcl import fit, ladder, metrics, page
from hpcl.contrast import ContrastSettings
from hpcl.model import ModelSettings
from stages._ladder import FILE, RUNGS, Row, rows
from stages._stage import params, read_json, run
from stages._train import TILES, tiles_for

TABLE, README = Path("reports/ladder.csv"), Path("README.md")
PROBE_STEPS = 4


def main() -> None:
    """Run the rungs as DVC stages; those that are finished and unchanged are not run again."""
    chosen, seeds = params("run", tuple[str, ...], file=FILE), params("seeds", tuple[int, ...], file=FILE)
    wanted = [RUNGS / f"{name}-{seed}.json" for name in chosen for seed in seeds]
    there = sum(path.exists() for path in wanted)
    print(f"ladder: {len(chosen)} rows x {len(seeds)} seeds = {len(wanted)} trainings; results of {there} are here.")
    if not TILES.exists():
        subprocess.run(["dvc", "repro", "tile"], check=True)
    if there < len(wanted):
        budget = params("budget", dict[str, Any], file=FILE)
        steps, seconds = _cost(budget)
        hours = (len(wanted) - there) * steps * seconds / 3600
        print(
            f"ladder: {steps} steps each, {seconds:.2f} s a step of HPCL-Net on this machine: about {hours:.1f} hours at "
            "most. Stop it at any time: a finished training is kept, an unfinished one goes on after its last epoch."
        )
    subprocess.run(["dvc", "repro", "--keep-going", "ladder/dvc.yaml"], check=False)
    table = collect(rows(), seeds)
    TABLE.parent.mkdir(exist_ok=True)
    table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
    README.write_text(summarised(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(f"ladder: {TABLE} and the summary in {README}; `dvc repro report` shows it.")


def _cost(budget: dict[str, Any]) -> tuple[int, float]:
    """Steps of one training, and seconds of one step of HPCL-Net here."""
    limits = params("train", fit.TrainSettings, budget)
    short = params("train", fit.TrainSettings, budget | {"epochs": 1, "steps_per_epoch": PROBE_STEPS})
    settings = params("model", ModelSettings), params("contrastive", ContrastSettings), short
    seen: list[float] = []
    for _ in fit.fit(tiles_for(settings), *settings, progress=lambda done, total: seen.append(time.perf_counter())):
        pass
    return limits.epochs * limits.steps_per_epoch, (seen[-1] - seen[0]) / (len(seen) - 1)


def collect(known: dict[str, Row], seeds: tuple[int, ...]) -> pd.DataFrame:
    """The table of this ground's finished rows, the other rows as not run, and what the table knew of other grounds."""
    facts = read_json(TILES / "facts.json")
    here = ladder.ground(facts)
    finished: dict[str, list[dict[str, Any]]] = {}
    for name in known:
        paths = [RUNGS / f"{name}-{seed}.json" for seed in seeds]
        if all(path.exists() for path in paths):
            found = [read_json(path) for path in paths]
            if all(one["ground"] == here for one in found):
                finished[name] = found
    lines = []
    if finished:
        blocks = {name: [pd.DataFrame(one["blocks"]) for one in found] for name, found in finished.items()}
        against = {name: row.against for name, row in known.items()}
        scores = ladder.compare(blocks, against, params("evaluate", metrics.EvaluateSettings))
        lines = scores.to_dict("records")
    by_name = {line["row"]: line for line in lines}
    complete = [_line(name, row, here, by_name.get(name), finished.get(name)) for name, row in known.items()]
    before = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    return pd.DataFrame([*(line for line in before if line["ground"] != here), *complete])


def _line(
    name: str, row: Row, here: str, scores: dict[str, Any] | None, found: list[dict[str, Any]] | None
) -> dict[str, Any]:
    head = {"ground": here, "row": name, "label": row.label, "status": "run" if found else "not run"}
    if not found or scores is None:
        return head
    probes = [one["probe_auc"] for one in found if one["probe_auc"] is not None]
    means = {
        "steps": found[0]["steps"],
        "parameters": found[0]["parameters"],
        "val_iou": sum(one["val_iou"] for one in found) / len(found),
        "probe_auc": sum(probes) / len(probes) if probes else None,
    }
    return head | scores | means


def summarised(readme: str, table: pd.DataFrame) -> str:
    """The README with its summary of the ladder, between two marks, made anew from the table."""
    lines = []
    for ground, rung in table[table["status"] == "run"].groupby("ground", sort=False):
        lines += [f"\n*{ground}* ({page.steps_of(rung)}, {int(rung['seeds'].iloc[0])} seeds)\n"]
        lines += ["| row | landslide IoU | against | difference |", "|---|---|---|---|"]
        labels = dict(zip(table["row"], table["label"], strict=True))
        for line in rung.itertuples():
            lead = f"{line.difference:+.3f} [{line.low:+.3f}, {line.high:+.3f}]" if pd.notna(line.difference) else ""
            other = labels.get(line.against, "") if pd.notna(line.against) else ""
            lines.append(f"| {line.label} | {line.landslide_iou:.3f} ± {line.sd:.3f} | {other} | {lead} |")
    return put(readme, "ladder", "\n".join(lines).replace("nan", "–"))


def put(page: str, mark: str, text: str) -> str:
    """The page with a text between ``<!-- mark -->`` and ``<!-- /mark -->``, in place of what stood there."""
    return re.sub(rf"(?s)(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m: f"{m[1]}{text}\n\n{m[2]}", page)


if __name__ == "__main__":
    run(main)
