"""Operating points: plain loops as oracles, thresholds that their own fold does not move, and noise that stays noise."""

import tracemalloc
from pathlib import Path

import examples
import numpy as np
import pytest
import sklearn.metrics
from scipy import ndimage
from test_metrics import blob_scene, count, everywhere, scene_of, settings

from hpcl.calibration import counts as calibration
from hpcl.calibration import out_of_fold, points
from hpcl.calibration.counts import LEVELS, CalibrationError, Counts
from hpcl.core import codes
from hpcl.core.records import Thresholds
from hpcl.metrics.tally import Scene
from hpcl.settings.outline import AtMisses, AtPrecision, AtRecall
from hpcl.tiles import folds

POINTS = ["best_iou", AtPrecision(0.6), AtRecall(0.7), AtMisses(4.0), 0.37]


def random_counts(seed: int, fold_count: int = 3) -> Counts:
    """Landslides mostly of higher probability, folds unlike each other."""
    rng = np.random.default_rng(seed)
    histogram = np.zeros((fold_count, 2, LEVELS), np.int64)
    for fold in range(fold_count):
        for truth, (a, b, pixels) in enumerate([(1, 4 + fold, 5000), (4, 2 + fold / 2, 900)]):
            histogram[fold, truth] = np.bincount((rng.beta(a, b, pixels) * 1000).astype(int), minlength=LEVELS)
    objects = np.array([np.bincount(rng.integers(0, 101, 40) * 10, minlength=LEVELS) for _ in range(fold_count)])
    return Counts(histogram, np.concatenate([[objects.sum(0)], objects]))


def enough(histogram, objects, point, level: int) -> bool:
    """Whether a threshold gives what was asked for."""
    hits, alarms = histogram[1, level:].sum(), histogram[0, level:].sum()
    match point:
        case AtPrecision(share):
            return hits + alarms > 0 and hits / (hits + alarms) >= share
        case AtRecall(share):
            return hits / histogram[1].sum() >= share
        case AtMisses(one_in):
            return objects[:level].sum() / objects.sum() <= 1 / one_in
    raise AssertionError(point)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("point", POINTS[:4], ids=points.name_of)
def test_thresholds_are_those_of_a_plain_loop_over_the_counts_of_the_others(seed, point):
    counts = random_counts(seed)
    thresholds, reached = points.chosen(counts, point)
    assert reached
    for network, threshold in enumerate([thresholds.elsewhere, *thresholds.by_fold]):
        histogram = sum(counts.histogram[fold] for fold in range(3) if fold + 1 != network)
        objects = counts.objects[network]
        if point == "best_iou":
            iou = [histogram[1, k:].sum() / (histogram[0, k:].sum() + histogram[1].sum()) for k in range(1, LEVELS)]
            assert iou[round(threshold * 1000) - 1] == max(iou)
            continue
        fitting = [k for k in range(1, LEVELS) if enough(histogram, objects, point, k)]
        expected = min(fitting) if isinstance(point, AtPrecision) else max(fitting)
        assert threshold == expected / 1000


@pytest.mark.parametrize("point", POINTS, ids=points.name_of)
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_what_is_counted_on_a_fold_does_not_move_its_threshold(fold, point):
    counts = random_counts(0)
    other = random_counts(9)
    histogram, objects = counts.histogram.copy(), counts.objects.copy()
    histogram[fold - 1] = other.histogram[fold - 1][::-1]  # what was landslide is none
    objects[[network for network in range(4) if network != fold]] = other.objects[0]
    before, _ = points.chosen(counts, point)
    after, _ = points.chosen(Counts(histogram, objects), point)
    assert before.by_fold[fold - 1] == after.by_fold[fold - 1]
    if not isinstance(point, float):
        assert before.elsewhere != after.elsewhere


def test_a_probability_is_taken_as_it_is():
    thresholds, reached = points.chosen(random_counts(0), 0.37)
    assert (thresholds, reached) == (Thresholds(by_fold=[0.37] * 3, elsewhere=0.37), True)


@pytest.mark.parametrize("point", [*POINTS, AtMisses(10.0), AtPrecision(1 / 3)], ids=points.name_of)
def test_a_name_says_which_point_it_is(point):
    assert points.of_name(points.name_of(point)) == point


@pytest.mark.parametrize("name", ["", "best", "precision", "precision high", "iou 0.5"])
def test_other_names_are_refused(name):
    with pytest.raises(CalibrationError, match="is no operating point"):
        points.of_name(name)


def counted(background: dict[int, int], landslide: dict[int, int], objects: dict[int, int]) -> Counts:
    """Two folds alike, of pixels and objects by level."""
    tables = [
        np.bincount(list(of), list(of.values()), LEVELS).astype(np.int64) for of in (background, landslide, objects)
    ]
    return Counts(np.stack([tables[:2]] * 2), np.stack([2 * tables[2], tables[2], tables[2]]))


