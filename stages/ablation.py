"""The ablation as one command: say what it costs, run what is missing, keep the table. `make ablation`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hpcl.ablation import compare
from hpcl.ablation.records import VariantScores
from hpcl.core import artifacts
from hpcl.core.records import TileFacts
from hpcl.report.ablation import MORE_SCORES, steps_of
from hpcl.settings.evaluate import EvaluateSettings
from stages import _ablation
from stages._ablation import FILE, Training, Variant, variants
from stages._stage import ParameterError, params, run
from stages._train import TILES
from stages._trainings import UnfinishedError, make, tiles_of, unfinished
from stages.score_variant import inference

TABLE, PAGE = Path("reports/ablation.csv"), Path("docs/ablation.md")


def main() -> None:
    """Run the trainings as DVC stages; those that are finished and unchanged are not run again."""
    chosen, seeds = params("run", tuple[str, ...], file=FILE), params("seeds", tuple[int, ...], file=FILE)
    facts = tiles_of(chosen)
    distinct(chosen, compare.new_ground(facts))
    wanted = [Training(name, seed) for name in chosen for seed in seeds]
    missing = make("ablation", f"{len(chosen)} variants x {len(seeds)} seeds", wanted, len(facts.folds))
    table = collect(variants(), [name for name in chosen if name not in {one.variant for one in missing}], seeds)
    TABLE.parent.mkdir(exist_ok=True)
    table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
    PAGE.write_text(summarised(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(f"ablation: {TABLE} and the tables in {PAGE}; `dvc repro report` shows it.")
    unfinished(missing, "so their variants read 'not run'", "ablation")


def distinct(names: Sequence[str], new_ground: bool) -> None:
    """Refuse variants that would be the same training and the same map, so that a table never compares a variant with itself.

    AdaBN acts on ``new_ground`` only, and only there do variants differ by it.
    """
    seen: dict[str, str] = {}
    for name in names:
        maps = inference(name)
        settings = repr((_ablation.recipe(name, 0), maps if new_ground else replace(maps, adapt_windows=0)))
        if settings in seen:
            raise ParameterError(
                f"With this params.yaml and these tiles the variants '{seen[settings]}' and '{name}' of {FILE} are the same; "
                "take one of them out of 'run'. (With contrastive.weight 0 variants of the contrast are alike; where every network "
                "has trained in all areas that it maps, variants that differ in inference.adapt_windows.)"
            )
        seen[settings] = name


def collect(known: dict[str, Variant], finished: list[str], seeds: tuple[int, ...]) -> pd.DataFrame:
    """The table: the finished variants on this ground, the others as not run, and what it knew of other grounds. Test areas are a
    ground of their own."""
    if not finished:
        raise UnfinishedError(f"No variant has all its results; DVC said above why. {TABLE} stays as it is.")
    facts = artifacts.read_json(TILES / "facts.json", TileFacts)
    here = [ground for ground in (compare.ground(facts), compare.transfer_ground(facts)) if ground]
    found = {
        name: [artifacts.read_json(Training(name, seed).scores, VariantScores) for seed in seeds]
        for name in known
        if name in finished
    }
    before = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    lines = [line for line in before if line["ground"] not in here]
    against = {name: variant.against for name, variant in known.items()}
    for ground in here:
        blocks = {name: [pd.DataFrame(one.blocks[ground]) for one in each] for name, each in found.items()}
        scores = compare.compare(blocks, against, params("evaluate", EvaluateSettings))
        by_name = {line["variant"]: line for line in scores.to_dict("records")}
        lines += [_line(name, one, ground, by_name.get(name), found.get(name)) for name, one in known.items()]
    return pd.DataFrame(lines)


def _line(
    name: str, variant: Variant, ground: str, scores: dict[str, Any] | None, found: list[VariantScores] | None
) -> dict[str, Any]:
    head = {"ground": ground, "variant": name, "label": variant.label, "status": "run" if found else "not run"}
    if not found or scores is None:
        return head
    means = {
        "steps": max(one.steps for one in found),
        "parameters": found[0].parameters,
        "held_iou": sum(one.held_iou for one in found) / len(found),
        "probe_auc": probe_auc(found),
    }
    return head | scores | means


def probe_auc(found: Sequence[VariantScores]) -> float | None:
    """The mean over trainings, of those that have one."""
    probes = [one.probe_auc for one in found if one.probe_auc is not None]
    return sum(probes) / len(probes) if probes else None


def summarised(page: str, table: pd.DataFrame) -> str:
    """The page with its tables of the ablation, between two marks, made again from the CSV file."""
    lines = []
    labels = dict(zip(table["variant"], table["label"], strict=True))
    for ground, training in table[table["status"] == "run"].groupby("ground", sort=False):
        scored = training.dropna(axis="columns", how="all")  # rows of before there were folds have no score but the IoU
        more = {score: label for score, label in MORE_SCORES.items() if score in scored}
        heads = ["variant", "landslide IoU", "against", "difference", *more.values()]
        lines += [f"\n*{ground}* ({steps_of(training)}, {int(training['seeds'].iloc[0])} seeds)\n"]
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for line in training.to_dict("records"):
            spread = f" ± {line['sd']:.3f}" if pd.notna(line["sd"]) else ""
            lead = f"{line['difference']:+.3f}" if pd.notna(line["difference"]) else ""
            lead += f" [{line['low']:+.3f}, {line['high']:+.3f}]" if pd.notna(line["low"]) else ""
            other = labels.get(line["against"], "") if pd.notna(line["against"]) else ""
            rest = [f"{line[score]:.3f}" if pd.notna(line[score]) else "" for score in more]
            cells = [line["label"], f"{line['landslide_iou']:.3f}{spread}", other, lead, *rest]
            lines.append(f"| {' | '.join(cells)} |")
    return put(page, "ablation", "\n".join(lines))


def put(page: str, mark: str, text: str) -> str:
    """The page with a text between ``<!-- mark -->`` and ``<!-- /mark -->``, in place of what stood there."""
    return re.sub(rf"(?s)(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m: f"{m[1]}{text}\n\n{m[2]}", page)


if __name__ == "__main__":
    run(main)
