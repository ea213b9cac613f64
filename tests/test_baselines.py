"""The baselines: planted thresholds, who may teach what, scikit-learn and plain loops as oracles."""

import json
from dataclasses import replace
from pathlib import Path

import examples
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.metrics

from hpcl import baselines
from hpcl.core import artifacts, codes
from hpcl.core.artifacts import write_json
from hpcl.core.records import BaselineFacts, Thresholds
from hpcl.geo import raster
from stages import baselines as stage

SETTINGS = {"slope_step_deg": 0.5, "pixels": 3000, "seed": 1, "trees": 15, "learning_rate": 0.2, "leaves": 8}
FIRST, SECOND = 0, 1  # codes of folds


def settings(**changes) -> baselines.BaselinesSettings:
    return baselines.BaselinesSettings(**SETTINGS | changes)


def plant(shape=(60, 70), seed=0) -> baselines.Scene:
    """Landslide where the slope exceeds 20 deg and the red is dark, told apart by both bands; folds 1 and 2 as column stripes
    with gaps between them."""
    rng = np.random.default_rng(seed)
    slope, red = rng.uniform(0, 45, shape), rng.uniform(0, 1, shape)
    labels = ((slope > 20) & (red < 0.4) & (rng.random(shape) < 0.95)).astype(np.uint8)
    labels[:2] = codes.UNKNOWN
    width = shape[1] // 7
    folds = [FIRST, SECOND, FIRST, codes.OUTSIDE, SECOND, FIRST, SECOND]
    area = examples.tiled_area(
        *folds, lefts=list(range(0, 7 * width, width)), shape=list(shape), crs="EPSG:32649",
        transform=[2.0, 0.0, 5e5, 0.0, -2.0, 4e6],
    )  # fmt: skip
    code = area.codes(slice(0, shape[0]), slice(0, shape[1]))
    teaches = np.where(code == FIRST, 0b10, np.where(code == SECOND, 0b01, 0)).astype(np.uint16)
    teaches[:, ::width] = 0  # the gaps
    teaches[labels == codes.UNKNOWN] = 0
    bands = np.stack([red, slope]).astype(np.float32)
    bands[1, 5:8, 3:20] = np.nan
    bands[:, 10:12, :30] = np.nan
    return baselines.Scene(bands, labels, teaches, area)


def codes_of(scene: baselines.Scene) -> np.ndarray:
    return scene.area.codes(slice(0, scene.labels.shape[0]), slice(0, scene.labels.shape[1]))


def taught(scene: baselines.Scene, code: int) -> np.ndarray:
    return (scene.teaches >> code & 1).astype(bool)


def judged(scene: baselines.Scene, code: int) -> np.ndarray:
    return (codes_of(scene) == code) & (scene.labels != codes.UNKNOWN)


def slope_scene(labels: np.ndarray, slope_deg: np.ndarray) -> baselines.Scene:
    area = examples.tiled_area(SECOND, shape=list(labels.shape))
    teaches = np.ones(labels.shape, np.uint16)
    return baselines.Scene(slope_deg[None].astype(np.float32), labels.astype(np.uint8), teaches, area)


@pytest.mark.parametrize("direction", ["steeper", "gentler"])
def test_a_planted_slope_threshold_is_found_to_the_step(direction):
    slope_deg = np.random.default_rng(0).uniform(0, 60, (50, 40))
    labels = slope_deg >= 17.3 if direction == "steeper" else slope_deg < 17.3
    found = baselines.best_slope([slope_scene(labels, slope_deg)], 0, FIRST, settings(slope_step_deg=0.1))
    assert (found.threshold_deg, found.direction) == (17.3, direction)
    assert found.landslide_iou == 1
    assert np.array_equal(found.map(slope_deg.astype(np.float32)), labels)