def test_what_nothing_reaches_is_the_nearest_and_told():
    counts = counted({0: 50, 300: 30, 700: 10}, {0: 40, 300: 5, 700: 10}, {0: 5, 700: 5})
    for point, threshold in {AtPrecision(0.9): 0.301, AtRecall(0.9): 0.001, AtMisses(10.0): 0.001}.items():
        assert points.chosen(counts, point) == (Thresholds(by_fold=[threshold] * 2, elsewhere=threshold), False)
    assert points.chosen(counts, AtPrecision(0.5)) == (Thresholds(by_fold=[0.301] * 2, elsewhere=0.301), True)


def test_ground_without_a_prediction_is_no_part_of_a_map_whatever_the_point():
    counts = counted({0: 50}, {0: 50, 600: 1}, {0: 1})
    for point in POINTS[:4]:
        assert points.chosen(counts, point)[0].elsewhere > 0


def test_of_equal_thresholds_the_middle_is_taken():
    assert points.chosen(counted({99: 10}, {900: 10}, {900: 1}), "best_iou")[0].elsewhere == 0.5
    assert points.told_nothing(counted({0: 10}, {1000: 10}, {1000: 1})) == []


def test_counts_without_landslides_are_refused_in_a_sentence():
    counts = random_counts(0, 2)
    bare = counts.histogram.copy()
    bare[0, 1] = 0
    with pytest.raises(CalibrationError, match="may choose a threshold for fold 2 shows a landslide"):
        points.chosen(Counts(bare, counts.objects), "best_iou")
    with pytest.raises(CalibrationError, match="fold 1 counts as an object, so misses_one_in 10 has no threshold"):
        points.chosen(Counts(counts.histogram, counts.objects * [[1], [0], [1]]), AtMisses(10.0))


def test_a_network_that_tells_nothing_is_named():
    counts = random_counts(0)
    assert points.told_nothing(counts) == []
    histogram = counts.histogram.copy()
    histogram[1] = 0
    histogram[1, :, 400] = 900, 100  # the same answer everywhere
    assert points.told_nothing(Counts(histogram, counts.objects)) == []  # its best threshold is a middle
    histogram[1] = 0
    histogram[1, :, 1] = 900, 100
    (told,) = points.told_nothing(Counts(histogram, counts.objects))
    assert told.startswith("Fold 2: the best threshold, 0.001, lies at the end of its range")
    assert "does not tell landslides from other ground" in told


# ---- counting


def counter_of(scene: Scene, probability: np.ndarray, fold_count: int = 2, **changes) -> Counts:
    counter = out_of_fold.Counter(fold_count, settings(**changes))
    counter.add(scene, lambda rows: probability[rows])
    return counter.counts


def test_pixels_are_counted_by_fold_truth_and_level():
    scene, probability = blob_scene()
    counts = counter_of(scene, probability)
    level = np.floor(np.nan_to_num(probability).astype(float) * 1000 + 1e-5).astype(int)
    for fold in (0, 1):
        for truth in (0, 1):
            here = (
                (everywhere(scene, "codes") == fold) & (scene.labels != codes.UNKNOWN) & ((scene.labels >= 1) == truth)
            )
            assert counts.histogram[fold, truth].tolist() == np.bincount(level[here], minlength=LEVELS).tolist()


@pytest.mark.parametrize("strip_px", [97, 97 * 7, 2**20])
@pytest.mark.parametrize(("found_frac", "minimum_m2"), [(0.5, 0.0), (0.3, 40.0), (1.0, 0.0)])
def test_objects_are_found_where_evaluate_finds_them(monkeypatch, strip_px, found_frac, minimum_m2):
    scene, probability = blob_scene()
    changes = {"object_found_frac": found_frac, "object_minimum_area_m2": minimum_m2}
    monkeypatch.setattr("hpcl.windows.STRIP_PX", strip_px)
    objects = counter_of(scene, probability, **changes).objects
    for threshold in (0.01, 0.2, 0.5, 0.77, 1.0):
        there, found = count(scene, probability, threshold, **changes).blocks.objects.sum(0)
        assert objects[0].sum() == there
        assert objects[0, round(threshold * 1000) :].sum() == found


