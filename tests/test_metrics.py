"""Scores of a map: scikit-learn, plain loops and planted scenes as oracles; intervals that cover the truth."""

import json
import tracemalloc
from pathlib import Path

import examples
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import sklearn.calibration
import sklearn.metrics
from affine import Affine
from rasterio import features
from scipy import ndimage
from shapely.geometry import shape as polygon

from hpcl.calibration import counts as calibration
from hpcl.calibration import out_of_fold, points
from hpcl.core import codes
from hpcl.core.artifacts import write_json
from hpcl.core.records import Thresholds
from hpcl.geo import cog, raster, vector
from hpcl.metrics import intervals, uncertainty
from hpcl.metrics import pixels as pixel_scores
from hpcl.metrics import tally as counting
from hpcl.metrics.patches import Patches, boundary_band
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.outline import AtRecall
from stages import calibrate, evaluate

SETTINGS = {
    "resamples": 300,
    "confidence_frac": 0.95,
    "seed": 7,
    "object_found_frac": 0.5,
    "object_minimum_area_m2": 0.0,
    "object_size_edges_m2": (40.0, 200.0),
    "boundary_px": 2,
    "calibration_bins": 10,
}


def settings(**changes) -> EvaluateSettings:
    return EvaluateSettings(**SETTINGS | changes)


