"""Which settings of inference pay: what is planted is found, noise and test ground recommend nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import examples
import numpy as np
import pandas as pd
import pytest
from test_ablation import evaluate, folded, networks
from test_infer import SETTING

from hpcl.ablation import pays
from hpcl.ablation.pays import AS_IT_IS, Option, OtherFoldsError
from hpcl.core.artifacts import read_json, write_json
from hpcl.core.codes import OUTSIDE, TEST_AREA
from hpcl.core.records import FoldedArea, TileFacts
from hpcl.settings.inference import InferenceSettings
from stages import _stage
from stages import compare_inference as command

BASE = InferenceSettings(**SETTING, overlap_frac=0.5, tta="none")
TTA, ADABN, BOTH = ("tta: d4", "adapt_windows: 256", "tta: d4, adapt_windows: 256")
BLOCKS = 12


def facts(**folds: tuple[int, ...]) -> TileFacts:
    areas = {area: examples.tiled_area(*codes) for area, codes in folds.items()}
    known = max(code for codes in folds.values() for code in codes if code < TEST_AREA) + 1
    return examples.tiles(areas, folds=[examples.fold(examples.tile_band("red"))] * known)


MIXED = facts(**{f"whole_{n}": (n % 3,) * BLOCKS for n in range(4)}, cut=(0, 1, 2) * 4, far=(TEST_AREA,) * BLOCKS)


def scored(of: TileFacts, iou: dict[str, Any]) -> pd.DataFrame:
    """The blocks of a map, of 10,000 landslide pixels each, with these IoUs by area."""
    tables = []
    for area, where in of.areas.items():
        tp = np.round(10_000 * np.clip(np.broadcast_to(iou[area], len(where.folds)), 0, 1)).astype(int)
        fold = [0 if code == TEST_AREA else code + 1 for code in where.folds]
        tables.append(
            pd.DataFrame(
                {
                    "area": area, "block": range(len(fold)), "fold": fold, "tn": 90_000, "fp": 0, "fn": 10_000 - tp, "tp": tp,
                    "boundary_both_px": 1, "boundary_either_px": 2, "objects": 1, "objects_found": 1,
                }
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def table(of: TileFacts, gains: dict[str, Any], seed: int = 0) -> tuple[pd.DataFrame, list[Option]]:
    """What is compared if each setting gains so much, in all areas or by area, on ground that differs much from block to block."""
    rng = np.random.default_rng(seed)
    ground = {area: rng.uniform(0.3, 0.7, len(where.folds)) for area, where in of.areas.items()}
    choices = pays.options(BASE, of)
    maps = {AS_IT_IS: scored(of, ground)}
    for option in choices:
        gain = gains.get(option.name, 0.0)
        by_area = gain if isinstance(gain, dict) else dict.fromkeys(of.areas, gain)
        maps[option.name] = scored(
            of, {area: iou + by_area[area] + rng.normal(0, 0.01, len(iou)) for area, iou in ground.items()}
        )
    return pays.compared(maps, choices, of, evaluate()), choices


def verdicts(of: pd.DataFrame) -> dict[str, str]:
    return dict(of.loc[of["judges"], ["setting", "verdict"]].itertuples(index=False))


@pytest.mark.parametrize(
    ("gains", "best"),
    [
        ({TTA: 0.03}, TTA),
        ({ADABN: 0.05}, ADABN),
        ({TTA: 0.03, ADABN: 0.05, BOTH: 0.12}, BOTH),
        ({TTA: 0.03, ADABN: -0.05, BOTH: -0.02}, TTA),
        ({TTA: -0.03, ADABN: -0.05, BOTH: -0.05}, None),
    ],
)
def test_a_planted_gain_is_recommended_and_a_loss_is_told(gains: dict[str, float], best: str | None) -> None:
    found, choices = table(MIXED, gains)
    for name, verdict in verdicts(found).items():
        gain = gains.get(name, 0.0)
        if gain:
            assert verdict == ("pays" if gain > 0 else "costs")
    chosen = pays.recommended(found, choices)
    assert (chosen and chosen.name) == best


def test_noise_is_hardly_ever_recommended() -> None:
    """Three settings at 95 % each, of which half of the errors would be losses."""
    chosen = [pays.recommended(*table(MIXED, {}, seed)) for seed in range(20)]
    assert sum(option is not None for option in chosen) <= 3


@pytest.mark.parametrize("gain", [0.3, -0.3])
def test_test_ground_never_decides(gain: float) -> None:
    """All gain on the test area; elsewhere there is none, or nothing that could show it."""
    only_far = dict.fromkeys(MIXED.areas, 0.0) | {"far": gain}
    found, choices = table(MIXED, {option.name: only_far for option in pays.options(BASE, MIXED)})
    assert pays.recommended(found, choices) is None
    measured = found[~found["judges"] & (found["setting"] != AS_IT_IS)]
    assert set(measured["setting"]) == {TTA, ADABN, BOTH, "networks: one"}
    assert set(measured["verdict"]) == {"measured"}
    np.testing.assert_allclose(measured["difference"], gain, atol=0.02)
    assert "networks: one" not in verdicts(found)
    alone = facts(cut=(0, 1, 2) * 4, far=(TEST_AREA,) * BLOCKS)
    found, choices = table(alone, {ADABN: 0.3, BOTH: 0.3, "networks: one": 0.3})
    assert set(verdicts(found)) == {TTA}
    assert pays.recommended(found, choices) is None


def test_adabn_must_pay_in_several_areas() -> None:
    """Blocks of one area gain or lose together: many of them say no more than the area does."""
    one = facts(whole=(0,) * 40, cut=(1, 2, 1, 2))
    found, choices = table(one, {ADABN: 0.1})
    assert verdicts(found)[ADABN] == "not shown"
    assert found.set_index("setting").loc[ADABN, ["low", "high"]].isna().all()
    mixed_gains = dict.fromkeys(MIXED.areas, 0.0) | {"whole_0": 0.3, "whole_1": -0.1, "whole_2": 0.1}
    found, choices = table(MIXED, {ADABN: mixed_gains})
    assert found.set_index("setting").loc[ADABN, "difference"].max() > 0.05
    assert verdicts(found)[ADABN] == "not shown"
    assert pays.recommended(found, choices) is None


def test_what_acts_on_no_hidden_ground_is_not_tried() -> None:
    assert [option.name for option in pays.options(BASE, facts(cut=(0, 1), other=(1, 0, OUTSIDE)))] == [TTA]
    whole = pays.options(BASE, facts(a=(0, OUTSIDE), b=(1,)))
    assert [(option.name, option.ground) for option in whole] == [(TTA, "folds"), (ADABN, "hidden"), (BOTH, "hidden")]
    on = InferenceSettings(**SETTING | {"adapt_windows": 64, "networks": "one"}, overlap_frac=0.5, tta="d4")
    tested = pays.options(on, facts(cut=(0, 1), far=(TEST_AREA,)))
    assert [(option.name, option.ground) for option in tested] == [
        ("tta: none", "folds"), ("adapt_windows: 0", "test"), ("tta: none, adapt_windows: 0", "test"), ("networks: all", "test"),
    ]  # fmt: skip
    assert tested[2].of(on) == InferenceSettings(**SETTING | {"networks": "one"}, overlap_frac=0.5, tta="none")


def test_each_ground_has_its_own_lines() -> None:
    found, _ = table(MIXED, {})
    held = found.groupby("ground", sort=False).agg({"blocks": "first", "areas": "first", "setting": list})
    assert list(held.index) == [
        "cut + whole_0 + whole_1 + whole_2 + whole_3, 3 folds",
        "whole_0 + whole_1 + whole_2 + whole_3, hidden whole",
        "cut + whole_0 + whole_1 + whole_2 + whole_3 -> far, mean of 3",
    ]
    assert held["blocks"].tolist() == [5 * BLOCKS, 4 * BLOCKS, BLOCKS]
    assert held["areas"].tolist() == [5, 4, 1]
    assert held["setting"].tolist()[:2] == [[AS_IT_IS, TTA], [AS_IT_IS, ADABN, BOTH]]


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An area in two folds and a test area, each of four blocks, mapped by networks that look at one pixel at a time."""
    rng = np.random.default_rng(0)
    places = {"shape": [80, 64], "tops": [0, 40], "lefts": [0, 32]}
    areas = {
        "place": examples.tiled_area(0, 1, 1, 0, **places),
        "school": examples.tiled_area(*[TEST_AREA] * 4, **places),
    }
    tiles = tmp_path / "data/tiles"
    tiles.mkdir(parents=True)
    for area in areas:
        values = rng.normal(1, 2, size=(3, 80, 64)).astype(np.float32)
        np.save(tiles / f"{area}.bands.npy", values)
        np.save(tiles / f"{area}.labels.npy", (values[0] + rng.normal(0, 1, (80, 64)) > 3).astype(np.uint8))
    known = examples.tiles(areas, bands=[examples.tile_band(name) for name in ("red", "green", "slope")])
    write_json(tiles / "facts.json", known)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_stage, "_inputs", [])
    monkeypatch.setattr(command, "load", lambda folder: networks(known))
    settings = {"inference": BASE, "evaluate": evaluate()}
    monkeypatch.setattr(command, "params", lambda section, record: settings[section])
    return tmp_path


