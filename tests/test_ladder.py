"""The ladder: planted counts for its table, a scene counted by hand for its scores, and rows that can all be run."""

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_infer import BANDS, trained

from hpcl import ladder
from hpcl.infer import InferSettings
from hpcl.metrics import EvaluateSettings
from stages import _ladder, rung
from stages._ladder import Row
from stages._stage import params
from stages.ladder import collect, summarised

ROOT = Path(__file__).parents[1]
ROWS = params("rows", dict[str, _ladder.Row], file=ROOT / _ladder.FILE)


def evaluate(resamples: int = 300) -> EvaluateSettings:
    return EvaluateSettings(
        resamples=resamples, confidence_frac=0.95, seed=0, object_found_frac=0.5, object_minimum_area_m2=0.0,
        object_size_edges_m2=(), boundary_px=2, calibration_bins=5,
    )  # fmt: skip


def counts(*iou: float, area: str = "a") -> pd.DataFrame:
    """Blocks of 100 landslide and 900 other pixels; IoU is the share of the landslide that is found."""
    tp = [round(100 * x) for x in iou]
    return pd.DataFrame(
        {"area": area, "block": range(len(tp)), "tn": 900, "fp": 0, "fn": [100 - x for x in tp], "tp": tp}
    )


def test_mean_spread_and_lead_by_hand() -> None:
    rungs = {"low": [counts(0.2, 0.4), counts(0.4, 0.6)], "high": [counts(0.6, 0.6), counts(0.7, 0.9)]}
    low, high = ladder.compare(rungs, {"high": "low", "low": "not run"}, evaluate()).to_dict("records")
    assert (low["row"], high["row"], high["against"], high["seeds"]) == ("low", "high", "low", 2)
    assert low["landslide_iou"] == pytest.approx((0.3 + 0.5) / 2)
    assert low["sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert high["landslide_iou"] == pytest.approx((0.6 + 0.8) / 2)
    assert high["difference"] == pytest.approx((0.3 + 0.3) / 2)
    assert high["low"] < high["difference"] < high["high"]
    assert pd.isna(low["against"])
    assert np.isnan(low["difference"])


def test_one_seed_has_no_spread() -> None:
    (line,) = ladder.compare({"one": [counts(0.2, 0.4)]}, {}, evaluate()).to_dict("records")
    assert np.isnan(line["sd"])


def test_a_rung_is_no_better_than_itself() -> None:
    (line,) = ladder.compare({"a": [counts(0.2, 0.4), counts(0.7, 0.1)]}, {"a": "a"}, evaluate()).to_dict("records")
    assert (line["difference"], line["low"], line["high"]) == (0.0, 0.0, 0.0)


def test_blocks_and_seeds_are_drawn_together() -> None:
    """Ground and seeds differ much, the lead is the same everywhere: paired draws know it, draws apart would not."""
    low = [counts(0.1, 0.3, 0.5), counts(0.2, 0.4, 0.6), counts(0.0, 0.2, 0.4)]
    high = [counts(0.4, 0.6, 0.8), counts(0.5, 0.7, 0.9), counts(0.3, 0.5, 0.7)]
    _, line = ladder.compare({"low": low, "high": high}, {"high": "low"}, evaluate()).to_dict("records")
    assert [line["difference"], line["low"], line["high"]] == pytest.approx([0.3, 0.3, 0.3])


def test_fewer_blocks_say_less() -> None:
    rng = np.random.default_rng(0)

    def width(blocks: int) -> float:
        rungs = {name: [counts(*rng.uniform(0.2, 0.8, blocks)) for _ in range(3)] for name in ("a", "b")}
        line = ladder.compare(rungs, {"b": "a"}, evaluate()).to_dict("records")[1]
        return float(line["high"] - line["low"])

    assert width(4) > 2 * width(200) > 0


def test_the_order_of_lines_in_a_table_is_no_matter() -> None:
    both = pd.concat([counts(0.2, 0.4), counts(0.9, area="b")], ignore_index=True)
    (line,) = ladder.compare({"a": [both, both[::-1]]}, {}, evaluate()).to_dict("records")
    same = ladder.compare({"a": [both], "b": [both[::-1]]}, {"b": "a"}, evaluate()).to_dict("records")[1]
    assert line["sd"] == 0
    assert (same["low"], same["high"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "other",
    [
        [counts(0.2), counts(0.4)],
        [counts(0.2, 0.4)],
        [counts(0.2, 0.4), counts(0.2, 0.4).assign(fn=[90, 60], tp=[20, 40])],
    ],
    ids=["blocks", "seeds", "truth"],
)
def test_rungs_of_other_ground_are_refused(other: list[pd.DataFrame]) -> None:
    with pytest.raises(ladder.LadderError, match="same blocks with the same seeds"):
        ladder.compare({"a": [counts(0.2, 0.4), counts(0.4, 0.6)], "b": other}, {}, evaluate())


def test_the_ground_in_words() -> None:
    def facts(**splits: str) -> dict[str, Any]:
        return {"areas": {area: {"blocks": [{"split": s} for s in has.split()]} for area, has in splits.items()}}

    assert ladder.ground(facts(south="train val", north="train val test", west="test")) == "north + west, test blocks"
    assert ladder.ground(facts(south="train val", north="train", east="test")) == "north + south -> east"


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two areas, of which one has test ground; bands in another order than the network's, with holes, and one more."""
    rng = np.random.default_rng(0)
    for area in ("place", "school"):
        values = rng.normal(1, 2, size=(4, 100, 90)).astype(np.float32)  # slope, red, nir, green
        values[1, 10:20, 10:30] = np.nan  # red alone: the network sees its mean
        values[0, 30:40, 10:30] = np.nan  # the terrain branch has nothing: no map
        labels = (rng.random((100, 90)) < 0.3).astype(np.uint8)
        labels[50:60, 50:60] = 255
        split = np.zeros((100, 90), np.uint8)
        if area == "place":
            split[:70] = 2
            split[35:37] = 3
        block = np.zeros((100, 90), np.int32)
        block[36:, :45], block[36:, 45:] = 4, 7
        arrays: dict[str, np.ndarray] = {"bands": values, "labels": labels, "split": split, "block": block}
        for what, array in arrays.items():
            np.save(tmp_path / f"{area}.{what}.npy", array)
    facts = {
        "bands": [{"name": name} for name in ("slope", "red", "nir", "green")],
        "areas": {area: {"pixel_m": 2.0} for area in ("school", "place")},
    }
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    return tmp_path


def test_scores_of_the_tiles_equal_a_count_by_hand(tiles: Path) -> None:
    """The network answers 1 / (1 + exp(-2 red)) at each pixel: .7 is passed where normalised red exceeds ln(7/3) / 2."""
    model = trained()
    model.facts["threshold"] = 0.7
    facts = json.loads((tiles / "facts.json").read_text())
    windows = InferSettings(overlap_frac=0.5, batch_size=3, turns=1, adapt_windows=0)
    got = ladder.score(tiles, facts, model, windows, evaluate())
    slope, red, *_ = np.load(tiles / "place.bands.npy")
    labels, split, block = (np.load(tiles / f"place.{what}.npy") for what in ("labels", "split", "block"))
    hand = {number: [0, 0, 0, 0] for number in (0, 4, 7)}
    for row, column in np.argwhere((split == 2) & (labels != 255)):
        seen = np.nan_to_num((red[row, column] - BANDS[0]["mean"]) / BANDS[0]["std"], nan=0.0)
        mapped = bool(seen > np.log(7 / 3) / 2 and np.isfinite(slope[row, column]))
        hand[int(block[row, column])][2 * int(labels[row, column]) + mapped] += 1
    expected = pd.DataFrame([["place", number, *four] for number, four in hand.items()], columns=list(got.columns))
    assert list(got.columns) == ["area", "block", "tn", "fp", "fn", "tp"]
    pd.testing.assert_frame_equal(got, expected, check_dtype=False)
    assert (got[ladder.COUNTS] > 0).all(axis=None)


@pytest.fixture(scope="module")
def settings_of() -> Iterator[Callable[[str], Any]]:
    """What the stage `rung` would train for a row of this project."""
    caught: list[Any] = []

    @functools.cache
    def settings_of(name: str) -> Any:
        rung.main(name, "5")
        return caught.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(rung, "train", lambda label, settings: caught.append(settings))
        yield settings_of


@pytest.mark.parametrize("name", ROWS)
def test_every_row_can_be_trained(name: str, settings_of: Callable[[str], Any]) -> None:
    model, contrast, train = settings_of(name)
    assert model.architecture == "hpcl_net" or contrast.weight == 0
    assert train.predictor == "network" or contrast.weight > 0
    assert train.seed == 5
    assert {"train", "model", "contrastive", "predict"} >= set(ROWS[name].set or {}), "the stage reads no other section"
    assert not ROWS[name].branches or set(model.branches) == set(ROWS[name].branches)


def test_no_two_rows_are_the_same(settings_of: Callable[[str], Any]) -> None:
    def all_of(name: str) -> str:
        mapped = (ROWS[name].set or {}).get("predict")
        return json.dumps([mapped, *(asdict(part) for part in settings_of(name))], sort_keys=True)

    found = {name: all_of(name) for name in ROWS}
    assert len(set(found.values())) == len(found)


def test_names_that_rows_and_the_reduced_ladder_use_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert _ladder.rows() == ROWS
    assert {row.against for row in ROWS.values()} - {""} <= set(ROWS)
    assert set(params("run", list[str], file=_ladder.FILE)) <= set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_names_of_rows_are_words(name: str) -> None:
    """A dash parts row and seed in file names, a dot names in parameters and metrics."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


# --- the table and its summary ------------------------------------------------------------------------------------


def test_the_summary_in_the_readme_is_that_of_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = pd.read_csv(ROOT / "reports" / "ladder.csv")
    assert summarised(readme, table) == readme
    assert summarised(readme, table.assign(landslide_iou=0.123)) != readme


def test_the_table_keeps_other_grounds_and_says_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for folder in ("data/tiles", "data/ladder", "reports"):
        (tmp_path / folder).mkdir(parents=True)
    facts = {"areas": {"a": {"blocks": [{"split": "train"}, {"split": "test"}]}}}
    (tmp_path / "data/tiles/facts.json").write_text(json.dumps(facts))
    elsewhere = pd.DataFrame(
        [{"ground": "b -> c", "row": "stack", "label": "both", "status": "run", "landslide_iou": 0.4}]
    )
    elsewhere.to_csv(tmp_path / "reports/ladder.csv", index=False)
    for name, hits in (("one", 50), ("two", 60)):
        for seed in (0, 1):
            blocks = {"area": ["a"] * 4, "block": [0, 1, 2, 3], "tn": [90] * 4, "fp": [10] * 4}
            blocks |= {"fn": [100 - hits - seed] * 4, "tp": [hits + seed] * 4}
            facts = {"ground": "a, test blocks", "steps": 7, "parameters": 9, "val_iou": 0.5, "probe_auc": None}
            path = tmp_path / "data/ladder" / f"{name}-{seed}.json"
            path.write_text(json.dumps(facts | {"blocks": blocks}))
    known = {"one": Row("One"), "two": Row("Two", against="one"), "three": Row("Three", against="one")}
    table = collect(known, (0, 1)).set_index("row")
    assert table.loc["stack", "landslide_iou"] == 0.4
    assert table["status"].to_dict() == {"stack": "run", "one": "run", "two": "run", "three": "not run"}
    assert table.loc["one", "landslide_iou"] == pytest.approx((50 / 110 + 51 / 110) / 2)
    assert table.loc["two", "difference"] == pytest.approx(10 / 110)
    assert table.loc["two", "steps"] == 7
    table.reset_index().to_csv(tmp_path / "reports/ladder.csv", index=False)
    again = collect(known, (0, 1))
    assert (again["ground"] == "a, test blocks").sum() == 3  # this ground's old lines are gone
