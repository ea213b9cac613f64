"""The section of the ablation: what each component buys, on ground of the areas that the report is about."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from hpcl.report.facts import SYNTHETIC, Report
from hpcl.report.html import NONE, Section, fixed, interval, paragraph, signed, table_html


def steps_of(ran: pd.DataFrame) -> str:
    """How many optimiser steps the variants of the ablation took.

    >>> steps_of(pd.DataFrame({"steps": [120.0, 135.0]})), steps_of(pd.DataFrame({"steps": [120.0]}))
    ('120 to 135 steps', '120 steps')
    """
    low, high = int(ran["steps"].min()), int(ran["steps"].max())
    return f"{low} steps" if low == high else f"{low} to {high} steps"


def verdict(low: float, high: float) -> str:
    """What a paired interval of a difference says.

    >>> verdict(0.01, 0.05), verdict(-0.02, 0.03), verdict(-0.05, -0.01)
    ('pays', 'no difference seen', 'costs')
    """
    if math.isnan(low):
        return ""
    return "pays" if low > 0 else "costs" if high < 0 else "no difference seen"


MORE_SCORES = {"boundary_iou": "boundary IoU", "object_detection_rate": "landslides found", "mcc": "MCC"}
"""What the ablation scores beside the landslide IoU, by column of its table."""

_ABLATION = (
    "variant", "verdict", "against", "landslide IoU (mean ± sd)", "difference [interval]", *MORE_SCORES.values(),
    "boundary probe", "parameters", "seeds",
)  # fmt: skip

_DEALT = re.compile(r", \d+ folds$|, mean of \d+$|: each by the others$|, test blocks$")
"""How `hpcl.ablation.compare` says what became of the areas of a ground, behind their names."""


def areas_of(ground: str) -> set[str]:
    """The areas of a ground of the ablation.

    >>> sorted(areas_of("north + south -> far east, mean of 3")), sorted(areas_of("north + south, east: each by the others"))
    (['far east', 'north', 'south'], ['east', 'north', 'south'])
    """
    return set(re.split(r" \+ | -> |, ", _DEALT.sub("", ground)))


def ablation_section(report: Report) -> Section:
    """One table per ground of these areas that the ablation was run on; which variants were not run is said below it."""
    table, title = _of_these_areas(report), "What each component buys"
    if not (table["status"] == "run").any():
        text = (
            "The ablation was not run on these areas. make ablation does so: it trains each variant of ablation/params.yaml several"
            " times, and says what that will cost before it starts."
        )
        return Section("ablation", title, [paragraph(text)])
    intro = (
        "Every variant is trained by the same loop on the same tiles with the same steps unless its name says "
        "otherwise, with several seeds and a network for each fold, and scored on "
        "all labelled ground, each block mapped by the network that never saw its fold; test areas, where there are any, are a "
        "table of their own, mapped by the mean of all networks. The difference is in landslide IoU and to the "
        "variant that it builds upon; its interval resamples networks and blocks, both "
        "paired. A baseline network is behind HPCL-Net where its difference is negative."
    )
    probe = paragraph(
        "Boundary probe: area under the ROC curve of a linear classifier of boundary against background hyper-pixels on the "
        "frozen fused map; .5 is chance.",
        "note",
    )
    return Section("ablation", title, [paragraph(intro), *_tables(table), probe])


def _of_these_areas(report: Report) -> pd.DataFrame:
    """What is known of grounds that lie in the areas of the report."""
    names = {area.name for area in report.areas}
    here = report.ablation["ground"].map(lambda ground: areas_of(ground) <= names)
    return report.ablation[here.astype(bool)]


def _tables(table: pd.DataFrame) -> list[str]:
    """A table for each ground, and what paid on none."""
    labels = dict(zip(table["variant"], table["label"], strict=True))
    tables: list[str] = []
    paid: set[Hashable] = set()
    tried: set[Hashable] = set()
    for ground, trainings in table.groupby("ground", sort=False):
        ran, idle = trainings[trainings["status"] == "run"], trainings[trainings["status"] != "run"]
        if ran.empty:
            continue
        lines = ran.to_dict("records")
        verdicts = {line["variant"]: verdict(line["low"], line["high"]) for line in lines if _is_compared(line)}
        tried |= verdicts.keys()
        paid |= {name for name, said in verdicts.items() if said == "pays"}
        rows = [_ablation_row(line, verdicts.get(line["variant"], ""), labels) for line in lines]
        note = f"{steps_of(ran)} of training each. "
        note += "Synthetic ground: wiring, not science. " if SYNTHETIC in str(ground) else ""
        note += f"Not run: {'; '.join(idle['label'])}." if len(idle) else ""
        tables.append(table_html(str(ground), _ABLATION, rows, words=3, note=note))
    vain = [labels[name] for name in labels if name in tried - paid]
    told = paragraph(f"Paid on no ground at this budget: {'; '.join(vain)}.") if vain else ""
    return [*tables, told]


def _is_compared(line: Mapping[Hashable, Any]) -> bool:
    return isinstance(line["against"], str)


def _ablation_row(line: Mapping[Hashable, Any], said: str, labels: Mapping[str, str]) -> list[str]:
    """What one variant got, and how far it is ahead of the one that it is compared with, if any."""
    compared = _is_compared(line)
    return [
        line["label"],
        said or NONE,
        labels.get(line["against"], "") if compared else NONE,
        f"{fixed(line['landslide_iou'])} ± {fixed(line['sd'])}",
        f"{signed(line['difference'])}{interval((line['low'], line['high']))}" if compared else NONE,
        *(fixed(line.get(score)) for score in MORE_SCORES),
        fixed(line["probe_auc"]),
        f"{int(line['parameters']):,}",
        f"{int(line['seeds'])}",
    ]