def test_the_command_says_cost_and_verdict_and_keeps_the_table(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = '"other, 2 folds",as it is,False,3,1,0.5,,,,\n'
    (project / "reports").mkdir()
    (project / command.TABLE).write_text(",".join(command.COLUMNS) + "\n" + earlier)
    command.main()
    said = capsys.readouterr().out
    assert said.index("AdaBN (inference.adapt_windows) acts only in areas that a network saw nothing of") < said.index(
        "5 maps of all labelled ground, "
    )
    assert "about 0 minutes on" in said
    assert "tta: d4 is not shown to change the IoU: the interval holds 0, on place, 2 folds." in said
    assert "leave inference in params.yaml as it is." in said
    kept = pd.read_csv(project / command.TABLE)
    assert kept["ground"].unique().tolist() == ["other, 2 folds", "place, 2 folds", "place -> school, mean of 2"]
    of = kept.set_index(["ground", "setting"])
    line = of.loc[("place, 2 folds", TTA)]
    assert abs(line["difference"]) < 1e-4  # a network of single pixels sees the same however it is turned
    assert of.loc[("place -> school, mean of 2", "networks: one"), "verdict"] == "measured"


def test_networks_of_other_folds_are_not_judged(project: Path) -> None:
    known = read_json(project / "data/tiles/facts.json", TileFacts)
    pays.check_folds(networks(known), known)
    other = examples.tiles(
        {"place": examples.tiled_area(1, 0, 1, 0, shape=[80, 64], tops=[0, 40], lefts=[0, 32])}, bands=known.bands
    )
    with pytest.raises(OtherFoldsError, match="trained on other folds than those of data/tiles"):
        pays.check_folds(networks(known), other)
    more = examples.tiles({**known.areas, "further": examples.tiled_area(0)}, bands=known.bands)
    with pytest.raises(OtherFoldsError):
        pays.check_folds(networks(known), more)
    assert networks(known).areas["place"] == FoldedArea(**folded(known.areas["place"]))
