"""The section of the label budget: what more labels would bring, on ground of the areas that the report is about."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from hpcl.report.ablation import MORE_SCORES, areas_of, steps_of
from hpcl.report.facts import SYNTHETIC, Report
from hpcl.report.html import NONE, Plates, Section, counted, fixed, interval, paragraph, signed, table_html

HEADS = (
    "variant", "share of the landslides", "landslides", "landslide IoU [interval]", "more than at the share before", "ahead of",
    "by", *MORE_SCORES.values(),
)  # fmt: skip


def rows(curves: pd.DataFrame) -> list[list[str]]:
    """The curves of one ground as rows of words, under `HEADS`."""
    labels = dict(zip(curves["variant"], curves["label"], strict=True))
    return [_row(line, labels) for line in curves.to_dict("records")]


def _row(line: Mapping[Hashable, Any], labels: Mapping[Hashable, str]) -> list[str]:
    return [
        line["label"],
        f"{int(line['percent'])} %",
        fixed(line["landslides"], 0),
        f"{fixed(line['landslide_iou'])}{within(line, 'iou_low', 'iou_high')}",
        f"{signed(line['gain'])}{within(line, 'gain_low', 'gain_high')}",
        labels.get(line["against"], NONE),
        f"{signed(line['difference'])}{within(line, 'low', 'high')}",
        *(fixed(line[score]) for score in MORE_SCORES),
    ]


def within(line: Mapping[Hashable, Any], low: str, high: str) -> str:
    """The interval of a row between two of its columns; nothing where it has none."""
    return "" if pd.isna(line[low]) else interval((line[low], line[high]))


def round_below(number: float) -> int:
    """The largest of 1, 2, 5, 10, 20, 50... that is not above a number from 1 on.

    >>> [round_below(n) for n in (1, 4.9, 5, 73, 100, 1999)]
    [1, 2, 5, 50, 100, 1000]
    """
    power = 10 ** int(np.floor(np.log10(number) + 1e-9))
    return int(max(factor * power for factor in (1, 2, 5) if factor * power <= number))


def worth(curve: pd.DataFrame) -> str:
    """What some more landslides are worth to one variant, read from the last part of its curve.

    No more of them than lie in that part, so that nothing is said of ground that nobody has mapped.
    """
    if len(curve) < 2:
        return f"{curve['label'].iloc[0]}: one share of the landslides is no curve; give labels.percent others."
    before, last = curve.sort_values("percent").iloc[-2:].to_dict("records")
    label, between = last["label"], last["landslides"] - before["landslides"]
    if between < 1:
        return f"{label}: its two largest shares hold the same landslides, so what more are worth cannot be read."
    more = round_below(between)
    gain, low, high = (more / between * last[name] for name in ("gain", "gain_low", "gain_high"))
    said = f"{label}: {counted(more, 'more landslide')} {'is' if more == 1 else 'are'} worth {signed(gain)}"
    told = (
        f" of landslide IoU, read between {before['landslides']:.0f} ({before['percent']} %) and {last['landslides']:.0f}"
        f" ({last['percent']} %)."
    )
    if np.isnan(low):
        return f"{said}{told} So few trainings have no interval: more seeds would tell how sure that is."
    doubt = " The interval holds 0: whether more labels pay is not known." if low <= 0 <= high else ""
    return f"{said}{interval((low, high))}{told}{doubt}"


def budget_section(report: Report) -> Section:
    """A curve and a table for each ground of these areas."""
    title = "How many labels are enough"
    here = of_areas(report.budget, {area.name for area in report.areas})
    if here.empty:
        text = (
            "This was not asked on these areas. make budget does so: it trains variants of ablation/params.yaml at 10, 25, 50 and"
            " 100 % of the landslides, and says what that will cost before it starts."
        )
        return Section("budget", title, [paragraph(text)])
    intro = (
        "Each variant is trained at shares of the landslides, and every training is scored on all labelled ground, each block by the"
        " network that never saw its fold. A share is ground, block by block on a way that each seed draws: a smaller share is part"
        " of every larger one, and what is not reached is unknown to the training. Steps, normalisation, temperatures and thresholds"
        " are those of all ground, so small shares look a little better than they would to a mapper who has no more. Differences"
        " are paired; their intervals resample networks and blocks."
    )
    plates, body = Plates(report.figures), [paragraph(intro)]
    for number, (ground, curves) in enumerate(here.groupby("ground", sort=False), start=1):
        note = f"{steps_of(curves)} and {counted(int(curves['seeds'].iloc[0]), 'seed')} each. "
        note += "Synthetic ground: wiring, not science." if SYNTHETIC in str(ground) else ""
        body += [paragraph(worth(one)) for _, one in curves.groupby("variant", sort=False)]
        caption = (
            "Landslide IoU on all labelled ground, with intervals, by the landslides that each network learnt from."
        )
        body.append(plates.one(f"budget_{number}.png", f"landslide IoU by number of landslides, {ground}", caption))
        body.append(table_html(str(ground), HEADS, rows(curves), words=2, note=note))
    return Section("budget", title, body)


def of_areas(table: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """The curves on grounds that lie in these areas."""
    return table[table["ground"].map(lambda ground: areas_of(ground) <= names).astype(bool)]
