"""The ablation: planted counts for its table, a scene counted by hand for its scores, and variants that can all be run."""

import json
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pandas as pd
import pytest
import torch
from test_infer import BANDS, SETTINGS, PerPixel

import hpcl.training.loop
from hpcl.ablation import compare, score
from hpcl.ablation.records import CONFUSION, COUNTS, VariantScores
from hpcl.calibration.counts import Counts
from hpcl.core import codes as codes_
from hpcl.core.artifacts import read_json, write_json
from hpcl.core.records import FoldedArea, Thresholds, TiledArea, TileFacts
from hpcl.networks.base import Outputs
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.store import Trained, build
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelError
from stages import _ablation, _trainings
from stages import ablation as command
from stages._ablation import Training, Variant
from stages._stage import ParameterError, params
from stages._trainings import UnfinishedError
from stages.ablation import collect, summarised

ROOT = Path(__file__).parents[1]
VARIANTS = params("variants", dict[str, _ablation.Variant], file=ROOT / _ablation.FILE)


def evaluate(resamples: int = 300) -> EvaluateSettings:
    return EvaluateSettings(
        resamples=resamples, confidence_frac=0.95, seed=0, object_found_frac=0.5, object_minimum_area_m2=0.0,
        object_size_edges_m2=(), boundary_px=2, calibration_bins=5,
    )  # fmt: skip


def counts(*iou: float, area: str = "a", folds: int = 1) -> pd.DataFrame:
    """Blocks of 100 landslide and 900 other pixels; IoU is the share of the landslide that is found. They belong to the folds by
    turns."""
    tp = [round(10000 * x) for x in iou]
    block = range(len(tp))
    return pd.DataFrame(
        {
            "area": area, "block": block, "fold": [str(b % folds + 1) for b in block], "tn": 90000, "fp": 0,
            "fn": [10000 - x for x in tp], "tp": tp, "boundary_both_px": 10, "boundary_either_px": 40, "objects": 4,
            "objects_found": 3,
        }
    )  # fmt: skip


def interval(trainings: dict[str, list[pd.DataFrame]], resamples: int = 300) -> tuple[float, float]:
    """That of the lead of ``b`` over ``a``."""
    line = compare.compare(trainings, {"b": "a"}, evaluate(resamples)).set_index("variant").loc["b"]
    return line["low"], line["high"]