@pytest.mark.parametrize("code", [FIRST, SECOND])
@pytest.mark.parametrize("seed", range(4))
def test_the_slope_threshold_is_the_best_of_a_plain_loop(seed, code):
    scene = plant(seed=seed)
    found = baselines.best_slope([scene, plant(seed=seed + 50)], 1, code, settings())
    best = (-1.0, "", 0.0)
    both = [scene, plant(seed=seed + 50)]
    keep = [taught(s, code) for s in both]
    slope = np.concatenate([s.bands[1][k] for s, k in zip(both, keep, strict=True)])
    truth = np.concatenate([s.labels[k] for s, k in zip(both, keep, strict=True)]) > 0
    for direction in ("steeper", "gentler"):
        for edge in np.arange(0, 90.5, 0.5):
            mapped = slope >= edge if direction == "steeper" else slope < edge
            iou = (truth & mapped).sum() / (truth | mapped).sum()
            best = max(best, (iou, direction, -edge))
    assert (found.landslide_iou, found.direction, -found.threshold_deg) == pytest.approx(best)


def test_unknown_slope_is_mapped_by_neither_direction():
    slope_deg = np.array([[5.0, np.nan, 30.0]], np.float32)
    for direction, expected in {"steeper": [0, np.nan, 1], "gentler": [1, np.nan, 0]}.items():
        assert np.array_equal(
            baselines.SlopeThreshold(20.0, direction, 0.5).map(slope_deg)[0], expected, equal_nan=True
        )


def spoil(scene: baselines.Scene, spoilt: np.ndarray) -> baselines.Scene:
    """The same scene with other labels and other bands where ``spoilt``."""
    labels, bands = scene.labels.copy(), scene.bands.copy()
    labels[spoilt] = 1 - np.minimum(labels[spoilt], 1)
    bands[:, spoilt] = 3.0
    return baselines.Scene(bands, labels, scene.teaches, scene.area)


@pytest.mark.parametrize("code", [FIRST, SECOND])
def test_the_baselines_of_a_fold_learn_from_what_teaches_it_alone(code):
    scene = plant()
    other = spoil(scene, ~taught(scene, code) & (scene.labels != codes.UNKNOWN))
    assert baselines.best_slope([scene], 1, code, settings()) == baselines.best_slope([other], 1, code, settings())
    bands, truth = baselines.draw_pixels([scene], code, settings(pixels=10**6))
    assert np.array_equal(bands, scene.bands[:, taught(scene, code)].T, equal_nan=True)
    assert np.array_equal(truth, scene.labels[taught(scene, code)] > 0)
    for a, b in zip(
        baselines.draw_pixels([scene], code, settings()), baselines.draw_pixels([other], code, settings()), strict=True
    ):
        assert np.array_equal(a, b, equal_nan=True)


def test_a_pixel_without_a_label_teaches_nothing_whatever_the_bits_say():
    scene = plant()
    scene.teaches[:2] = 0b11
    assert not baselines.teaching_pixels(scene, slice(0, 2), FIRST).any()


@pytest.mark.parametrize("code", [FIRST, SECOND])
def test_what_is_known_of_a_fold_does_not_change_its_maps(code):
    """A leak would show: with the labels of a fold turned round, its maps stay as they were."""
    scene = plant()
    labels = np.where(judged(scene, code), 1 - scene.labels, scene.labels).astype(np.uint8)
    turned = baselines.Scene(scene.bands, labels, scene.teaches, scene.area)
    (before, _), (after, _) = (learn([one]) for one in (scene, turned))
    for name in before:
        assert np.array_equal(before[name][judged(scene, code)], after[name][judged(scene, code)], equal_nan=True)
        assert not np.array_equal(before[name], after[name], equal_nan=True)


