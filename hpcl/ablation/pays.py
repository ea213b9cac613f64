"""Which settings of inference pay: maps by the networks as they are, of ground that was hidden from what mapped it.

Test-time augmentation (TTA) is judged on all ground in folds. AdaBN changes an area as a whole, and only one that a network saw
nothing of: it is judged on areas whose ground lies in a single fold. Test areas are measured too, and recommend nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from hpcl.ablation import compare
from hpcl.core.records import FoldedArea, TileFacts
from hpcl.networks.ensemble import Ensemble
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.inference import InferenceSettings

ADAPT_WINDOWS = 256
"""What AdaBN is tried with where it is off."""
AS_IT_IS = "as it is"

Ground = Literal["folds", "hidden", "test"]
"""All ground in folds; of it the areas that lie in a single fold; test areas."""


class OtherFoldsError(ValueError):
    """Networks that were not trained on the tiles that they are to be judged on."""


@dataclass(frozen=True)
class Option:
    """Settings of inference that differ from those of params.yaml in ``change``, and the ``ground`` that judges them; on test
    areas alone there is no judgement, only a measurement."""

    change: Mapping[str, Any]
    ground: Ground

    @property
    def name(self) -> str:
        """As it stands in params.yaml."""
        return ", ".join(f"{key}: {value}" for key, value in self.change.items())

    def of(self, base: InferenceSettings) -> InferenceSettings:
        """All settings."""
        return replace(base, **self.change)


def hidden_areas(facts: TileFacts) -> list[str]:
    """Areas whose ground lies in a single fold: the network that maps them saw nothing of them."""
    return sorted(name for name, area in facts.areas.items() if len(area.fold_codes) == 1)


def options(base: InferenceSettings, facts: TileFacts) -> list[Option]:
    """What is to be compared with the settings as they are: the other choice of each, and both, where they act on some ground."""
    tta = {"tta": "none" if base.tta == "d4" else "d4"}
    adabn = {"adapt_windows": 0 if base.adapt_windows else ADAPT_WINDOWS}
    tested = any(area.test for area in facts.areas.values())
    found = [Option(tta, "folds")]
    if hidden_areas(facts) or tested:
        ground: Ground = "hidden" if hidden_areas(facts) else "test"
        found += [Option(adabn, ground), Option(tta | adabn, ground)]
    if tested:
        found.append(Option({"networks": "one" if base.networks == "all" else "all"}, "test"))
    return found


def check_folds(ensemble: Ensemble, facts: TileFacts) -> None:
    """Raise `OtherFoldsError` unless the networks' folds are those of the tiles: on others, a network would be judged on ground that it
    learnt."""
    own = [field.name for field in fields(FoldedArea)]
    folded = {
        name: FoldedArea(**{field: getattr(area, field) for field in own})
        for name, area in facts.areas.items()
        if not area.test
    }
    if ensemble.areas != folded:
        raise OtherFoldsError(
            "The networks in data/model were trained on other folds than those of data/tiles, so they may have learnt what would judge"
            " them; run dvc repro train first."
        )


def compared(
    maps: Mapping[str, pd.DataFrame], choices: Sequence[Option], facts: TileFacts, settings: EvaluateSettings
) -> pd.DataFrame:
    """One line for each ground and setting: ``ground`` in words, ``setting``, ``judges`` (whether this ground may recommend it),
    ``blocks``, ``areas``, ``landslide_iou``, and of all but the settings as they are ``difference, low, high, verdict``.

    ``maps``: `hpcl.ablation.score.score` by the name of the option, and by `AS_IT_IS`. The networks are given and not drawn, so
    intervals are those of the ground: blocks are drawn, of all maps the same. Where AdaBN takes part, whole areas are, for it
    moves all blocks of an area together; of a single area there is no interval.
    """
    lines: list[dict[str, Any]] = []
    for ground, words in _grounds(facts).items():
        chosen = [option for option in choices if _measured(option, ground)]
        lines += [{"ground": words, **line} for line in _lines(maps, chosen, ground, facts, settings)]
    return pd.DataFrame(lines)


def recommended(table: pd.DataFrame, choices: Sequence[Option]) -> Option | None:
    """The option that surely pays most: with the highest lower end, on ground that may recommend it; None if none pays."""
    paying = table[(table["verdict"] == "pays") & table["judges"]]
    if paying.empty:
        return None
    name = paying.loc[paying["low"].idxmax(), "setting"]
    return next(option for option in choices if option.name == name)


def _grounds(facts: TileFacts) -> dict[Ground, str]:
    """What there is, in words."""
    found: dict[Ground, str] = {"folds": compare.ground(facts)}
    if whole := hidden_areas(facts):
        found["hidden"] = f"{' + '.join(whole)}, hidden whole"
    if tested := compare.transfer_ground(facts):
        found["test"] = tested
    return found


def _measured(option: Option, ground: Ground) -> bool:
    """Whether an option is looked at on a ground: where it is judged, and on test areas."""
    return ground in (option.ground, "test")


def _lines(
    maps: Mapping[str, pd.DataFrame],
    chosen: Sequence[Option],
    ground: Ground,
    facts: TileFacts,
    settings: EvaluateSettings,
) -> list[dict[str, Any]]:
    base = _on(maps[AS_IT_IS], ground, facts)
    lines: list[dict[str, Any]] = []
    for option in chosen:
        by_area = "adapt_windows" in option.change
        units = base["area"] if by_area else base["area"] + " " + base["block"].astype(str)
        unit = np.unique(units, return_inverse=True)[1]
        tables = {
            AS_IT_IS: [base.assign(fold=unit)],
            option.name: [_on(maps[option.name], ground, facts).assign(fold=unit)],
        }
        first, other = compare.compare(tables, {option.name: AS_IT_IS}, settings).to_dict("records")
        counts = {"blocks": len(base), "areas": base["area"].nunique()}
        if not lines:
            lines.append({"setting": AS_IT_IS, "judges": False, **counts, "landslide_iou": first["landslide_iou"]})
        judges = ground != "test"
        scores = {name: other[name] for name in ("landslide_iou", "difference", "low", "high")}
        verdict = _verdict(other["low"], other["high"]) if judges else "measured"
        lines.append({"setting": option.name, "judges": judges, **counts, **scores, "verdict": verdict})
    return lines


def _on(blocks: pd.DataFrame, ground: Ground, facts: TileFacts) -> pd.DataFrame:
    """The blocks of a ground, in one order for all maps."""
    held = {
        "folds": blocks["fold"] > 0,
        "hidden": blocks["area"].isin(hidden_areas(facts)),
        "test": blocks["fold"] == 0,
    }
    return blocks[held[ground]].sort_values(["area", "block"], ignore_index=True)


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "pays"
    return "costs" if high < 0 else "not shown"
