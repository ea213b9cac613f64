"""A question asked of a few variants of the ablation, as one command: `make trial STUDY=<name> [NOTE=<words>]`."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.ablation import compare
from hpcl.core import artifacts
from hpcl.report.ablation import MORE_SCORES
from hpcl.report.budget import within
from hpcl.report.html import NONE, fixed, signed
from stages._ablation import ALL, FILE, Training
from stages._stage import ParameterError, params, run
from stages._trainings import make, tiles_of, unfinished
from stages.ablation import PAGE, distinct, put
from stages.budget import Labels, beside_others, curves, lacks, make_shares

TABLE = Path("reports/trials.csv")
TAKEN = ("ablation", "budget", "nan", "null")
"""Marks of other tables, and words that a CSV file reads as nothing."""
COLUMNS = [
    "study", "ground", "variant", "label", "percent", "seeds", "landslide_iou", "iou_low", "iou_high", "against", "difference", "low",
    "high", *compare.SCORES, "steps", "probe_auc",
]  # fmt: skip
HEADS = (
    "ground", "share of the landslides", "variant", "steps", "seeds", "landslide IoU [interval]", "ahead of", "by",
    *MORE_SCORES.values(), "probe",
)  # fmt: skip


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Trial:
    """A study of section `trials`: its variants, and the shares of the landslides that they learn from, in per cent."""

    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    percent: Annotated[tuple[Annotated[int, Field(ge=1, le=ALL)], ...], Field(min_length=1)]


def main(study: str, note: str) -> None:
    """Run its trainings as DVC stages; those that are finished and unchanged are not run again. ``note`` says what the name of
    the ground does not, and rows of other notes stay."""
    asked, seeds = _asked(study, note), params("seeds", tuple[int, ...], file=FILE)
    facts = tiles_of(asked.variants)
    distinct(asked.variants, compare.new_ground(facts))
    if shares := [percent for percent in asked.percent if percent != ALL]:
        make_shares("trial", shares)
    wanted = [Training(name, seed, percent) for name in asked.variants for percent in asked.percent for seed in seeds]
    what = f"{len(asked.variants)} variants x {len(asked.percent)} shares of the labels x {len(seeds)} seeds"
    missing = make("trial", what, wanted, len(facts.folds))
    found = curves([one for one in wanted if not lacks(one, missing)], facts, TABLE).round(4)
    found = found.sort_values(["ground", "percent"], kind="stable", ignore_index=True)
    found["ground"] += f"; {note}" if note else ""
    found.insert(0, "study", study)
    table = beside_others(TABLE, found[COLUMNS], ["study", "ground"])
    artifacts.write_csv(TABLE, table, "%.4f")
    before = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(put(before, study, summarised(table, study)), encoding="utf-8")
    marked = f"<!-- {study} -->" in before and f"<!-- /{study} -->" in before
    print(
        f"trial: {TABLE} has the rows"
        + (f", and {PAGE} their table." if marked else f"; {PAGE} has no marks for them.")
    )
    again = f"trial STUDY={study}" + (f" NOTE={quote(note)}" if note else "")
    unfinished(missing, "so their rows are not in the table", again)


def _asked(study: str, note: str) -> Trial:
    """The study. Raises `ParameterError` for names that no table can have, shares out of order, and trainings that DVC has no stage
    for."""
    if not re.fullmatch(r"[a-z][a-z_]*", study) or study in TAKEN:
        raise ParameterError(
            f"'{study}' cannot be the name of a study: take small letters and _, and not {', '.join(TAKEN[:-1])} or {TAKEN[-1]};"
            f" make trial STUDY=<name> wants one of section 'trials' of {FILE}."
        )
    if strange := re.search(r"[|\n\r]|<!--", note):
        raise ParameterError(f"NOTE holds {strange[0]!r}, which no row of a table can; say it in other words.")
    asked = params(f"trials.{study}", Trial, file=FILE)
    if any(a >= b for a, b in pairwise(asked.percent)):
        raise ParameterError(
            f"{FILE}: 'trials.{study}.percent' is {', '.join(map(str, asked.percent))}; name each share once, the smallest first."
        )
    whole, labels = params("run", tuple[str, ...], file=FILE), params("labels", Labels, file=FILE)
    for percent in asked.percent:
        names, key = (whole, "run") if percent == ALL else (labels.variants, "labels.variants")
        if lacking := [name for name in asked.variants if name not in names]:
            raise ParameterError(
                f"{FILE}: the trial '{study}' needs '{lacking[0]}' at {percent} % of the labels; name it in '{key}'."
            )
        if percent not in (*labels.percent, ALL):
            raise ParameterError(
                f"{FILE}: the trial '{study}' needs {percent} % of the labels; name {percent} in 'labels.percent'."
            )
    return asked


def summarised(table: pd.DataFrame, study: str) -> str:
    """The rows of a study as a table of Markdown."""
    rows = table[table["study"] == study]
    labels = {(row["ground"], row["variant"]): row["label"] for row in rows.to_dict("records")}
    lines = [HEADS, ["---"] * len(HEADS), *(_row(row, labels) for row in rows.to_dict("records"))]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(row: Mapping[Hashable, Any], labels: Mapping[tuple[str, str], str]) -> Sequence[str]:
    return [
        row["ground"],
        f"{row['percent']} %",
        row["label"],
        f"{row['steps']}",
        f"{row['seeds']}",
        f"{fixed(row['landslide_iou'])}{within(row, 'iou_low', 'iou_high')}",
        labels.get((row["ground"], row["against"]), NONE),
        f"{signed(row['difference'])}{within(row, 'low', 'high')}",
        *(fixed(row[score]) for score in (*MORE_SCORES, "probe_auc")),
    ]


if __name__ == "__main__":
    run(main)
