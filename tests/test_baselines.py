"""The baselines: planted thresholds, who may teach what, scikit-learn and plain loops as oracles."""

import json
from pathlib import Path

import examples
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.metrics

from hpcl import baselines
from hpcl.core import codes
from hpcl.core.artifacts import write_json
from hpcl.geo import raster
from stages import baselines as stage

SETTINGS = {"slope_step_deg": 0.5, "pixels": 3000, "seed": 1, "trees": 15, "learning_rate": 0.2, "leaves": 8}
TRAIN, VALIDATION, TEST, GAP = 0, 1, 2, 3


def settings(**changes) -> baselines.BaselinesSettings:
    return baselines.BaselinesSettings(**SETTINGS | changes)


def plant(shape=(60, 70), seed=0) -> baselines.Scene:
    """Landslide where the slope exceeds 20 deg and the red is dark, told apart by both bands; splits as column stripes."""
    rng = np.random.default_rng(seed)
    slope, red = rng.uniform(0, 45, shape), rng.uniform(0, 1, shape)
    labels = ((slope > 20) & (red < 0.4) & (rng.random(shape) < 0.95)).astype(np.uint8)
    labels[:2] = codes.UNKNOWN
    split = np.repeat(np.array([TRAIN, VALIDATION, TEST, GAP, TRAIN, TEST, TRAIN], np.uint8), shape[1] // 7)
    bands = np.stack([red, slope]).astype(np.float32)
    bands[1, 5:8, 3:20] = np.nan
    bands[:, 10:12, :30] = np.nan
    return baselines.Scene(bands, labels, np.tile(split, (shape[0], 1)))


def slope_scene(labels: np.ndarray, slope_deg: np.ndarray) -> baselines.Scene:
    return baselines.Scene(
        slope_deg[None].astype(np.float32), labels.astype(np.uint8), np.zeros(labels.shape, np.uint8)
    )


@pytest.mark.parametrize("direction", ["steeper", "gentler"])
def test_a_planted_slope_threshold_is_found_to_the_step(direction):
    slope_deg = np.random.default_rng(0).uniform(0, 60, (50, 40))
    labels = slope_deg >= 17.3 if direction == "steeper" else slope_deg < 17.3
    found = baselines.best_slope([slope_scene(labels, slope_deg)], 0, settings(slope_step_deg=0.1))
    assert (found.threshold_deg, found.direction) == (17.3, direction)
    assert found.train_landslide_iou == 1
    assert np.array_equal(found.map(slope_deg.astype(np.float32)), labels)


@pytest.mark.parametrize("seed", range(4))
def test_the_slope_threshold_is_the_best_of_a_plain_loop(seed):
    scene = plant(seed=seed)
    found = baselines.best_slope([scene, plant(seed=seed + 50)], 1, settings())
    best = (-1.0, "", 0.0)
    both = [scene, plant(seed=seed + 50)]
    keep = [(s.split == TRAIN) & (s.labels != codes.UNKNOWN) for s in both]
    slope = np.concatenate([s.bands[1][k] for s, k in zip(both, keep, strict=True)])
    truth = np.concatenate([s.labels[k] for s, k in zip(both, keep, strict=True)]) > 0
    for direction in ("steeper", "gentler"):
        for edge in np.arange(0, 90.5, 0.5):
            mapped = slope >= edge if direction == "steeper" else slope < edge
            iou = (truth & mapped).sum() / (truth | mapped).sum()
            best = max(best, (iou, direction, -edge))
    assert (found.train_landslide_iou, found.direction, -found.threshold_deg) == pytest.approx(best)


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
    return baselines.Scene(bands, labels, scene.split)


def test_the_baselines_learn_from_known_train_pixels_alone():
    scene = plant()
    other = spoil(scene, (scene.split != TRAIN) & (scene.labels != codes.UNKNOWN))
    assert baselines.best_slope([scene], 1, settings()) == baselines.best_slope([other], 1, settings())
    bands, truth = baselines.draw_pixels([scene], settings(pixels=10**6))
    known = (scene.split == TRAIN) & (scene.labels != codes.UNKNOWN)
    assert np.array_equal(bands, scene.bands[:, known].T, equal_nan=True)
    assert np.array_equal(truth, scene.labels[known] > 0)
    for a, b in zip(
        baselines.draw_pixels([scene], settings()), baselines.draw_pixels([other], settings()), strict=True
    ):
        assert np.array_equal(a, b, equal_nan=True)


def test_the_classifiers_threshold_comes_from_validation_pixels_alone():
    scene = plant()
    probability = np.random.default_rng(3).random(scene.labels.shape).astype(np.float32)
    for spoilt, same in (((scene.split != VALIDATION), True), (scene.split == VALIDATION, False)):
        other = spoil(scene, spoilt & (scene.labels != codes.UNKNOWN))
        found = []
        for s in (scene, other):
            collector = baselines.ValidationThreshold()
            collector.add(s, slice(0, 60), probability)
            found.append(collector.best())
        assert (found[0] == found[1]) is same


def test_pixels_are_drawn_once_each_and_classes_as_often_as_they_occur():
    scenes = [plant((70, 140), seed) for seed in range(3)]
    numbered = [
        baselines.Scene(np.arange(9800, dtype=np.float32).reshape(1, 70, 140) + 9800 * i, s.labels, s.split)
        for i, s in enumerate(scenes)
    ]
    bands, truth = baselines.draw_pixels(numbered, settings(pixels=4000))
    assert len(np.unique(bands)) == len(bands) == len(truth) == 4000
    known = [(s.split == TRAIN) & (s.labels != codes.UNKNOWN) for s in scenes]
    share = np.concatenate([s.labels[k] for s, k in zip(scenes, known, strict=True)]).mean()
    assert truth.mean() == pytest.approx(share, abs=0.015)
    assert np.bincount((bands[:, 0] // 9800).astype(int)) == pytest.approx(np.full(3, 4000 / 3), rel=0.1)
    for at, is_landslide in zip(bands[:50, 0].astype(int), truth[:50], strict=True):
        assert scenes[at // 9800].labels.flat[at % 9800] == is_landslide


def test_strips_do_not_show(monkeypatch):
    scenes = [plant(), plant((41, 77), 2)]

    def learn():
        slope, classifier = (
            baselines.best_slope(scenes, 1, settings()),
            baselines.PixelClassifier(scenes, settings(pixels=2000)),
        )
        collector = baselines.ValidationThreshold()
        maps = []
        for scene in scenes:
            for rows, of in baselines.map_scene(scene, 1, slope, classifier):
                collector.add(scene, rows, of["pixel_classifier"])
                maps += [of["slope_threshold"].ravel(), of["pixel_classifier"].ravel()]
        return slope, collector.best(), np.sort(np.concatenate(maps))

    whole = learn()
    monkeypatch.setattr("hpcl.windows.STRIP_PX", 70 * 4)
    striped = learn()
    assert striped[:2] == whole[:2]
    assert np.array_equal(striped[2], whole[2], equal_nan=True)


def test_the_classifier_is_scikit_learns_and_beats_one_slope_where_two_bands_matter():
    scene = plant((90, 140))
    classifier = baselines.PixelClassifier([scene], settings(pixels=10**6))
    known = (scene.split == TRAIN) & (scene.labels != codes.UNKNOWN)
    oracle = sklearn.ensemble.HistGradientBoostingClassifier(
        max_iter=15, learning_rate=0.2, max_leaf_nodes=8, early_stopping=False, random_state=1
    ).fit(scene.bands[:, known].T, scene.labels[known])
    rows = slice(10, 60)
    probability = classifier.probability(scene, rows)
    expected = oracle.predict_proba(scene.bands[:, rows].reshape(2, -1).T)[:, 1].reshape(50, 140)
    judged = np.isin(scene.split[rows], (1, 2)) & (scene.labels[rows] != codes.UNKNOWN)
    void = np.isnan(scene.bands[:, rows]).all(0)
    assert void.sum() == 60
    assert np.isnan(probability[void | ~judged]).all()
    assert probability[judged & ~void] == pytest.approx(expected[judged & ~void], abs=1e-6)

    collector = baselines.ValidationThreshold()
    collector.add(scene, slice(0, 90), classifier.probability(scene, slice(0, 90)))
    _, iou = collector.best()
    assert iou > baselines.best_slope([scene], 1, settings()).train_landslide_iou + 0.3


def test_the_validation_threshold_is_the_best_of_a_plain_loop():
    scene = plant()
    rng = np.random.default_rng(4)
    probability = np.clip(scene.labels * 0.2 + rng.random(scene.labels.shape) * 0.8, 0, 1).astype(np.float32)
    probability[20:23] = np.nan
    collector = baselines.ValidationThreshold()
    collector.add(scene, slice(0, 60), probability)
    threshold, iou = collector.best()
    known = (scene.split == VALIDATION) & (scene.labels != codes.UNKNOWN)
    truth, score = scene.labels[known] > 0, probability[known]
    ious = [((score >= k / 1000) & truth).sum() / ((score >= k / 1000) | truth).sum() for k in range(1, 1001)]
    assert iou == pytest.approx(max(ious))
    assert threshold == (np.argmax(ious) + 1) / 1000


def test_splits_that_teach_nothing_are_refused_in_a_sentence():
    scene = plant()
    bare = baselines.Scene(scene.bands, np.where(scene.labels == 1, 0, scene.labels), scene.split)
    with pytest.raises(baselines.BaselinesError, match="train split holds no landslide pixel"):
        baselines.best_slope([bare], 1, settings())
    with pytest.raises(baselines.BaselinesError, match="all background"):
        baselines.PixelClassifier([bare], settings())
    with pytest.raises(baselines.BaselinesError, match="no known pixel"):
        baselines.draw_pixels([baselines.Scene(scene.bands, scene.labels, np.full_like(scene.split, TEST))], settings())
    collector = baselines.ValidationThreshold()
    collector.add(bare, slice(0, 60), np.zeros(bare.labels.shape, np.float32))
    with pytest.raises(baselines.BaselinesError, match="validation split holds no landslide"):
        collector.best()


def plant_tiles(root: Path, band_names: list[str]) -> dict[str, baselines.Scene]:
    """What `tile` leaves of two areas."""
    scenes = {"west": plant(), "east": plant((41, 77), 2)}
    (root / "data/tiles").mkdir(parents=True)
    for area, scene in scenes.items():
        for what in ("bands", "labels", "split"):
            np.save(root / f"data/tiles/{area}.{what}.npy", getattr(scene, what))
    transform = [2.0, 0.0, 5e5, 0.0, -2.0, 4e6]
    areas = {
        area: examples.tiled_area(crs="EPSG:32649", transform=transform, shape=list(scene.labels.shape))
        for area, scene in scenes.items()
    }
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
    facts = json.loads(first["facts.json"])
    assert facts["direction"] == "steeper"
    assert facts["slope_threshold_deg"] == pytest.approx(20, abs=0.5)
    assert 0 < facts["pixel_classifier_threshold"] <= 1
    assert facts["pixels"] == 3000
    for area, scene in scenes.items():
        slope = raster.read(out / area / "slope_threshold.tif")
        assert slope.grid.shape == scene.labels.shape
        assert tuple(slope.grid.affine)[:6] == (2, 0, 5e5, 0, -2, 4e6)
        judged = np.isin(scene.split, (1, 2)) & (scene.labels != codes.UNKNOWN)
        assert 0 < judged.mean() < 1
        expected = np.where(np.isnan(scene.bands[1]), np.nan, scene.bands[1] >= facts["slope_threshold_deg"])
        expected[~judged] = np.nan
        assert np.array_equal(slope["landslide"], expected, equal_nan=True)
        probability = raster.read(out / area / "pixel_classifier.tif")["probability"]
        void = np.isnan(scene.bands).all(0)
        assert np.array_equal(np.isnan(probability), void | ~judged)
        mapped = probability >= facts["pixel_classifier_threshold"]
        test = (scene.split == TEST) & (scene.labels != codes.UNKNOWN) & ~void
        assert sklearn.metrics.jaccard_score(scene.labels[test], mapped[test]) > 0.8
    assert "slope >= 20 deg" in capsys.readouterr().out
    stage.main()
    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == first


def test_tiles_without_a_slope_are_refused_by_name(tmp_path, monkeypatch):
    plant_tiles(tmp_path, ["red", "aspect"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(baselines.BaselinesError, match="no band 'slope' among red, aspect"):
        stage.main()
