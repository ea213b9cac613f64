"""Which settings of inference pay: TTA, AdaBN and both against the settings as they are, on ground hidden from the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from hpcl.ablation import pays, score
from hpcl.ablation.pays import AS_IT_IS, Option
from hpcl.core import artifacts
from hpcl.core.records import TileFacts
from hpcl.inference.predict import forward_passes, seconds_per_pass
from hpcl.networks.device import described
from hpcl.networks.ensemble import Ensemble, load
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.inference import InferenceSettings
from stages._stage import params, progress, run

TILES, MODEL, TABLE = Path("data/tiles"), Path("data/model"), Path("reports/inference.csv")
COLUMNS = ["ground", "setting", "judges", "blocks", "areas", "landslide_iou", "difference", "low", "high", "verdict"]


def main() -> None:
    """Map and score the ground of the tiles with each; print what pays and keep reports/inference.csv. Nothing is trained."""
    base, settings = params("inference", InferenceSettings), params("evaluate", EvaluateSettings)
    facts = artifacts.read_json(TILES / "facts.json", TileFacts)
    ensemble = load(MODEL)
    pays.check_folds(ensemble, facts)
    choices = pays.options(base, facts)
    if not pays.hidden_areas(facts):
        _say(
            "AdaBN (inference.adapt_windows) acts only in areas that a network saw nothing of, and no fold holds such an area whole, so"
            " nothing can recommend it here; deal whole areas into folds (tile.split: areas) to have it judged."
        )
    ways = {AS_IT_IS: base} | {option.name: option.of(base) for option in choices}
    passes = {name: _passes(facts, ensemble, way) for name, way in ways.items()}
    total = sum(passes.values())
    probe = score.TileScene(TILES, min(facts.areas), facts, ensemble)
    minutes = total * seconds_per_pass(probe, ensemble, base) / 60
    _say(
        f"{len(ways)} maps of all labelled ground, {total:,.0f} forward passes at most, about {minutes:.0f} minutes on {described()};"
        " nothing is kept until all are scored."
    )
    maps = {name: score.score(TILES, ensemble, way, settings, _hooks(name)) for name, way in ways.items()}
    table = pays.compared(maps, choices, facts, settings)
    _keep(table)
    _tell(table, choices, passes)


def _hooks(name: str) -> Callable[[str], score.Progress]:
    """Progress of a map, area by area."""
    return lambda area: progress(f"compare_inference: {name}, {area}")


def _passes(facts: TileFacts, ensemble: Ensemble, way: InferenceSettings) -> float:
    """Forward passes of a map of all areas."""
    scenes = (score.TileScene(TILES, area, facts, ensemble) for area in sorted(facts.areas))
    return sum(forward_passes(scene, ensemble, way) for scene in scenes)


def _keep(table: pd.DataFrame) -> None:
    """Put the lines into reports/inference.csv, in place of earlier ones of the same ground."""
    if TABLE.exists():
        before = artifacts.read_csv(TABLE, {"ground": str, "setting": str})
        table = pd.concat([before[~before["ground"].isin(table["ground"])], table], ignore_index=True)
    artifacts.write_csv(TABLE, table[COLUMNS], "%.4f")


def _tell(table: pd.DataFrame, choices: list[Option], passes: Mapping[str, float]) -> None:
    for ground, lines in table.groupby("ground", sort=False):
        _say(f"{ground} ({lines['blocks'].iloc[0]} blocks): landslide IoU")
        for line in lines.to_dict("records"):
            shown = f"  {line['setting']:32s} {line['landslide_iou']:.3f}"
            if pd.notna(line["difference"]):
                shown += f"  {line['difference']:+.3f}{_interval(line['low'], line['high'])}  {line['verdict']}"
            _say(shown)
    for line in table[table["judges"]].to_dict("records"):
        _say(_sentence(line))
    best = pays.recommended(table, choices)
    if best is None:
        _say("leave inference in params.yaml as it is.")
    else:
        factor = passes[best.name] / passes[AS_IT_IS]
        sets = " and ".join(f"inference.{key}: {value}" for key, value in best.change.items())
        _say(f"set {sets} in params.yaml; a map then takes {factor:.2g} times as many forward passes.")
    _say(f"{TABLE} keeps the table.")


def _sentence(line: Mapping[str, object]) -> str:
    means = {
        "pays": "pays: all of the interval is above 0",
        "costs": "costs IoU: all of the interval is below 0",
        "not shown": "is not shown to change the IoU: the interval holds 0",
    }
    if pd.isna(line["low"]):
        return f"{line['setting']} is not shown to pay: {line['ground']} is too little ground for an interval."
    return f"{line['setting']} {means[str(line['verdict'])]}, on {line['ground']}."


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]"


def _say(line: str) -> None:
    print(f"compare_inference: {line}")


if __name__ == "__main__":
    run(main)