def test_mean_spread_and_lead_by_hand() -> None:
    trainings = {"low": [counts(0.2, 0.4), counts(0.4, 0.6)], "high": [counts(0.6, 0.6), counts(0.7, 0.9)]}
    low, high = compare.compare(trainings, {"high": "low", "low": "not run"}, evaluate()).to_dict("records")
    assert (low["variant"], high["variant"], high["against"], high["seeds"]) == ("low", "high", "low", 2)
    assert low["landslide_iou"] == pytest.approx((0.3 + 0.5) / 2)
    assert low["sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert high["landslide_iou"] == pytest.approx((0.6 + 0.8) / 2)
    assert high["difference"] == pytest.approx((0.3 + 0.3) / 2)
    assert high["low"] < high["difference"] < high["high"]
    assert pd.isna(low["against"])
    assert np.isnan(low["difference"])


def test_scores_beside_the_iou_are_those_of_all_ground() -> None:
    """MCC of 30 % and 50 % found without a false alarm: sqrt of recall and of the share of true among negatives."""
    more = counts(0.3, 0.3).assign(boundary_both_px=[5, 15], boundary_either_px=[10, 90], objects_found=[0, 2])
    other = counts(0.5, 0.5).assign(boundary_both_px=0, boundary_either_px=0, objects=0, objects_found=0)
    (line,) = compare.compare({"a": [more, more]}, {}, evaluate()).to_dict("records")
    assert (line["boundary_iou"], line["object_detection_rate"]) == (20 / 100, 2 / 8)
    assert line["mcc"] == pytest.approx(np.sqrt(0.3 * 90 / 97))
    (line,) = compare.compare({"a": [other]}, {}, evaluate()).to_dict("records")
    assert np.isnan([line["boundary_iou"], line["object_detection_rate"]]).all()
    assert line["mcc"] == pytest.approx(np.sqrt(0.5 * 90 / 95))


def test_what_cannot_tell_a_spread_has_no_interval() -> None:
    one_of_all = {"a": [counts(0.2, 0.4)], "b": [counts(0.3, 0.5)]}  # one training, one fold
    line = compare.compare(one_of_all, {"b": "a"}, evaluate()).to_dict("records")[1]
    assert line["difference"] == pytest.approx(0.1)
    assert np.isnan([line["sd"], line["low"], line["high"]]).all()
    one_block = {"a": [counts(0.2), counts(0.3)], "b": [counts(0.3), counts(0.5)]}
    line = compare.compare(one_block, {"b": "a"}, evaluate()).to_dict("records")[1]
    assert line["difference"] == pytest.approx(0.15)
    assert np.isnan([line["low"], line["high"]]).all()


@pytest.mark.parametrize(
    ("folds", "seeds", "of_training", "of_block"),
    [(3, 2, 0.1, 0.0), (3, 2, 0.1, 0.2), (3, 1, 0.1, 0.2), (1, 3, 0.1, 0.0)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    folds: int, seeds: int, of_training: float, of_block: float
) -> None:
    """Leads that differ from training to training and from block to block. The plain bootstrap of three trainings of all
    ground would hold their mean three times in four."""
    rng, held, blocks = np.random.default_rng(0), [], 8 * folds
    for _ in range(200):
        place = rng.normal(0, of_block, blocks)
        leads = rng.normal(0, of_training, (seeds, folds))[:, np.arange(blocks) % folds] + place
        a, b = ([counts(*each, folds=folds) for each in 0.5 + by_seed] for by_seed in (np.zeros(leads.shape), leads))
        low, high = interval({"a": a, "b": b}, 150)
        held.append(low <= 0 <= high)
    assert 0.91 <= np.mean(held) <= 0.99


def test_a_training_is_no_better_than_itself() -> None:
    (line,) = compare.compare({"a": [counts(0.2, 0.4), counts(0.7, 0.1)]}, {"a": "a"}, evaluate()).to_dict("records")
    assert (line["difference"], line["low"], line["high"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_blocks_and_trainings_are_drawn_together(seeds: int) -> None:
    """Ground and trainings differ much, the lead is the same everywhere: paired draws know it, draws apart would not."""
    low = [counts(0.1, 0.3, 0.5, folds=3), counts(0.2, 0.4, 0.6, folds=3), counts(0.0, 0.2, 0.4, folds=3)]
    high = [counts(0.4, 0.6, 0.8, folds=3), counts(0.5, 0.7, 0.9, folds=3), counts(0.3, 0.5, 0.7, folds=3)]
    assert interval({"a": low[:seeds], "b": high[:seeds]}) == pytest.approx((0.3, 0.3))


def test_trainings_are_drawn_in_each_fold_for_itself() -> None:
    """A lead of +.2 in fold 1 and -.2 in fold 2 with one seed, the other way round with the other: as maps of all ground the seeds
    are alike, as trainings they are not."""
    one, other, half = (counts(*pair * 40, folds=2) for pair in ([0.7, 0.3], [0.3, 0.7], [0.5, 0.5]))
    low, high = interval({"a": [half, half], "b": [one, other]})
    assert low < -0.2
    assert high > 0.2


def test_with_one_seed_the_folds_tell_how_trainings_differ() -> None:
    def width(*leads: float) -> float:
        ours = counts(*[0.5 + lead for lead in leads] * 8, folds=3)
        low, high = interval({"a": [counts(*[0.5] * 24, folds=3)], "b": [ours]})
        return high - low

    assert width(0.1, 0.1, 0.1) == pytest.approx(0)
    assert width(0.0, 0.1, 0.2) == pytest.approx(2.69 * 0.2, rel=0.01)  # of three draws all are one fold's once in 27


def test_fewer_blocks_say_less() -> None:
    rng = np.random.default_rng(0)

    def width(blocks: int) -> float:
        low, high = interval({name: [counts(*rng.uniform(0.2, 0.8, blocks)) for _ in range(3)] for name in ("a", "b")})
        return high - low

    assert width(4) > 2 * width(200) > 0


def test_the_order_of_lines_in_a_table_is_no_matter() -> None:
    both = pd.concat([counts(0.2, 0.4), counts(0.9, area="b")], ignore_index=True)
    (line,) = compare.compare({"a": [both, both[::-1]]}, {}, evaluate()).to_dict("records")
    assert line["sd"] == 0
    assert interval({"a": [both, both], "b": [both[::-1], both]}) == (0.0, 0.0)


@pytest.mark.parametrize(
    "other",
    [
        [counts(0.2), counts(0.4)],
        [counts(0.2, 0.4)],
        [counts(0.2, 0.4), counts(0.2, 0.4).assign(fn=[9000, 6000], tp=[2000, 4000])],
        [counts(0.2, 0.4), counts(0.2, 0.4, folds=2)],
    ],
    ids=["blocks", "seeds", "truth", "folds"],
)
def test_trainings_of_other_ground_are_refused(other: list[pd.DataFrame]) -> None:
    with pytest.raises(compare.AblationError, match="same blocks with the same seeds"):
        compare.compare({"a": [counts(0.2, 0.4), counts(0.4, 0.6)], "b": other}, {}, evaluate())


def test_the_ground_in_words() -> None:
    def facts(**folds: tuple[int, ...]) -> TileFacts:
        areas = {area: examples.tiled_area(*codes) for area, codes in folds.items()}
        known = max(code for codes in folds.values() for code in codes if code < codes_.MAX_FOLDS) + 1
        return examples.tiles(areas, folds=[examples.fold(examples.tile_band("red"))] * known)

    test, none = codes_.TEST_AREA, codes_.OUTSIDE
    blocks = facts(south=(0, 1, 2, none), north=(2, 1, 0), empty=(none, none))
    assert compare.ground(blocks) == "north + south, 3 folds"
    assert compare.transfer_ground(blocks) is None
    assert not compare.new_ground(blocks)
    beside = facts(south=(0, 1), west=(test, none), east=(test,))
    assert compare.ground(beside) == "south, 2 folds"
    assert compare.transfer_ground(beside) == "south -> east + west, mean of 2"
    assert compare.new_ground(beside)
    whole = facts(a=(0, 0, none), b=(1, 1), c=(0,))
    assert compare.ground(whole) == "a + c, b: each by the others"
    assert compare.transfer_ground(whole) is None
    assert compare.new_ground(whole)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """An area in two folds and a test area, each of four blocks, one without labels; bands in another order than the network's, with
    holes, and one more."""
    rng = np.random.default_rng(0)
    places = {"shape": [100, 90], "tops": [0, 50], "lefts": [0, 45]}
    test, none = codes_.TEST_AREA, codes_.OUTSIDE
    areas = {
        "place": examples.tiled_area(0, 1, 1, none, **places), "school": examples.tiled_area(test, test, none, test, **places)
    }  # fmt: skip
    for area, facts in areas.items():
        values = rng.normal(1, 2, size=(4, 100, 90)).astype(np.float32)  # slope, red, nir, green
        values[1, 10:20, 10:30] = np.nan  # red alone: the network sees its mean
        values[0, 30:40, 10:30] = np.nan  # the terrain branch has nothing: no map
        labels = (rng.random((100, 90)) < 0.3).astype(np.uint8)
        labels[60:70, 5:60] = 255
        labels[facts.codes(slice(0, 100), slice(0, 90)) == none] = 255
        np.save(tmp_path / f"{area}.bands.npy", values)
        np.save(tmp_path / f"{area}.labels.npy", labels)
    bands = [examples.tile_band(name) for name in ("slope", "red", "nir", "green")]
    write_json(tmp_path / "facts.json", examples.tiles(areas, bands=bands))
    return tmp_path


class Answers(PerPixel):
    """A network that answers at each pixel with the logistic function of ``slope`` times the normalised red."""

    slope = 2.0

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1] * self.slope / 2
        return Outputs(torch.cat([-red, red], 1), red, None)


def networks(facts: TileFacts) -> Ensemble:
    """That of fold 2 sees the opposite of that of fold 1, and is less sure."""
    members = []
    for fold, slope in ((1, 2.0), (2, -1.0)):
        one = Answers(SETTINGS, 2, 4).eval()
        one.slope = slope
        known = examples.trained(bands=BANDS, fold=fold, areas={"place": FoldedArea(**folded(facts.areas["place"]))})
        members.append(Trained(one, known))
    return Ensemble(tuple(members))


def folded(area: TiledArea) -> dict[str, Any]:
    return {field.name: getattr(area, field.name) for field in fields(FoldedArea)}


def test_scores_of_the_tiles_equal_a_count_by_hand(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold 1 is mapped by network 1 from .7 on, fold 2 by network 2 from .4 on, the test area by the mean of both from .5 on."""
    facts = read_json(tiles / "facts.json", TileFacts)
    counted = {}

    def chosen(counts: Counts, point: str) -> tuple[Thresholds, bool]:
        counted[point] = counts.histogram.sum(2)
        return examples.thresholds(0.7, 0.4, elsewhere=0.5), True

    monkeypatch.setattr(score, "chosen", chosen)
    windows = InferenceSettings(
        overlap_frac=0.5, batch_size=3, tta="none", adapt_windows=0, missing_bands="refuse", networks="all"
    )
    got = score.score(tiles, networks(facts), windows, evaluate())
    hand: dict[tuple[str, int], list[int]] = {}
    for area, where in facts.areas.items():
        slope, red, *_ = np.load(tiles / f"{area}.bands.npy")
        labels = np.load(tiles / f"{area}.labels.npy")
        codes, blocks = (of(slice(0, 100), slice(0, 90)) for of in (where.codes, where.blocks))
        for row, column in np.argwhere(labels != 255):
            seen = np.nan_to_num((red[row, column] - BANDS[0].mean) / BANDS[0].std, nan=0.0)
            one, other = (1 / (1 + np.exp(-slope_ * seen)) for slope_ in (2.0, -1.0))
            reached = {0: one >= 0.7, 1: other >= 0.4, codes_.TEST_AREA: one + other >= 1}[int(codes[row, column])]
            block = hand.setdefault((area, int(blocks[row, column])), [0, 0, 0, 0])
            block[2 * int(labels[row, column]) + bool(reached and np.isfinite(slope[row, column]))] += 1
    assert list(got.columns) == ["area", "block", "fold", *COUNTS]
    assert {(a, b): n for a, b, *n in got[["area", "block", *CONFUSION]].itertuples(index=False)} == hand
    assert got["fold"].to_list() == [1, 2, 2, 0, 0, 0]
    assert (got["objects"] >= got["objects_found"]).all()
    assert (got["boundary_either_px"] > got["boundary_both_px"]).all()
    by_truth = got.assign(no=got["tn"] + got["fp"], yes=got["fn"] + got["tp"]).groupby("fold")[["no", "yes"]].sum()
    assert counted["best_iou"].tolist() == by_truth.loc[[1, 2]].to_numpy().tolist()  # no test area has a say


@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_can_be_trained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its network is built and answers, with contrast where it has any."""
    monkeypatch.chdir(ROOT)
    recipe, windows = _ablation.recipe(name, 5), command.inference(name)
    model, contrast, train = recipe.model, recipe.contrast, recipe.train
    network = build(model, 2, contrast.embedding_dim).eval()
    bands = {branch: torch.zeros(1, len(names), 64, 64) for branch, names in model.branches.items()}
    with torch.no_grad():
        logits, _, embedding = network(bands, contrast=contrast.weight > 0)
    assert logits.shape == (1, 2, 64, 64)
    assert (embedding is None) == (contrast.weight == 0)
    assert train.predictor == "network" or contrast.weight > 0
    assert train.seed == 5
    assert windows.overlap_frac == params("inference", InferenceSettings).overlap_frac
    assert not VARIANTS[name].branches or set(model.branches) == set(VARIANTS[name].branches)


def test_no_two_rows_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command.distinct(list(VARIANTS), new_ground=True)


def test_batch_statistics_tell_rows_apart_on_new_ground_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ParameterError, match="'hpcl_net' and 'adabn'"):
        command.distinct(["hpcl_net", "adabn"], new_ground=False)
    command.distinct(params("run", tuple[str, ...], file=_ablation.FILE), new_ground=False)


def edited(folder: Path, old: str, new: str, file: str = "params.yaml") -> None:
    """This project's parameters with one change, in a folder."""
    (folder / "ablation").mkdir(exist_ok=True)
    for name in ("params.yaml", "ablation/params.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert name != file or old in text
        (folder / name).write_text(text.replace(old, new) if name == file else text, encoding="utf-8")


def test_rows_that_would_be_the_same_training_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(tmp_path, "weight: 0.1 ", "weight: 0.0 ")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"'attention' and 'hpcl_net' of .* are the same"):
        command.distinct(["stack", "attention", "deeplabv3plus", "hpcl_net"], new_ground=True)


def test_a_row_is_what_its_label_says_whatever_the_workspace_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(tmp_path, "fusion: coordinate_attention", "fusion: concat")
    changed = (tmp_path / "params.yaml").read_text().replace("architecture: hpcl_net", "architecture: Unet")
    (tmp_path / "params.yaml").write_text(changed.replace("branch_dropout_frac: 0.0", "branch_dropout_frac: 0.2"))
    monkeypatch.chdir(tmp_path)
    assert _ablation.recipe("stack", 0).model.architecture == "hpcl_net"
    assert _ablation.recipe("hpcl_net", 0).model.fusion == "coordinate_attention"
    assert _ablation.recipe("hpcl_net", 0).train.augment.branch_dropout_frac == 0
    assert _ablation.recipe("deeplabv3plus", 0).model.architecture == "DeepLabV3Plus"


def test_rows_for_equal_time_follow_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(tmp_path, "steps_per_epoch: 40", "steps_per_epoch: 400", "ablation/params.yaml")
    monkeypatch.chdir(tmp_path)
    factor = VARIANTS["segformer_as_long"].steps_factor
    assert factor < 1
    assert _ablation.recipe("segformer_as_long", 0).train.steps_per_epoch == round(400 * factor)
    assert _ablation.recipe("segformer", 0).train.steps_per_epoch == 400


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("set: {inference: {adapt", "set: {tile: {adapt", "Variant 'adabn' of ablation/params.yaml sets 'tile'"),
        (
            "branches: [optical]",
            "branches: [sound]",
            "Variant 'optical' of ablation/params.yaml needs the branch 'sound'",
        ),
        ("  optical: {", "  visible: {", "ablation/params.yaml has no section 'variants.optical'"),
    ],
)
def test_a_row_that_cannot_be_run_is_refused_before_any_is(
    old: str, new: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(tmp_path, old, new, "ablation/params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=sentence):
        command.distinct(["hpcl_net", "optical", "adabn"], new_ground=True)


def test_names_that_rows_and_the_reduced_ablation_use_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert _ablation.variants() == VARIANTS
    assert {row.against for row in VARIANTS.values()} - {""} <= set(VARIANTS)
    assert set(params("run", list[str], file=_ablation.FILE)) <= set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_names_of_rows_are_words(name: str) -> None:
    """A dash parts row and seed in file names, a dot names in parameters and metrics."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


# --- the table and its summary ------------------------------------------------------------------------------------


def test_the_summary_in_the_readme_is_that_of_the_table() -> None:
    readme = (ROOT / "docs/ablation.md").read_text(encoding="utf-8")
    table = pd.read_csv(ROOT / "reports" / "ablation.csv")
    assert summarised(readme, table) == readme
    assert summarised(readme, table.assign(landslide_iou=0.123)) != readme


def test_the_readme_quotes_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = pd.read_csv(ROOT / "reports" / "ablation.csv").set_index(["ground", "variant"])
    for label, variant in {
        "HPCL-Net": "hpcl_net",
        "SegFormer's decoder, bands stacked": "segformer",
        "DeepLabv3+, bands stacked": "deeplabv3plus",
        "HPCL-Net without contrast": "attention",
    }.items():
        (line,) = re.findall(rf"^\| {re.escape(label)} \|(.*)\|$", readme, re.MULTILINE)
        quoted = [cell.strip() for cell in line.split("|")]
        for ground, iou, difference in zip(("west -> east", "east -> west"), quoted[::2], quoted[1::2], strict=True):
            assert iou == f"{table.loc[(ground, variant), 'landslide_iou']:.3f}"
            if variant == "hpcl_net":
                assert difference == ""
                continue
            lead = table.loc[(ground, "hpcl_net" if variant == "attention" else variant)]
            sign = -1 if variant == "attention" else 1  # HPCL-Net's line is its lead over `attention`
            low, high = sorted((sign * lead["low"], sign * lead["high"]))
            assert difference == f"{sign * lead['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def test_the_summary_shows_names_as_they_are_and_no_interval_where_there_is_none() -> None:
    line = {"ground": "yunnan -> hunan", "variant": "one", "label": "One", "status": "run", "seeds": 1, "steps": 5}
    line |= {"landslide_iou": 0.5, "sd": np.nan, "against": np.nan, "difference": np.nan, "low": np.nan, "high": np.nan}
    lead = {"variant": "two", "label": "Two", "against": "one", "difference": 0.1}
    text = summarised("<!-- ablation -->\n<!-- /ablation -->", pd.DataFrame([line, line | lead]))
    assert "*yunnan -> hunan*" in text
    assert "| One | 0.500 |  |  |" in text
    assert "| Two | 0.500 | One | +0.100 |" in text
    more = {"boundary_iou": 0.25, "object_detection_rate": 0.75, "mcc": np.nan}
    text = summarised("<!-- ablation -->\n<!-- /ablation -->", pd.DataFrame([line | more]))
    assert "| variant | landslide IoU | against | difference | boundary IoU | landslides found |\n" in text
    assert "| One | 0.500 |  |  | 0.250 | 0.750 |" in text


def write_results(root: Path, name: str, seed: int, hits: int, *grounds: str) -> None:
    blocks = counts(*[(hits + seed) / 100] * 4, folds=2).assign(tn=9000, fp=1000)
    scores = VariantScores(
        blocks={ground: blocks.to_dict("list") for ground in grounds}, steps=7 + seed, parameters=9, held_iou=0.5,
        probe_auc=None,
    )  # fmt: skip
    write_json(root / f"ablation/results/{name}-{seed}.json", scores)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an ablation of two variants and two seeds, all four of which have results; tables of this ground and another."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data/tiles", "ablation/results", "reports"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    rows = "variants: {hpcl_net: {label: HPCL-Net}, stack: {label: Both, against: hpcl_net, set: {model: {fusion: input}}}}"
    head = "seeds: [0, 1]\nbudget: {epochs: 2, steps_per_epoch: 10}\nrun: [hpcl_net, stack]\nbase: {}\n"
    (tmp_path / "ablation/params.yaml").write_text(head + rows + "\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/ablation.md").write_text("<!-- ablation -->\nold\n<!-- /ablation -->\n")
    write_json(tmp_path / "data/tiles/facts.json", examples.tiles({"a": examples.tiled_area(0, 1)}))
    line = {"ground": "b -> c", "variant": "stack", "label": "both", "status": "run", "landslide_iou": 0.4}
    line |= {"seeds": 3, "steps": 5}
    pd.DataFrame([line]).to_csv(tmp_path / "reports/ablation.csv", index=False)
    for name, hits in (("hpcl_net", 50), ("stack", 60)):
        for seed in (0, 1):
            write_results(tmp_path, name, seed, hits, "a, 2 folds")
    return tmp_path


class FakeDVC:
    """Stands for the program: what it was asked to do, and which trainings it finds outdated before and after it ran them, each by
    the stage that trains it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: list[str], after: list[str], broken: str = "") -> None:
        self.commands: list[list[str]] = []
        self.outdated, self.after, self.broken = before, after, broken
        monkeypatch.setattr(_trainings.subprocess, "run", self.run)
        monkeypatch.setattr(_trainings, "cost_s", lambda missing, folds: 3600.0 * len(missing))

    @property
    def asked(self) -> list[str]:
        return [words[1] for words in self.commands]

    def run(self, arguments: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(arguments)
        if "--keep-going" in arguments:
            self.outdated = self.after
            return subprocess.CompletedProcess(arguments, int(bool(self.after)))
        outdated = [*self.outdated, *(one.replace("train", "score") for one in self.outdated)]
        stages = {one: [{"changed deps": {}}] for one in outdated}
        return subprocess.CompletedProcess(arguments, int(arguments[1] == self.broken), stdout=json.dumps(stages))


def test_the_ablation_says_its_cost_and_runs_what_is_missing_or_outdated(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc = FakeDVC(monkeypatch, before=["train_variant@stack-0", "train_variant@stack-1"], after=[])
    command.main()
    assert dvc.asked == ["repro", "status", "repro", "status"]
    said = capsys.readouterr().out
    assert "2 variants x 2 seeds = 4 trainings of 2 networks, one for each fold. 2 of them are to be run" in said
    assert "about 2.0 hours at the speed" in said
    table = pd.read_csv(project / "reports/ablation.csv")
    assert table["variant"].to_list() == ["stack", "hpcl_net", "stack"]
    assert set(table["status"]) == {"run"}
    assert "| Both |" in (project / "docs/ablation.md").read_text()
    dvc.commands.clear()
    command.main()
    assert dvc.asked == ["repro", "status"]


def test_the_cost_is_that_of_every_missing_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that take a second each: two trainings with the budget's steps, one with fewer, each of four networks."""
    monkeypatch.chdir(ROOT)
    clock = iter(range(_trainings.PROBE_STEPS))
    monkeypatch.setattr(_trainings, "tiles_for", lambda settings, fold: None)
    monkeypatch.setattr(_trainings.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(
        hpcl.training.loop, "fit", lambda *_, progress: [progress(n, 0) for n in range(_trainings.PROBE_STEPS)]
    )
    whole, short = (_ablation.recipe(name, 0).train for name in ("hpcl_net", "segformer_as_long"))
    steps = 2 * whole.epochs * whole.steps_per_epoch + short.epochs * short.steps_per_epoch
    wanted = [Training("hpcl_net", 0), Training("segformer_as_long", 2), Training("hpcl_net", 1, 25)]
    assert _trainings.cost_s(wanted, 4) == 4 * steps


def test_what_cannot_be_built_is_said_before_anything_is_trained(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc = FakeDVC(monkeypatch, before=["train_variant@stack-0"], after=[])
    rows = project / "ablation/params.yaml"
    rows.write_text(rows.read_text().replace("model: {fusion: input}", "model: {encoder: resnet_of_mine}"))
    with pytest.raises(ModelError, match="resnet_of_mine"):
        command.main()
    assert not dvc.asked


def test_a_failed_training_leaves_its_row_out_and_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeDVC(monkeypatch, before=["train_variant@stack-0", "train_variant@stack-1"], after=["train_variant@stack-1"])
    with pytest.raises(UnfinishedError, match=r"1 trainings have no result \(stack 1\)"):
        command.main()
    table = pd.read_csv(project / "reports/ablation.csv")
    assert table["status"].to_list() == ["run", "run", "not run"]
    assert "| HPCL-Net |" in (project / "docs/ablation.md").read_text()


@pytest.mark.parametrize(
    ("broken", "outdated"),
    [("repro", []), ("status", []), ("", ["train_variant@hpcl_net-0", "train_variant@stack-1"])],
    ids=str,
)
def test_without_any_result_the_table_stays_as_it_is(
    broken: str, outdated: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (project / name).read_bytes() for name in ("docs/ablation.md", "reports/ablation.csv")}
    FakeDVC(monkeypatch, before=outdated, after=outdated, broken=broken)
    with pytest.raises(UnfinishedError):
        command.main()
    assert {name: (project / name).read_bytes() for name in before} == before


def test_the_table_keeps_other_grounds_and_says_what_was_not_run(project: Path) -> None:
    known = {
        "hpcl_net": Variant("One"),
        "stack": Variant("Two", against="hpcl_net"),
        "three": Variant("Three", against="hpcl_net"),
    }
    table = collect(known, ["hpcl_net", "stack"], (0, 1))
    assert table["ground"].to_list() == ["b -> c", *["a, 2 folds"] * 3]
    assert table["status"].to_list() == ["run", "run", "run", "not run"]
    _, one, two, _ = table.to_dict("records")
    assert one["landslide_iou"] == pytest.approx((50 / 110 + 51 / 110) / 2)
    assert two["difference"] == pytest.approx(10 / 110)
    assert two["steps"] == 8  # of the seed that took most
    table.to_csv(project / "reports/ablation.csv", index=False)
    again = collect(known, ["hpcl_net"], (0, 1))  # the other's results are no longer true
    assert again["status"].to_list() == ["run", "run", "not run", "not run"]


def test_test_areas_are_a_ground_of_their_own(project: Path) -> None:
    areas = {"a": examples.tiled_area(0, 1), "c": examples.tiled_area(codes_.TEST_AREA)}
    write_json(project / "data/tiles/facts.json", examples.tiles(areas))
    for name, hits in (("hpcl_net", 50), ("stack", 60)):
        for seed in (0, 1):
            write_results(project, name, seed, hits, "a, 2 folds", "a -> c, mean of 2")
    table = collect({"hpcl_net": Variant("One"), "stack": Variant("Two", "hpcl_net")}, ["hpcl_net", "stack"], (0, 1))
    assert table["ground"].to_list() == ["b -> c", *["a, 2 folds"] * 2, *["a -> c, mean of 2"] * 2]
    assert table["difference"].to_list()[1:] == pytest.approx([np.nan, 10 / 110] * 2, nan_ok=True)