def test_an_object_that_reaches_into_a_fold_does_not_choose_its_threshold():
    scene, probability = blob_scene()
    objects = counter_of(scene, probability).objects
    judged = (everywhere(scene, "codes") != codes.OUTSIDE) & (scene.labels != codes.UNKNOWN)
    patches, number = ndimage.label(judged & (scene.labels >= 1), np.ones((3, 3)))
    touched = [set(everywhere(scene, "codes")[patches == patch].tolist()) for patch in range(1, number + 1)]
    assert {frozenset(one) for one in touched} == {frozenset({0}), frozenset({1}), frozenset({0, 1})}
    assert objects[0].sum() == number
    for fold in (0, 1):
        assert objects[1 + fold].sum() == sum(fold not in one for one in touched)


def test_a_hundred_thousand_landslides_stay_small():
    labels = np.zeros((1200, 1000), np.uint8)
    labels[::4, ::3] = 1
    scene = scene_of(labels, block_px=100, code=0)
    probability = np.full(labels.shape, 0.5, np.float32)
    tracemalloc.start()
    counts = counter_of(scene, probability)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts.objects[0].sum() == 300 * 334
    assert peak < 400 * 2**20


def test_tables_come_back_as_they_were(tmp_path: Path):
    counts = random_counts(3)
    calibration.write(tmp_path, counts)
    back = calibration.read(tmp_path)
    assert np.array_equal(back.histogram, counts.histogram)
    assert np.array_equal(back.objects, counts.objects)
    (tmp_path / "objects.csv").write_text(
        "".join((tmp_path / "objects.csv").read_text().splitlines(True)[: 1 + 3 * LEVELS])
    )
    with pytest.raises(CalibrationError, match="count other folds"):
        calibration.read(tmp_path)


# ---- noise


def by_heart(fold_count: int = 3, size: int = 240) -> tuple[Scene, list[np.ndarray]]:
    """Labels that are noise, and for each fold the map of a network that knows every label that it was taught, and guesses
    elsewhere."""
    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.5) > 0.08).astype(np.uint8)
    dealt = folds.deal({"valley": folds.lay_blocks("valley", labels, 40)}, examples_settings(fold_count))
    teaches = np.zeros(labels.shape, np.uint16)
    folds.teach(dealt, labels, fold_count, 4, teaches)
    sides = {"tops": [block.rows.start for block in dealt], "lefts": [block.columns.start for block in dealt]}
    area = examples.tiled_area(
        *(block.fold for block in dealt),
        shape=list(labels.shape),
        **{side: sorted(set(starts)) for side, starts in sides.items()},
    )
    maps = []
    for code in range(fold_count):
        guess = ndimage.gaussian_filter(rng.normal(size=labels.shape), 1.5)
        guess = 1 / (1 + np.exp(-10 * guess))
        maps.append(np.where(teaches >> code & 1, 0.02 + 0.96 * labels, guess).astype(np.float32))
    return Scene(labels, area), maps


def examples_settings(fold_count: int) -> folds.TileSettings:
    return folds.TileSettings(
        split="blocks", folds=fold_count, test_areas=(), window_px=32, stride_px=32, block_px=40, gap_px=4,
        minimum_valid_frac=0.0, seed=0,
    )  # fmt: skip


def composed(networks: np.ndarray, maps: list[np.ndarray]) -> np.ndarray:
    return np.choose(networks - 1, maps)


def test_on_labels_that_are_noise_what_was_learnt_by_heart_earns_nothing():
    scene, maps = by_heart()
    probability = composed(everywhere(scene, "networks"), maps)
    thresholds, _ = points.chosen(counter_of(scene, probability, 3), "best_iou")
    confusion = count(scene, probability, thresholds).blocks.confusion.sum(0)
    tn, fp, fn, tp = (int(pixels) for pixels in confusion.ravel())
    prevalence, mapped = (fn + tp) / confusion.sum(), (fp + tp) / confusion.sum()
    chance = prevalence * mapped / (prevalence + mapped - prevalence * mapped)
    assert tp / (tp + fp + fn) == pytest.approx(chance, abs=0.03)
    assert (tp * tn - fp * fn) / np.sqrt(float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) == pytest.approx(
        0, abs=0.06
    )
    assert sklearn.metrics.roc_auc_score(scene.labels.ravel(), probability.ravel()) == pytest.approx(0.5, abs=0.04)


def test_on_noise_a_map_by_another_network_would_shine_and_is_refused():
    scene, maps = by_heart()
    networks = everywhere(scene, "networks")
    other = np.where(networks == 3, 1, networks + 1).astype(np.uint8)
    assert sklearn.metrics.roc_auc_score(scene.labels.ravel(), composed(other, maps).ravel()) > 0.85
    rows = slice(0, len(networks))
    out_of_fold.check_own(Path("network.tif"), networks, scene.area, rows)
    with pytest.raises(
        CalibrationError, match=r"network\.tif says that ground of fold \d was mapped by .* learnt from it"
    ):
        out_of_fold.check_own(Path("network.tif"), other, scene.area, rows)
