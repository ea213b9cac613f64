"""The ablation as one command: say what it costs, run what is missing, keep the table. `make ablation`."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hpcl.ablation import compare
from hpcl.ablation.records import VariantScores
from hpcl.core import artifacts
from hpcl.core.records import TileFacts
from hpcl.networks import store
from hpcl.report.ablation import MORE_SCORES, steps_of
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.training import loop
from stages import _ablation
from stages._ablation import ABLATION, FILE, RESULTS, Variant, variants
from stages._stage import ParameterError, params, run
from stages._train import TILES, tiles_for
from stages.score_variant import inference

TABLE, PAGE = Path("reports/ablation.csv"), Path("docs/ablation.md")
PROBE_STEPS = 4


class UnfinishedError(RuntimeError):
    """Trainings of the ablation that should have a result and have none."""


def main() -> None:
    """Run the trainings as DVC stages; those that are finished and unchanged are not run again."""
    chosen, seeds = params("run", tuple[str, ...], file=FILE), params("seeds", tuple[int, ...], file=FILE)
    wanted = [f"{name}-{seed}" for name in chosen for seed in seeds]
    for name in chosen:  # what cannot be built is said before anything is trained
        recipe = _ablation.recipe(name, 0)
        store.build(recipe.model, 2, recipe.contrast.embedding_dim)
    _dvc("repro", "tile", failed="The tiles cannot be made")
    facts = artifacts.read_json(TILES / "facts.json", TileFacts)
    distinct(chosen, compare.new_ground(facts))
    untrained, missing = _missing(wanted)
    print(
        f"ablation: {len(chosen)} variants x {len(seeds)} seeds = {len(wanted)} trainings of {len(facts.folds)} networks, one for"
        f" each fold. {len(untrained)} of them are to be run and {len(missing)} to be scored."
    )
    if untrained:
        minutes = _cost(untrained, len(facts.folds)) / 60
        span = f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
        print(
            f"ablation: about {span} at the speed of HPCL-Net's steps on this machine, and a fifth more or so for "
            "held-out windows and maps. Stop it at any time: a finished training is kept, an unfinished one goes on after "
            "its last epoch.",
            flush=True,
        )
    if missing:
        subprocess.run(["dvc", "repro", "--keep-going"], cwd=ABLATION, check=False)
        _, missing = _missing(wanted)
    table = collect(variants(), [name for name in chosen if not any(f"{name}-{s}" in missing for s in seeds)], seeds)
    TABLE.parent.mkdir(exist_ok=True)
    table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
    PAGE.write_text(summarised(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(f"ablation: {TABLE} and the tables in {PAGE}; `dvc repro report` shows it.")
    if missing:
        raise UnfinishedError(
            f"{len(missing)} trainings have no result ({', '.join(missing[:5])}{', ...' * (len(missing) > 5)}), so their "
            "variants read 'not run'; DVC said above why. The others are kept: mend the cause and run `make ablation` again."
        )


def _dvc(*arguments: str, failed: str, folder: Path | None = None, capture: bool = False) -> str:
    stdout = subprocess.PIPE if capture else None
    done = subprocess.run(["dvc", *arguments], cwd=folder, check=False, stdout=stdout, text=True)
    if done.returncode:
        raise UnfinishedError(f"{failed}; DVC said above why. Nothing of the ablation was changed.")
    return done.stdout or ""


def _missing(wanted: list[str]) -> tuple[list[str], list[str]]:
    """Of the wanted trainings those to be trained, and those to be scored, those included: what has no result of the
    parameters, the code and the tiles as they are now."""
    changed = _dvc("status", "--json", failed="The state of the ablation cannot be told", folder=ABLATION, capture=True)
    outdated = {tuple(stage.split("@")) for stage in json.loads(changed)}
    untrained = [training for training in wanted if ("train_variant", training) in outdated]
    return untrained, [one for one in wanted if one in untrained or ("score_variant", one) in outdated]


def _cost(missing: list[str], folds: int) -> float:
    """Seconds of all steps of these trainings, each of as many networks as there are folds, if every step took as long as one of
    HPCL-Net does here."""
    trainings = Counter(training.rpartition("-")[0] for training in missing)
    steps = 0
    for name, seeds in trainings.items():
        steps += seeds * folds * _ablation.recipe(name, 0).steps  # a network takes as many with any seed and fold
    one = _ablation.recipe("hpcl_net", 0)
    short = replace(one, train=replace(one.train, epochs=1, steps_per_epoch=PROBE_STEPS))
    seen: list[float] = []
    for _ in loop.fit(tiles_for(short, 1), short, progress=lambda done, total: seen.append(time.perf_counter())):
        pass
    step_s = (seen[-1] - seen[0]) / (len(seen) - 1)
    return step_s * steps


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
        name: [artifacts.read_json(RESULTS / f"{name}-{seed}.json", VariantScores) for seed in seeds]
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
    probes = [one.probe_auc for one in found if one.probe_auc is not None]
    means = {
        "steps": max(one.steps for one in found),
        "parameters": found[0].parameters,
        "held_iou": sum(one.held_iou for one in found) / len(found),
        "probe_auc": sum(probes) / len(probes) if probes else None,
    }
    return head | scores | means


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