def learn(scenes: list[baselines.Scene], **changes) -> tuple[dict[str, np.ndarray], Thresholds]:
    """The maps of the last scene, and the classifier's thresholds."""
    learnt = baselines.Baselines(scenes, 1, 2, settings(**changes))
    for scene in scenes:
        parts = [maps for _, maps in learnt.map(scene)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, learnt.thresholds()


def test_pixels_are_drawn_once_each_and_classes_as_often_as_they_occur():
    scenes = [plant((70, 140), seed) for seed in range(3)]
    numbered = [
        baselines.Scene(np.arange(9800, dtype=np.float32).reshape(1, 70, 140) + 9800 * i, s.labels, s.teaches, s.area)
        for i, s in enumerate(scenes)
    ]
    bands, truth = baselines.draw_pixels(numbered, SECOND, settings(pixels=4000))
    assert len(np.unique(bands)) == len(bands) == len(truth) == 4000
    known = [taught(s, SECOND) for s in scenes]
    share = np.concatenate([s.labels[k] for s, k in zip(scenes, known, strict=True)]).mean()
    assert truth.mean() == pytest.approx(share, abs=0.015)
    assert np.bincount((bands[:, 0] // 9800).astype(int)) == pytest.approx(np.full(3, 4000 / 3), rel=0.1)
    for at, is_landslide in zip(bands[:50, 0].astype(int), truth[:50], strict=True):
        assert scenes[at // 9800].labels.flat[at % 9800] == is_landslide


def test_strips_do_not_show(monkeypatch):
    scenes = [plant(), plant((41, 77), 2)]
    whole, thresholds = learn(scenes, pixels=2000)
    monkeypatch.setattr("hpcl.windows.STRIP_PX", 70 * 4)
    striped, again = learn(scenes, pixels=2000)
    assert again == thresholds
    for name in whole:
        assert np.array_equal(striped[name], whole[name], equal_nan=True)


@pytest.mark.parametrize("code", [FIRST, SECOND])
def test_the_classifier_is_scikit_learns_and_beats_one_slope_where_two_bands_matter(code):
    scene = plant((90, 140))
    known = taught(scene, code)
    oracle = sklearn.ensemble.HistGradientBoostingClassifier(
        max_iter=15, learning_rate=0.2, max_leaf_nodes=8, early_stopping=False, random_state=1
    ).fit(scene.bands[:, known].T, scene.labels[known])
    maps, thresholds = learn([scene], pixels=10**6)
    here, void = judged(scene, code), np.isnan(scene.bands).all(0)
    assert (here & void).any()
    assert np.isnan(maps["pixel_classifier"][here & void]).all()
    expected = oracle.predict_proba(scene.bands[:, here & ~void].T)[:, 1]
    assert maps["pixel_classifier"][here & ~void] == pytest.approx(expected, abs=1e-6)
    mapped = maps["pixel_classifier"][here] >= thresholds.by_fold[code]
    iou = sklearn.metrics.jaccard_score(scene.labels[here], mapped)
    assert iou > baselines.best_slope([scene], 1, code, settings()).landslide_iou + 0.3


@pytest.mark.parametrize("code", [FIRST, SECOND])
def test_the_threshold_of_a_fold_is_the_best_of_a_plain_loop_over_the_other(code):
    scene = plant()
    maps, thresholds = learn([scene])
    others = judged(scene, 1 - code)
    truth, score = scene.labels[others] > 0, maps["pixel_classifier"][others]
    ious = [
        ((score >= np.float32(k / 1000)) & truth).sum() / ((score >= np.float32(k / 1000)) | truth).sum()
        for k in range(1, 1001)
    ]
    assert ious[round(thresholds.by_fold[code] * 1000) - 1] == max(ious)


def test_a_test_area_gets_the_mean_of_the_classifiers_and_what_half_of_the_slopes_say():
    scene = plant()
    outside = plant((41, 77), 2)
    outside = replace(outside, area=examples.tiled_area(codes.TEST_AREA, shape=[41, 77]), teaches=outside.teaches * 0)
    learnt = baselines.Baselines([scene, outside], 1, 2, settings())
    learnt.slopes = [baselines.SlopeThreshold(10.0, "steeper", 0.5), baselines.SlopeThreshold(30.0, "steeper", 0.5)]
    ((_, maps),) = learnt.map(outside)
    here = judged(outside, codes.TEST_AREA)
    each = [classifier.probability(outside.bands[:, here]) for classifier in learnt.classifiers]
    assert not np.array_equal(*each)
    assert np.array_equal(maps["pixel_classifier"][here], np.mean(each, axis=0), equal_nan=True)
    slope = outside.bands[1, here]
    assert np.array_equal(maps["slope_threshold"][here], np.where(np.isnan(slope), np.nan, slope >= 10), equal_nan=True)
    assert np.isnan(maps["pixel_classifier"][~here]).all()
    assert not learnt._histogram.any()


def test_folds_that_teach_nothing_are_refused_in_a_sentence():
    scene = plant()
    bare = replace(scene, labels=np.where(scene.labels == 1, 0, scene.labels))
    with pytest.raises(baselines.BaselinesError, match="no landslide pixel with a known slope lies outside fold 2"):
        baselines.best_slope([bare], 1, SECOND, settings())
    with pytest.raises(baselines.BaselinesError, match="pixels drawn outside fold 1 are all background"):
        baselines.PixelClassifier([bare], FIRST, settings())
    with pytest.raises(baselines.BaselinesError, match="no labelled pixel lies outside fold 1"):
        baselines.draw_pixels([replace(scene, teaches=scene.teaches * 0)], FIRST, settings())


def plant_tiles(root: Path, band_names: list[str]) -> dict[str, baselines.Scene]:
    """What `tile` leaves of two areas."""
    scenes = {"west": plant(), "east": plant((41, 77), 2)}
    (root / "data/tiles").mkdir(parents=True)
    for area, scene in scenes.items():
        for what in ("bands", "labels", "teaches"):
            np.save(root / f"data/tiles/{area}.{what}.npy", getattr(scene, what))
    areas = {area: scene.area for area, scene in scenes.items()}
    write_json(
        root / "data/tiles/facts.json", examples.tiles(areas, bands=[examples.tile_band(name) for name in band_names])
    )
    (root / "params.yaml").write_text(f"baselines: {json.dumps(SETTINGS)}\n")
    return scenes


def test_the_stage_maps_every_area_and_repeats_itself_byte_for_byte(tmp_path, monkeypatch, capsys):
    scenes = plant_tiles(tmp_path, ["red", "slope"])
    monkeypatch.chdir(tmp_path)
    stage.main()
    out = tmp_path / "data/baselines"
    first = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert sorted(first) == [
        *("east/pixel_classifier.tif", "east/slope_threshold.tif", "facts.json"),
        *("west/pixel_classifier.tif", "west/slope_threshold.tif"),
    ]
    facts = artifacts.read_json(out / "facts.json", BaselineFacts)
    assert [slope.direction for slope in facts.slope] == ["steeper"] * 2
    assert [slope.threshold_deg for slope in facts.slope] == pytest.approx([20, 20], abs=0.5)
    assert all(0 < threshold <= 1 for threshold in facts.classifier_thresholds.by_fold)
    assert max(facts.classifier_pixels) <= 3000
    for area, scene in scenes.items():
        slope, classifier = (
            raster.read(out / area / f"{name}.tif") for name in ("slope_threshold", "pixel_classifier")
        )
        assert slope.grid.shape == scene.labels.shape
        assert tuple(slope.grid.affine)[:6] == (2, 0, 5e5, 0, -2, 4e6)
        void = np.isnan(scene.bands).all(0)
        known = np.isin(codes_of(scene), (FIRST, SECOND)) & (scene.labels != codes.UNKNOWN)
        assert 0 < known.mean() < 1
        assert np.array_equal(np.isnan(classifier["probability"]), void | ~known)
        for code in (FIRST, SECOND):
            here = judged(scene, code)
            steep = scene.bands[1] >= np.float32(facts.slope[code].threshold_deg)
            expected = np.where(np.isnan(scene.bands[1]), np.nan, steep)
            assert np.array_equal(slope["landslide"][here], expected[here], equal_nan=True)
            mapped = classifier["probability"] >= facts.classifier_thresholds.by_fold[code]
            here &= ~void
            assert sklearn.metrics.jaccard_score(scene.labels[here], mapped[here]) > 0.8
    assert "fold 2: slope >= 20 deg" in capsys.readouterr().out
    stage.main()
    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == first


def test_tiles_without_a_slope_are_refused_by_name(tmp_path, monkeypatch):
    plant_tiles(tmp_path, ["red", "aspect"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(baselines.BaselinesError, match="no band 'slope' among red, aspect"):
        stage.main()