def scene_of(labels, block_px=20, pixel_m=2.0, code=None) -> counting.Scene:
    """Labels in blocks of which every fourth lies in no fold, the others in folds 1 and 2 in turn; all in that of ``code``, if one
    is given."""
    rows, columns = labels.shape
    tops, lefts = list(range(0, rows, block_px)), list(range(0, columns, block_px))
    numbers = range(len(tops) * len(lefts))
    folds = [codes.OUTSIDE if n % 4 == 1 else n // 2 % 2 for n in numbers] if code is None else [code] * len(numbers)
    transform = [pixel_m, 0.0, 500_000.0, 0.0, -pixel_m, 4_000_000.0]
    area = examples.tiled_area(
        *folds, tops=tops, lefts=lefts, shape=[rows, columns], crs="EPSG:32649", transform=transform, pixel_m=pixel_m
    )
    return counting.Scene(labels, area)


def everywhere(scene, what):
    """Blocks, codes of folds or networks of all pixels."""
    return getattr(scene.area, what)(slice(0, scene.labels.shape[0]), slice(0, scene.labels.shape[1]))


def blob_scene(shape=(83, 97), seed=0, block_px=20) -> tuple[counting.Scene, np.ndarray]:
    """Landslides, a probability that half knows them, unknown and unpredicted ground, three of four blocks in folds."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    labels = (field > np.quantile(field, 0.85)).astype(np.uint8)
    guess = field / field.std() + ndimage.gaussian_filter(rng.normal(size=shape), 2) * 4
    probability = (1 / (1 + np.exp(-1.5 * (guess - 1)))).astype(np.float32)
    labels[field > np.quantile(field, 0.95)] = 2  # a second landslide class
    labels[:6, 40:60] = codes.UNKNOWN
    probability[50:53, 30:50] = np.nan
    return scene_of(labels, block_px), probability


def alike(threshold: float) -> Thresholds:
    return examples.thresholds(threshold, threshold, elsewhere=threshold)


def count(scene, probability, threshold=0.5, unsure=None, **changes) -> counting.Tally:
    thresholds = threshold if isinstance(threshold, Thresholds) else alike(threshold)
    uncertainty = None if unsure is None else lambda rows: unsure[rows]
    of = counting.Map(lambda rows: probability[rows], thresholds.by_network, uncertainty)
    return counting.tally(scene, of, settings(**changes))


def chosen(scene, probability, threshold=0.5):
    judged = (everywhere(scene, "codes") != codes.OUTSIDE) & (scene.labels != codes.UNKNOWN)
    by_network = (threshold if isinstance(threshold, Thresholds) else alike(threshold)).by_network
    return judged, judged & (scene.labels >= 1), judged & (probability >= by_network[everywhere(scene, "networks")])


# ---- pixels


@pytest.mark.parametrize("seed", range(6))
def test_pixel_scores_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(500) < rng.uniform(0.05, 0.6)
    mapped = truth ^ (rng.random(500) < rng.uniform(0, 0.6))
    found = pixel_scores.scores(sklearn.metrics.confusion_matrix(truth, mapped, labels=[False, True]))
    expected = {
        "landslide_iou": sklearn.metrics.jaccard_score(truth, mapped),
        "miou": sklearn.metrics.jaccard_score(truth, mapped, average="macro"),
        "f1": sklearn.metrics.f1_score(truth, mapped),
        "precision": sklearn.metrics.precision_score(truth, mapped),
        "recall": sklearn.metrics.recall_score(truth, mapped),
        "mcc": sklearn.metrics.matthews_corrcoef(truth, mapped),
        "kappa": sklearn.metrics.cohen_kappa_score(truth, mapped),
        "accuracy": sklearn.metrics.accuracy_score(truth, mapped),
    }
    assert {name: float(score) for name, score in found.items()} == pytest.approx(expected)


def test_several_classes_are_landslide_against_the_rest_but_for_the_mean_iou():
    rng = np.random.default_rng(1)
    truth, mapped = rng.integers(0, 4, (2, 800))
    found = pixel_scores.scores(sklearn.metrics.confusion_matrix(truth, mapped))
    assert found["miou"] == pytest.approx(sklearn.metrics.jaccard_score(truth, mapped, average="macro"))
    assert found["landslide_iou"] == pytest.approx(sklearn.metrics.jaccard_score(truth > 0, mapped > 0))
    assert found["kappa"] == pytest.approx(sklearn.metrics.cohen_kappa_score(truth > 0, mapped > 0))


def test_a_rare_class_mapped_well_may_lift_the_mean_iou_above_the_accuracy():
    matrix = np.diag([0, 0, 1, 1])
    matrix[0, 1] = 50
    found = pixel_scores.scores(matrix)
    assert found["miou"] == 0.5
    assert found["accuracy"] == pytest.approx(2 / 52)


def test_many_matrices_at_once_equal_one_at_a_time():
    matrices = np.random.default_rng(2).integers(0, 50, (40, 2, 2))
    together = pixel_scores.scores(matrices)
    for i, matrix in enumerate(matrices):
        assert {n: float(s[i]) for n, s in together.items()} == pytest.approx(
            {n: float(s) for n, s in pixel_scores.scores(matrix).items()}
        )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[5, 0], [3, 0]], {"landslide_iou": 0, "precision": 0, "recall": 0, "f1": 0, "mcc": 0, "kappa": 0}),
        ([[0, 0], [0, 4]], {"landslide_iou": 1, "miou": 1, "f1": 1, "mcc": 0, "kappa": 0, "accuracy": 1}),
        ([[5, 3], [0, 0]], dict.fromkeys(["landslide_iou", "miou", "recall", "accuracy"], np.nan)),
        ([[0, 0], [0, 0]], {"landslide_iou": np.nan}),
    ],
)
def test_scores_at_the_edge_are_what_the_docstring_says(matrix, expected):
    found = pixel_scores.scores(np.array(matrix))
    assert {name: float(found[name]) for name in expected} == pytest.approx(expected, nan_ok=True)


def test_scores_of_different_pixels_are_a_bug_that_does_not_pass():
    right = {"landslide_iou": np.array(0.5), "f1": np.array(2 / 3), "miou": np.array(0.6), "accuracy": np.array(0.7)}
    pixel_scores._check_identities(right, binary=True)
    with pytest.raises(ArithmeticError, match="F1"):
        pixel_scores._check_identities(right | {"f1": np.array(0.7)}, binary=True)
    with pytest.raises(ArithmeticError, match="accuracy"):
        pixel_scores._check_identities(right | {"miou": np.array(0.71)}, binary=True)


# ---- counting


def test_counts_are_those_of_each_block_in_a_fold_at_its_threshold_and_of_nothing_else():
    scene, probability = blob_scene()
    thresholds = examples.thresholds(0.3, 0.6, elsewhere=0.0)
    blocks = count(scene, probability, thresholds).blocks
    test, truth, mapped = chosen(scene, probability, thresholds)
    number = everywhere(scene, "blocks")
    assert blocks.block.tolist() == np.unique(number[test]).tolist()
    for i, block in enumerate(blocks.block):
        here = test & (number == block)
        fold = scene.area.folds[block]
        assert blocks.fold[i] == fold + 1
        assert np.array_equal(mapped[here], probability[here] >= np.float32((0.3, 0.6)[fold]))
        expected = sklearn.metrics.confusion_matrix(truth[here], mapped[here], labels=[False, True])
        assert blocks.confusion[i].tolist() == expected.tolist()
        error = np.square(np.nan_to_num(probability[here]).astype(float) - truth[here])
        assert blocks.squared_error[i] == pytest.approx(error.sum())
        assert blocks.area_km2[i] == pytest.approx(here.sum() * 4e-6)


def test_ground_without_a_prediction_was_mapped_as_background_and_is_counted():
    scene, probability = blob_scene()
    tally = count(scene, probability)
    filled = count(scene, np.nan_to_num(probability))
    assert tally.blocks.no_prediction_px.sum() == int(np.isnan(probability[chosen(scene, probability)[0]]).sum()) > 0
    assert filled.blocks.no_prediction_px.sum() == 0
    assert np.array_equal(tally.blocks.confusion, filled.blocks.confusion)
    assert np.array_equal(tally.histogram, filled.histogram)
    assert count(scene, probability, threshold=0.0).blocks.confusion[:, :, 0].sum() == (
        tally.blocks.no_prediction_px.sum()
    )


@pytest.mark.parametrize("strip_px", [97, 97 * 5, 97 * 31])
def test_strips_do_not_show(monkeypatch, strip_px):
    scene, probability = blob_scene()
    whole = count(scene, probability, unsure=1 - probability)
    monkeypatch.setattr("hpcl.windows.STRIP_PX", strip_px)
    striped = count(scene, probability, unsure=1 - probability)
    for name, values in vars(whole.blocks).items():
        assert getattr(striped.blocks, name) == pytest.approx(values, rel=1e-12), name
    assert np.array_equal(striped.histogram, whole.histogram)
    pd.testing.assert_frame_equal(striped.objects, whole.objects)


def test_memory_does_not_grow_with_the_scene(monkeypatch):
    monkeypatch.setattr("hpcl.windows.STRIP_PX", 50_000)

    def peak(rows: int) -> int:
        flat = (rows, 500)
        labels = np.broadcast_to((np.arange(500) // 50 % 2).astype(np.uint8), flat)  # one row, however many
        scene = scene_of(labels, block_px=10_000, code=0)
        of = counting.Map(lambda rows: np.full(labels[rows].shape, 0.7, np.float32), alike(0.5).by_network)
        tracemalloc.start()
        counting.tally(scene, of, settings())
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(200)  # what the first call imports is no part of it
    assert peak(3_000) < 1.1 * peak(300)


def test_what_is_exactly_at_the_threshold_is_mapped():
    scene, probability = blob_scene()
    at = np.full_like(probability, 0.29)
    assert count(scene, at, threshold=0.29).blocks.confusion[:, :, 0].sum() == 0
    assert count(scene, at, threshold=0.2901).blocks.confusion[:, :, 1].sum() == 0


def test_a_score_that_is_no_probability_is_refused():
    scene, probability = blob_scene()
    with pytest.raises(counting.MetricsError, match=r"outside 0\.\.1"):
        count(scene, probability * 90)


# ---- objects


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [1, 4, 50])
def test_patches_joined_from_strips_equal_those_of_the_whole(seed, rows):
    rng = np.random.default_rng(seed)
    mask, hit = rng.random((2, 37, 41)) < 0.42
    block = rng.integers(0, 9, mask.shape)
    patches = Patches()
    for top in range(0, 37, rows):
        patches.add(*(a[top : top + rows] for a in (mask, hit, block)))
    table = patches.table()
    labels, number = ndimage.label(mask, structure=np.ones((3, 3)))
    assert len(table) == number
    seen = []
    for row in table.itertuples():
        patch = labels == labels[row.row_px, row.column_px]
        seen.append(np.flatnonzero(patch)[0])
        assert seen[-1] == row.row_px * 41 + row.column_px
        assert (patch.sum(), (patch & hit).sum()) == (row.pixels, row.hit_pixels)
        assert block[row.row_px, row.column_px] == row.block
    assert seen == sorted(set(seen))


def test_no_patch_at_all_is_an_empty_table():
    patches = Patches()
    nothing = np.zeros((4, 5), dtype=bool)
    patches.add(nothing, nothing, nothing.astype(int))
    patches.add(nothing, nothing, nothing.astype(int))
    assert len(patches.table()) == 0


def planted_objects() -> tuple[counting.Scene, np.ndarray]:
    """Four landslides of 16, 16, 100 and 2 pixels, shown to .5, .4375, 1 and 1, one of them too wide.

    Two false patches of 9 and 1 pixels.
    """
    labels, probability = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.float32)
    labels[2:6, 2:6], labels[2:6, 30:34], labels[20:30, 5:15], labels[35, 35:37] = 1, 1, 1, 1
    probability[2:4, 2:6] = probability[20:30, 5:18] = probability[35, 35:37] = 0.9
    probability[2:6, 30:34].flat[:7] = 0.9
    probability[12:15, 30:33] = probability[38, 2] = 0.9
    return scene_of(labels, code=0), probability


def test_planted_objects_are_found_missed_and_false_as_planted():
    tally = count(*planted_objects())
    assert tally.objects["area_m2"].tolist() == [64, 64, 400, 8]
    assert tally.objects["mapped_frac"].tolist() == [0.5, 0.4375, 1, 1]
    assert tally.objects["block"].tolist() == [0, 1, 2, 3]
    assert tally.blocks.objects.tolist() == [[1, 1], [1, 0], [1, 1], [1, 1]]
    assert tally.blocks.false_objects.tolist() == [0, 1, 1, 0]
    found = intervals.block_scores(tally.blocks, np.ones((1, 4), int))
    assert found["object_detection_rate"].item() == 0.75
    assert found["false_objects_per_km2"].item() == pytest.approx(2 / 0.0064)


def test_objects_and_patches_below_the_smallest_that_counts_are_left_out():
    blocks = count(*planted_objects(), object_minimum_area_m2=9.0).blocks
    assert blocks.objects.sum(0).tolist() == [3, 2]
    assert blocks.false_objects.sum() == 1


# ---- boundaries


def plain_band(mask: np.ndarray, known: np.ndarray, width: int) -> np.ndarray:
    """Pixels of the mask that see known ground outside of it within ``width``, one at a time."""
    band = np.zeros_like(mask)
    for r, c in np.argwhere(mask & known):
        for y in range(max(0, r - width), min(mask.shape[0], r + width + 1)):
            for x in range(max(0, c - width), min(mask.shape[1], c + width + 1)):
                band[r, c] |= known[y, x] and not mask[y, x]
    return band


def test_boundary_iou_equals_a_plain_loop():
    scene, probability = blob_scene(shape=(45, 52))
    test, truth, mapped = chosen(scene, probability)
    a, b = plain_band(truth, test, 2), plain_band(mapped, test, 2)
    blocks = count(scene, probability).blocks
    assert blocks.boundary_px.sum(0).tolist() == [(a & b).sum(), (a | b).sum()]
    for i, block in enumerate(blocks.block):
        assert blocks.boundary_px[i, 0] == (a & b)[everywhere(scene, "blocks") == block].sum()
    found = intervals.block_scores(blocks, np.ones((1, len(blocks.block)), int))["boundary_iou"].item()
    assert found == pytest.approx((a & b).sum() / (a | b).sum())
    assert 0 < found < 1


def test_neither_the_edge_of_the_scene_nor_unknown_ground_is_a_boundary():
    mask, known = np.ones((9, 9), bool), np.ones((9, 9), bool)
    known[:, 6:] = False
    mask[:, 6:] = False
    assert not boundary_band(mask, known, 2).any()
    mask[4, 0] = False
    assert boundary_band(mask, known, 1).sum() == 5


def test_boundary_iou_sees_a_wrong_outline_that_pixel_iou_forgives():
    row, column = np.indices((200, 200))
    truth = (np.hypot(row - 100, column - 100) < 60).astype(np.uint8)
    wide = (np.hypot(row - 100, column - 100) < 64).astype(np.float32)
    scene = scene_of(truth, block_px=200, code=0)
    found = intervals.block_scores(count(scene, wide, boundary_px=3).blocks, np.ones((1, 1), int))
    assert found["landslide_iou"].item() > 0.85
    assert found["boundary_iou"].item() < 0.05


# ---- calibration and curves


def test_calibration_equals_a_plain_loop():
    scene, probability = blob_scene()
    blocks = count(scene, probability).blocks
    test, truth, _ = chosen(scene, probability)
    p, y = np.nan_to_num(probability[test]).astype(float), truth[test]
    ece = 0.0
    for k in range(10):
        here = (p >= k / 10) & (p < (k + 1) / 10)
        ece += abs(p[here].mean() - y[here].mean()) * here.mean()
    found = intervals.block_scores(blocks, np.ones((1, len(blocks.block)), int))
    assert found["ece"].item() == pytest.approx(ece)
    assert found["brier"].item() == pytest.approx(sklearn.metrics.brier_score_loss(y, p))
    table = pixel_scores.reliability(blocks.calibration.sum(0))
    assert table["pixels"].sum() == test.sum()
    share, mean = sklearn.calibration.calibration_curve(y, p, n_bins=10)
    assert table["landslide_frac"].to_numpy() == pytest.approx(share)
    assert table["mean_probability"].to_numpy() == pytest.approx(mean)


def test_calibrated_chance_has_no_error_and_overconfidence_has_its_own():
    sure = np.array([[[100, 70, 70.0]]])
    assert pixel_scores.expected_calibration_error(sure).item() == 0
    assert pixel_scores.expected_calibration_error(np.array([[100, 60, 95.0], [100, 0, 0.0]])) == pytest.approx(0.175)


def test_the_curve_equals_a_plain_loop_over_thresholds():
    scene, probability = blob_scene()
    probability.flat[::7] = np.float32(0.29)  # just below .29, as float32 has it
    table = pixel_scores.curve(count(scene, probability).histogram)
    test, truth, _ = chosen(scene, probability)
    p, y = np.nan_to_num(probability[test]), truth[test]
    assert table["threshold"].tolist() == [k / 1000 for k in range(len(table))]
    for row in table.itertuples():
        mapped = p >= row.threshold  # in float32, as every stage compares
        assert row.precision == pytest.approx(y[mapped].mean())
        assert row.recall == pytest.approx(mapped[y].mean())
        assert row.landslide_iou == pytest.approx((y & mapped).sum() / (y | mapped).sum())
        assert row.f1 == pytest.approx(2 * row.precision * row.recall / (row.precision + row.recall or 1))
    assert (p < len(table) / 1000).all()


# ---- intervals


def random_blocks(n: int, seed: int, skill: float = 0.7, landslides=None) -> counting.Blocks:
    """Blocks that differ: each has its own share of landslide and its own skill."""
    rng = np.random.default_rng(seed)
    positive = rng.binomial(400, rng.beta(1, 6, n)) if landslides is None else landslides
    tp = rng.binomial(positive, np.clip(rng.normal(skill, 0.15, n), 0, 1))
    fp = rng.binomial(400 - positive, 0.05)
    confusion = np.stack([400 - positive - fp, fp, positive - tp, tp], -1).reshape(n, 2, 2)
    objects = rng.integers(0, 4, n)
    return counting.Blocks(
        block=np.arange(n),
        fold=np.arange(n) % 2 + 1,
        confusion=confusion,
        boundary_px=np.stack([tp // 3, positive // 2 + 1], -1),
        calibration=np.stack([np.full((n, 2), 200), rng.integers(0, 99, (n, 2)), rng.uniform(0, 99, (n, 2))], -1),
        squared_error=rng.uniform(10, 50, n),
        objects=np.stack([objects, rng.binomial(objects, 0.6)], -1),
        false_objects=rng.integers(0, 3, n),
        area_km2=np.full(n, 0.0016),
        no_prediction_px=np.zeros(n, int),
        uncertainty=np.stack(
            [rng.multinomial(400, np.arange(40, 0, -1) / 820, n), rng.multinomial(50, [1 / 40] * 40, n)], 1
        ),
        instances=np.zeros((n, 0)),
    )


def test_the_bootstrap_equals_a_loop_that_draws_blocks():
    blocks, chosen_settings = random_blocks(12, 0), settings(resamples=60)
    weights = intervals.resample(12, chosen_settings)
    assert (weights.sum(1) == 12).all()
    found = intervals.block_scores(blocks, weights)
    for i, times in enumerate(weights):
        drawn = np.repeat(np.arange(12), times)
        truth, mapped, often = [], [], []
        for (t, m), pixels in np.ndenumerate(blocks.confusion[drawn].sum(0)):
            truth.append(t), mapped.append(m), often.append(pixels)
        iou = sklearn.metrics.jaccard_score(truth, mapped, sample_weight=often)
        assert found["landslide_iou"][i] == pytest.approx(iou)
        assert found["kappa"][i] == pytest.approx(sklearn.metrics.cohen_kappa_score(truth, mapped, sample_weight=often))
        both, either = blocks.boundary_px[drawn].sum(0)
        assert found["boundary_iou"][i] == pytest.approx(both / either)
        known, seen = blocks.objects[drawn].sum(0)
        assert found["object_detection_rate"][i] == pytest.approx(seen / known)
        pixels, _, _ = blocks.calibration[drawn].sum(0).T
        gap = np.abs(blocks.calibration[drawn, :, 1].sum(0) - blocks.calibration[drawn, :, 2].sum(0))
        assert found["ece"][i] == pytest.approx(gap.sum() / pixels.sum())
        assert found["brier"][i] == pytest.approx(blocks.squared_error[drawn].sum() / 4800)


def test_every_block_is_drawn_as_often_as_any_other():
    weights = intervals.resample(9, settings(resamples=4000))
    assert weights.mean(0) == pytest.approx(np.ones(9), abs=0.06)
    assert weights.var(0) == pytest.approx(np.full(9, 8 / 9), abs=0.1)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth = float(pixel_scores.scores(random_blocks(40_000, 99).confusion.sum(0))["landslide_iou"])
    covered, trials = 0, 200
    for seed in range(trials):
        blocks = random_blocks(40, seed)
        draws = pixel_scores.scores(
            np.tensordot(intervals.resample(40, settings(seed=seed, confidence_frac=0.9)), blocks.confusion, 1)
        )
        low, high = intervals.interval(draws["landslide_iou"], settings(confidence_frac=0.9))
        covered += low <= truth <= high
    assert 0.82 <= covered / trials <= 0.96


def test_resampling_pixels_instead_of_blocks_would_be_too_sure():
    blocks = random_blocks(40, 3)
    low, high = intervals.interval(
        intervals.block_scores(blocks, intervals.resample(40, settings()))["landslide_iou"], settings()
    )
    pixels = np.random.default_rng(0).multinomial(16_000, blocks.confusion.sum(0).ravel() / 16_000, size=300)
    narrow = intervals.interval(pixel_scores.scores(pixels.reshape(-1, 2, 2))["landslide_iou"], settings())
    assert high - low > 2 * (narrow[1] - narrow[0])


def test_a_draw_without_landslides_is_left_out_of_the_interval():
    draws = np.array([np.nan, 0.2, 0.4, np.nan, 0.6])
    assert intervals.interval(draws, settings(confidence_frac=0.5)) == pytest.approx((0.3, 0.5))
    assert np.isnan(intervals.interval(np.full(3, np.nan), settings())).all()


def test_paired_differences_come_from_the_same_draws():
    ours, floor = random_blocks(10, 5, skill=0.8), random_blocks(10, 5, skill=0.5)
    names = {"hpcl_net": ["landslide_iou", "ece"], "floor": ["landslide_iou"]}
    scores, leads = intervals.summarise({"hpcl_net": ours, "floor": floor}, names, settings())
    weights = intervals.resample(10, settings())
    gap = []
    for times in weights:
        drawn = np.repeat(np.arange(10), times)
        a, b = (float(pixel_scores.scores(m.confusion[drawn].sum(0))["landslide_iou"]) for m in (ours, floor))
        gap.append(a - b)
    first = scores["hpcl_net"]
    assert leads["floor"].interval == pytest.approx(tuple(np.quantile(gap, [0.025, 0.975])))
    assert leads["floor"].landslide_iou_difference == pytest.approx(first.landslide_iou - scores["floor"].landslide_iou)
    asked = {name for name, value in vars(first).items() if value is not None}
    assert asked == {"landslide_iou", "landslide_iou_interval", "ece", "ece_interval"}
    low, high = first.landslide_iou_interval
    assert low < first.landslide_iou < high


def test_maps_counted_on_different_pixels_are_not_compared():
    with pytest.raises(ArithmeticError, match="different pixels"):
        intervals.summarise({"a": random_blocks(6, 0), "b": random_blocks(6, 1)}, {"a": [], "b": []}, settings())


def test_one_block_has_scores_but_no_interval():
    scores, _ = intervals.summarise({"a": random_blocks(1, 8)}, {"a": ["miou"]}, settings())
    assert scores["a"].miou > 0
    assert np.isnan(scores["a"].miou_interval).all()


def test_ground_without_landslides_is_refused_in_a_sentence():
    with pytest.raises(counting.MetricsError, match="no landslide pixel"):
        intervals.summarise({"a": random_blocks(5, 0, landslides=np.zeros(5, int))}, {"a": []}, settings())


# ---- uncertainty


def pixels_of(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pixel is wrong, and its level of uncertainty."""
    wrong, level = np.indices(counts.shape)
    return wrong.ravel().repeat(counts.ravel()), level.ravel().repeat(counts.ravel())


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_uncertainty_equal_scikit_learn_and_a_plain_sort(seed):
    blocks = random_blocks(8, seed)
    counts = blocks.uncertainty.sum(0)
    wrong, level = pixels_of(counts)
    assert uncertainty.error_auroc(counts) == pytest.approx(sklearn.metrics.roc_auc_score(wrong, level))
    order = np.random.default_rng(seed).random((400, len(level)))
    tenth = [wrong[np.lexsort((draw, -level))][: len(level) // 10].sum() / wrong.sum() for draw in order]
    assert uncertainty.top_error_frac(counts) == pytest.approx(np.mean(tenth), abs=0.003)
    found = uncertainty.scores(blocks, settings())
    assert found.error_auroc == pytest.approx(sklearn.metrics.roc_auc_score(wrong, level))
    for value, (low, high) in (
        (found.error_auroc, found.error_auroc_interval),
        (found.top_tenth_error_frac, found.top_tenth_error_frac_interval),
    ):
        assert low < value < high
    weights = intervals.resample(8, settings())
    drawn = [uncertainty.error_auroc(np.repeat(blocks.uncertainty, times, axis=0).sum(0)) for times in weights]
    assert found.error_auroc_interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_uncertainty_of_a_map_without_errors_or_of_one_block_has_no_score_or_no_interval():
    right = np.array([[5, 5], [0, 0]])
    assert np.isnan(uncertainty.error_auroc(right))
    assert np.isnan(uncertainty.top_error_frac(right))
    assert np.isnan(uncertainty.scores(random_blocks(1, 0), settings()).error_auroc_interval).all()


def test_what_the_map_is_surest_of_is_the_least_wrong():
    counts = random_blocks(9, 1).uncertainty.sum(0)
    table = uncertainty.risk_coverage(counts).set_index("coverage")["error_frac"]
    wrong, level = pixels_of(counts)
    assert table[1.0] == pytest.approx(wrong.mean())
    edge = counts[:, :10].sum() / counts.sum()  # where a level ends, so that no tie is broken
    assert np.interp(edge, table.index, table) == pytest.approx(wrong[level < 10].mean(), rel=0.02)
    assert table.iloc[:10].mean() < table.iloc[-10:].mean()


def test_wrong_pixels_are_counted_by_block_and_uncertainty_where_something_was_predicted():
    scene, probability = blob_scene()
    unsure = np.random.default_rng(0).random(probability.shape).astype(np.float32) ** 3
    unsure[np.isnan(probability)] = np.nan
    test, truth, mapped = chosen(scene, probability)
    blocks = count(scene, probability, unsure=unsure).blocks
    level = np.floor(255 * np.sqrt(np.nan_to_num(unsure).astype(float)) + 1e-6)
    for i, block in enumerate(blocks.block):
        here = test & (everywhere(scene, "blocks") == block) & ~np.isnan(probability)
        for wrong in (0, 1):
            those = level[here & ((truth != mapped) == wrong)].astype(int)
            assert blocks.uncertainty[i, wrong].tolist() == np.bincount(those, minlength=256).tolist()
    assert count(scene, probability).blocks.uncertainty.shape == (len(blocks.block), 2, 0)


# ---- the stage


def plant_areas(root: Path, test: tuple[str, ...] = ()) -> dict[str, tuple[counting.Scene, dict[str, np.ndarray]]]:
    """What `tile`, `predict`, `calibrate`, `outline` and `baselines` leave: two areas of different size, four maps each, those of
    ``test`` outside all folds."""
    areas: dict[str, tuple[counting.Scene, dict[str, np.ndarray]]] = {}
    (root / "data/tiles").mkdir(parents=True, exist_ok=True)
    counter = out_of_fold.Counter(2, settings())
    for seed, (area, shape) in enumerate({"west": (83, 97), "east": (60, 110)}.items()):
        scene, probability = blob_scene(shape, seed)
        if area in test:
            scene = scene_of(scene.labels, code=codes.TEST_AREA)
        else:
            counter.add(scene, lambda rows, of=probability: of[rows])
        noisy = np.clip(probability + np.random.default_rng(seed).normal(0, 0.2, shape), 0, 1).astype(np.float32)
        maps = {"hpcl_net": probability, "pixel_classifier": noisy, "slope_threshold": np.round(noisy)}
        maps["polygons"] = ndimage.binary_opening(probability >= 0.4, iterations=2).astype(np.float32)
        grid = raster.Grid(shape, Affine(*scene.area.transform), "EPSG:32649")
        for file, layers in {
            "predict/{}/probability": {
                "probability": probability,
                "uncertainty": np.minimum(probability, 1 - probability),
            },
            "predict/{}/network": {"network": everywhere(scene, "networks")},
            "baselines/{}/pixel_classifier": {"probability": noisy},
            "baselines/{}/slope_threshold": {"landslide": maps["slope_threshold"]},
        }.items():
            path, nodata = root / f"data/{file.format(area)}.tif", 255 if "network" in layers else np.nan
            bands = tuple(map(raster.Band, layers))
            cog.write(path, raster.Raster(np.stack(list(layers.values())), grid, bands), nodata)
        drawn = features.shapes(maps["polygons"].astype(np.uint8), maps["polygons"] > 0, transform=grid.affine)
        outlines = gpd.GeoDataFrame(geometry=[polygon(one) for one, _ in drawn], crs=grid.crs)
        vector.write(root / f"data/outline/{area}/landslides.gpkg", outlines)
        np.save(root / f"data/tiles/{area}.labels.npy", scene.labels)
        known = (scene.labels > 0) & (scene.labels != codes.UNKNOWN)
        drawn = features.shapes(scene.labels, known, transform=grid.affine)
        inventory = gpd.GeoDataFrame(geometry=[polygon(one) for one, _ in drawn], crs=grid.crs)
        vector.write(root / f"data/ingest/{area}/landslides.gpkg", inventory)
        areas[area] = (scene, maps)
    calibration.write(root / "data/calibrate", counter.counts)
    draw_at(root, points.chosen(counter.counts, "best_iou")[0], "best_iou")
    write_json(root / "data/tiles/facts.json", examples.tiles({area: scene.area for area, (scene, _) in areas.items()}))
    seen = {"area": list(areas), "id": 1, "area_m2": 400.0, "pixels": 100, "labelled_px": 100}
    pd.DataFrame(seen).to_csv(root / "data/tiles/landslides.csv", index=False)
    classifier = examples.thresholds(0.45, 0.5, elsewhere=0.55)
    write_json(root / "data/baselines/facts.json", examples.baselines(classifier_thresholds=classifier))
    (root / "params.yaml").write_text(f"evaluate: {json.dumps(SETTINGS)}\n")
    return areas


def draw_at(root: Path, thresholds: Thresholds, point: str, areas: tuple[str, ...] = ("west", "east")) -> None:
    """Say of maps that they were drawn so."""
    for area in areas:
        drawn = examples.outlined(area=area, operating_point=point, thresholds=thresholds)
        write_json(root / f"data/outline/{area}/facts.json", drawn)
        write_json(root / f"data/predict/{area}/facts.json", examples.mapped(area=area))


def thresholds_of(root: Path) -> dict[str, Thresholds]:
    """Those of all planted maps."""
    ours, _ = points.chosen(calibration.read(root / "data/calibrate"), "best_iou")
    half = alike(0.5)
    classifier = examples.thresholds(0.45, 0.5, elsewhere=0.55)
    return {"hpcl_net": ours, "polygons": half, "pixel_classifier": classifier, "slope_threshold": half}


def joined(areas, name: str, thresholds: Thresholds):
    """Truth and map of the judged pixels of some planted areas."""
    masks = [chosen(scene, maps[name], thresholds) for scene, maps in areas]
    test, truth, mapped = (np.concatenate([m[i].ravel() for m in masks]) for i in range(3))
    return truth[test], mapped[test]


def test_the_stage_scores_all_ground_in_folds(tmp_path, monkeypatch, capsys):
    areas = plant_areas(tmp_path)
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    out = tmp_path / "reports/evaluate"
    tables = "blocks.csv", "metrics.json", "objects.csv", "precision_recall.csv", "reliability.csv", "risk_coverage.csv"
    assert sorted(p.name for p in out.iterdir()) == list(tables)
    found = json.loads((out / "metrics.json").read_text())
    thresholds = thresholds_of(tmp_path)
    assert len(set(thresholds["hpcl_net"].by_fold)) == 2
    for name in thresholds:
        truth, mapped = joined(areas.values(), name, thresholds[name])
        assert found[name]["landslide_iou"] == pytest.approx(sklearn.metrics.jaccard_score(truth, mapped))
        if "mcc" in evaluate.SCORES[name]:
            assert found[name]["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(truth, mapped))
        for score in evaluate.SCORES[name]:
            low, high = found[name][f"{score}_interval"]
            assert low <= high
        low, high = found[name]["landslide_iou_interval"]
        assert low < found[name]["landslide_iou"] < high
    assert found["counts"]["px"] == len(truth)
    assert found["counts"]["landslide_frac"] == pytest.approx(truth.mean())
    assert found["counts"]["no_prediction_px"] == sum(a["no_prediction_px"] for a in found["areas"]) > 0
    assert [a["area"] for a in found["areas"]] == ["east", "west"]
    west = sklearn.metrics.jaccard_score(*joined([areas["west"]], "hpcl_net", thresholds["hpcl_net"]))
    assert found["areas"][1]["hpcl_net_landslide_iou"] == pytest.approx(west)
    assert "transfer" not in found

    blocks = pd.read_csv(out / "blocks.csv").query("map == 'hpcl_net'")
    iou = blocks.tp.sum() / (blocks.tp + blocks.fp + blocks.fn).sum()
    assert found["hpcl_net"]["landslide_iou"] == pytest.approx(iou)
    assert len(blocks) == found["counts"]["blocks"]
    assert [row["fold"] for row in found["folds"]] == [1, 2]
    for row in found["folds"]:
        own = blocks[blocks.fold == row["fold"]]
        assert row["blocks"] == len(own)
        assert row["px"] == own[["tn", "fp", "fn", "tp"]].to_numpy().sum()
        iou = own.tp.sum() / (own.tp + own.fp + own.fn).sum()
        assert row["hpcl_net_landslide_iou"] == pytest.approx(iou)
    objects = pd.read_csv(out / "objects.csv")
    assert objects.area_m2.sum() / 4 == pytest.approx(found["counts"]["landslide_frac"] * found["counts"]["px"])
    rate = (objects.hpcl_net_mapped_frac >= 0.5).mean()
    assert found["hpcl_net"]["object_detection_rate"] == pytest.approx(rate)
    assert sum(row["objects"] for row in found["object_sizes"]) == len(objects)
    assert set(pd.read_csv(out / "precision_recall.csv")["map"]) == {"hpcl_net", "pixel_classifier"}
    assert set(pd.read_csv(out / "reliability.csv")["map"]) == {"hpcl_net", "pixel_classifier"}
    assert (objects.polygons_mapped_frac != objects.hpcl_net_mapped_frac).any()
    one_by_one = pd.read_csv(out / "blocks.csv").query("map == 'polygons'")
    pairs = one_by_one.landslides.sum() + one_by_one.polygons.sum()
    assert found["polygons"]["panoptic_quality"] == pytest.approx(2 * one_by_one.matched_iou.sum() / pairs)
    assert 0 < found["polygons"]["panoptic_quality"] < found["polygons"]["matched_f1"] < 1
    low, high = found["uncertainty"]["error_auroc_interval"]
    assert 0.5 < low < found["uncertainty"]["error_auroc"] < high
    assert list(pd.read_csv(out / "risk_coverage.csv")) == ["coverage", "error_frac"]
    assert "hpcl_net minus slope_threshold" in capsys.readouterr().out


def test_operating_points_are_scored_each_at_the_thresholds_of_the_other_folds(tmp_path, monkeypatch):
    areas = plant_areas(tmp_path)
    counts = calibration.read(tmp_path / "data/calibrate")
    draw_at(tmp_path, points.chosen(counts, AtRecall(0.7))[0], "recall 0.7")
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    found = json.loads((tmp_path / "reports/evaluate/metrics.json").read_text())
    assert found["operating_point"] == "recall 0.7"
    rows = {row["point"]: row for row in found["operating_points"]}
    assert list(rows) == ["best_iou", "precision 0.8", "recall 0.9", "misses_one_in 10", "recall 0.7"]
    assert rows["recall 0.7"]["scores"]["recall"] == found["hpcl_net"]["recall"]
    for name, row in rows.items():
        thresholds, reached = points.chosen(counts, points.of_name(name))
        assert row["thresholds"] == {"by_fold": thresholds.by_fold, "elsewhere": thresholds.elsewhere}
        assert row["reached"] == reached
        truth, mapped = joined(areas.values(), "hpcl_net", thresholds)
        assert row["scores"]["precision"] == pytest.approx(sklearn.metrics.precision_score(truth, mapped))
        assert row["scores"]["recall"] == pytest.approx(sklearn.metrics.recall_score(truth, mapped))
        low, high = row["scores"]["object_detection_rate_interval"]
        assert low <= row["scores"]["object_detection_rate"] <= high


def test_test_areas_are_scored_apart_at_the_thresholds_of_all_folds(tmp_path, monkeypatch):
    areas = plant_areas(tmp_path, test=("east",))
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    found = json.loads((tmp_path / "reports/evaluate/metrics.json").read_text())
    for name, thresholds in thresholds_of(tmp_path).items():
        for scores, area in ((found, "west"), (found["transfer"], "east")):
            iou = sklearn.metrics.jaccard_score(*joined([areas[area]], name, thresholds))
            assert scores[name]["landslide_iou"] == pytest.approx(iou)
            assert [row["area"] for row in scores["areas"]] == [area]
    elsewhere = alike(thresholds_of(tmp_path)["hpcl_net"].elsewhere)
    iou = sklearn.metrics.jaccard_score(*joined([areas["east"]], "hpcl_net", elsewhere))
    assert found["transfer"]["hpcl_net"]["landslide_iou"] == pytest.approx(iou)
    for table in ("objects", "blocks"):
        assert set(pd.read_csv(tmp_path / f"reports/evaluate/{table}.csv")["area"]) == {"west"}


def test_thresholds_chosen_on_the_ground_that_they_are_scored_on_are_refused(tmp_path, monkeypatch):
    plant_areas(tmp_path)
    counts = calibration.read(tmp_path / "data/calibrate")
    due, _ = points.chosen(counts, "best_iou")
    leaked = examples.thresholds(*due.by_fold[::-1], elsewhere=due.elsewhere)  # of two folds, each by its own ground
    draw_at(tmp_path, leaked, "best_iou")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        counting.MetricsError, match=r"outline/east/facts.json has the thresholds .* chosen on other ground"
    ):
        evaluate.main()
    draw_at(tmp_path, due, "best_iou")
    draw_at(tmp_path, points.chosen(counts, AtRecall(0.7))[0], "recall 0.7", ("west",))
    with pytest.raises(
        counting.MetricsError, match=r"different operating points \(east at best_iou, west at recall 0\.7\)"
    ):
        evaluate.main()


def test_ground_that_another_network_mapped_is_refused(tmp_path, monkeypatch):
    areas = plant_areas(tmp_path)
    path = tmp_path / "data/predict/west/network.tif"
    network = everywhere(areas["west"][0], "networks")
    network[70, 80] = 3 - network[70, 80]
    cog.write(path, raster.Raster(network[None], raster.read(path).grid, (raster.Band("network"),)), 255)
    monkeypatch.chdir(tmp_path)
    for stage in (evaluate, calibrate):
        with pytest.raises(calibration.CalibrationError, match=r"west/network\.tif .* which learnt from it"):
            stage.main()


def test_the_stage_calibrate_counts_the_same_and_repeats_itself(tmp_path, monkeypatch):
    plant_areas(tmp_path, test=("east",))
    monkeypatch.chdir(tmp_path)
    first = {p.name: p.read_bytes() for p in (tmp_path / "data/calibrate").iterdir()}
    for _ in range(2):
        calibrate.main()
        made = {p.name: p.read_bytes() for p in (tmp_path / "data/calibrate").iterdir()}
        facts = json.loads(made.pop("facts.json"))
        assert made == first
    assert facts["areas"] == ["west"]


def count_numbers(facts: object) -> int:
    """Keys a tracker would make of them; lists are tables to it."""
    return sum(map(count_numbers, facts.values())) if isinstance(facts, dict) else isinstance(facts, int | float)


def test_metrics_stay_few_and_the_stage_repeats_itself_byte_for_byte(tmp_path, monkeypatch):
    plant_areas(tmp_path)
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    first = {p.name: p.read_bytes() for p in (tmp_path / "reports/evaluate").iterdir()}
    evaluate.main()
    assert {p.name: p.read_bytes() for p in (tmp_path / "reports/evaluate").iterdir()} == first
    found = json.loads(first["metrics.json"])
    assert count_numbers(found) - count_numbers(found["counts"]) <= 40  # `stages.tracking.results` leaves counts out


def test_an_area_without_a_label_has_no_part_in_the_scores(tmp_path, monkeypatch):
    areas = plant_areas(tmp_path)
    np.save(tmp_path / "data/tiles/east.labels.npy", np.full_like(areas["east"][0].labels, codes.UNKNOWN))
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    found = json.loads((tmp_path / "reports/evaluate/metrics.json").read_text())
    truth, mapped = joined([areas["west"]], "hpcl_net", thresholds_of(tmp_path)["hpcl_net"])
    assert found["counts"]["px"] == len(truth)
    assert found["hpcl_net"]["landslide_iou"] == pytest.approx(sklearn.metrics.jaccard_score(truth, mapped))
    assert [row["area"] for row in found["areas"]] == ["west"]
    for table in ("objects", "blocks"):
        assert set(pd.read_csv(tmp_path / f"reports/evaluate/{table}.csv")["area"]) == {"west"}


@pytest.mark.parametrize(("rows", "east_m"), [(83, 500_002.0), (82, 500_000.0)])
def test_a_map_on_another_grid_is_refused(tmp_path, monkeypatch, rows, east_m):
    plant_areas(tmp_path)
    path = tmp_path / "data/predict/west/probability.tif"
    grid = raster.Grid((rows, 97), Affine(2, 0, east_m, 0, -2, 4_000_000), "EPSG:32649")
    values = raster.read(path, ["probability"]).values[:, :rows]
    cog.write(path, raster.Raster(values, grid, (raster.Band("probability"),)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(raster.RasterError, match="do not lie on one grid"):
        evaluate.main()
