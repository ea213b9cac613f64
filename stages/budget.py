"""How many labels are enough, as one command: variants of the ablation at shares of the landslides. `make budget`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.ablation import compare
from hpcl.ablation.curve import curve
from hpcl.ablation.records import VariantScores
from hpcl.core import artifacts
from hpcl.core.records import LabelShare, TileFacts
from hpcl.report.budget import HEADS, rows, worth
from hpcl.report.html import counted
from hpcl.settings.evaluate import EvaluateSettings
from stages._ablation import ABLATION, ALL, FILE, Training, variants
from stages._stage import ParameterError, params, run
from stages._trainings import UnfinishedError, dvc, make, tiles_of, unfinished
from stages.ablation import PAGE, distinct, probe_auc, put

TABLE = Path("reports/budget.csv")


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Labels:
    """Section `labels`: the variants that are also trained at shares of the landslides, and these shares."""

    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    percent: Annotated[tuple[Annotated[int, Field(ge=1, lt=ALL)], ...], Field(min_length=1)]


def main() -> None:
    """Run the trainings as DVC stages; those that are finished and unchanged are not run again."""
    asked, seeds = _asked(), params("seeds", tuple[int, ...], file=FILE)
    facts = tiles_of(asked.variants)
    distinct(asked.variants, compare.new_ground(facts))
    make_shares("budget", asked.percent)
    shares = (*asked.percent, ALL)
    wanted = [Training(name, seed, percent) for name in asked.variants for percent in shares for seed in seeds]
    what = f"{len(asked.variants)} variants x {len(shares)} shares of the labels x {len(seeds)} seeds"
    missing = make("budget", what, wanted, len(facts.folds))
    table = collect([one for one in wanted if not lacks(one, missing)], facts)
    artifacts.write_csv(TABLE, table, "%.4f")
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "budget", summarised(table)), encoding="utf-8")
    for told in sentences(table[table["ground"] == compare.ground(facts)]):
        print(f"budget: {told}")
    print(f"budget: {TABLE} and the tables in {PAGE}; `dvc repro report` shows the curve.")
    unfinished(missing, "so their points are not on the curve", "budget")


def make_shares(command: str, percents: Sequence[int]) -> None:
    """Have DVC choose the ground of each share, and say what is odd about these shares in per cent."""
    dvc("repro", "share_labels", failed="The shares of the labels cannot be made", folder=ABLATION)
    for percent in percents:
        for told in dict.fromkeys(told for share in _shares(percent) for told in share.findings):
            print(f"{command}: {told}")


def _asked() -> Labels:
    """The section `labels`. Raises `ParameterError` for shares out of order, and variants that the ablation does not train."""
    asked, trained = params("labels", Labels, file=FILE), params("run", tuple[str, ...], file=FILE)
    if any(a >= b for a, b in pairwise(asked.percent)):
        raise ParameterError(
            f"{FILE}: 'labels.percent' is {', '.join(map(str, asked.percent))}; name each share once, the smallest first."
        )
    if lacking := [name for name in asked.variants if name not in trained]:
        raise ParameterError(
            f"{FILE}: 'labels.variants' names '{lacking[0]}', which 'run' does not; add it there, for its training at all labels is"
            " that of the ablation."
        )
    return asked


def lacks(training: Training, missing: Sequence[Training]) -> bool:
    """Whether a point of a curve, which all seeds make together, has no result yet."""
    return any((one.variant, one.percent) == (training.variant, training.percent) for one in missing)


def collect(finished: Sequence[Training], facts: TileFacts) -> pd.DataFrame:
    """The table: the curves on this ground, and what it knew of other grounds."""
    table, counts = curves(finished, facts, TABLE), _landslides(params("labels", Labels, file=FILE))
    table.insert(4, "landslides", [counts[percent] for percent in table["percent"]])
    return beside_others(TABLE, table.drop(columns="probe_auc"), ["ground"])


def curves(finished: Sequence[Training], facts: TileFacts, kept: Path) -> pd.DataFrame:
    """Scores by ground, variant and share, from all seeds of each. Test areas are a ground of their own. Raises `UnfinishedError`,
    which says that the table ``kept`` stays as it is, if there are none."""
    if not finished:
        raise UnfinishedError(f"No training has a result; DVC said above why. {kept} stays as it is.")
    found: dict[tuple[str, int], list[VariantScores]] = {}
    for one in finished:
        found.setdefault((one.variant, one.percent), []).append(artifacts.read_json(one.scores, VariantScores))
    known, tables = variants(), []
    for ground in filter(None, (compare.ground(facts), compare.transfer_ground(facts))):
        blocks = {point: [pd.DataFrame(one.blocks[ground]) for one in each] for point, each in found.items()}
        against = {name: variant.against for name, variant in known.items()}
        table = curve(blocks, against, params("evaluate", EvaluateSettings))
        points = [found[point] for point in zip(table["variant"], table["percent"], strict=True)]
        table.insert(0, "ground", ground)
        table.insert(2, "label", [known[name].label for name in table["variant"]])
        table["steps"] = [max(one.steps for one in point) for point in points]
        table["probe_auc"] = [probe_auc(point) for point in points]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def beside_others(path: Path, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows of a file that have none of the table's ``keys``, and the table under them."""
    if not path.exists():
        return table
    before = artifacts.read_csv(path, dict.fromkeys(keys, str))
    ours = set(table[keys].itertuples(index=False, name=None))
    others = [key not in ours for key in before[keys].itertuples(index=False, name=None)]
    return pd.concat([before[others], table], ignore_index=True) if any(others) else table


def _shares(percent: int) -> list[LabelShare]:
    """What a share of the labels is, for each seed."""
    folders = [Training("", seed, percent).share / "labels" for seed in params("seeds", tuple[int, ...], file=FILE)]
    return [artifacts.read_json(folder / "facts.json", LabelShare) for folder in folders]


def _landslides(asked: Labels) -> dict[int, float]:
    """How many landslides a network learns from at each share, the mean over folds and seeds."""
    found = {percent: [fold for share in _shares(percent) for fold in share.folds] for percent in asked.percent}
    counts = {percent: [fold.landslides for fold in folds] for percent, folds in found.items()}
    counts[ALL] = [fold.of for fold in found[asked.percent[0]]]
    return {percent: sum(each) / len(each) for percent, each in counts.items()}


def sentences(table: pd.DataFrame) -> list[str]:
    """What the last landslides of each curve of one ground were worth."""
    return [worth(one) for _, one in table.groupby("variant", sort=False)]


def summarised(table: pd.DataFrame) -> str:
    """All curves as tables of Markdown, and what they say."""
    lines = []
    for ground, curves in table.groupby("ground", sort=False):
        lines += [
            f"\n*{ground}* ({int(curves['steps'].iloc[0])} steps, {counted(int(curves['seeds'].iloc[0]), 'seed')})\n"
        ]
        lines += [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows(curves)]
        lines += ["", *(f"- {told}" for told in sentences(curves))]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
