"""What is said of a new area before it is mapped: distances that SciPy confirms, and a promise only where something bears it."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import examples
import numpy as np
import pytest
from affine import Affine
from scipy import stats

from hpcl import distance
from hpcl import passport as passports
from hpcl.core.artifacts import write_json
from hpcl.core.codes import OUTSIDE, TEST_AREA, UNKNOWN
from hpcl.core.digest import joint
from hpcl.core.records import AreaGround, FoldedArea, ModelFacts
from hpcl.geo import cog, raster
from hpcl.metrics.records import AreaScores, Counts, Maps, MapScores, Metrics
from hpcl.passport import Passport, passport, prediction_interval
from hpcl.tiles.write import Tiler
from stages import _stage
from stages import passport as stage

BRANCHES = {"optical": ["red"], "terrain": ["slope"]}
WEIGHTS = ("12", "34")


def ground(*samples: Any, px: int = 1000, kind: str = "scalar") -> AreaGround:
    """That of bands red and slope, or of as many as there are samples."""
    pixels = np.stack(samples).astype(np.float32)
    return distance.described(["red", "slope"][: len(samples)], [kind] * len(samples), pixels, px)  # type: ignore[list-item]  # a kind by its name


def drawn(seed: int, shift: float = 0.0, scale: float = 1.0) -> Any:
    return 50 + 10 * (shift + scale * np.random.default_rng(seed).normal(size=20_000))


def away(area: AreaGround, *others: AreaGround) -> float:
    return distance.from_ground(area, others, {"optical": ["red"]})["optical"]["red"]


# ---- distances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_a_distance_is_wassersteins_in_standard_deviations(shift: float, scale: float) -> None:
    here, there = drawn(0, shift, scale), drawn(1)
    due = stats.wasserstein_distance(here, there) / there.std()
    assert away(ground(here), ground(there)) == pytest.approx(due, rel=0.08, abs=0.02)


@pytest.mark.parametrize("shape", [0.7, 1.0, 4.0])
def test_the_same_of_skewed_bands(shape: float) -> None:
    rng = np.random.default_rng(0)
    here, there = rng.gamma(shape, 3, 20_000), rng.gamma(2, 2, 20_000)
    due = stats.wasserstein_distance(here, there) / there.std()
    assert away(ground(here), ground(there)) == pytest.approx(due, rel=0.12, abs=0.02)


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 5, 20), (50, 1, 3)])
def test_several_areas_are_one_ground_with_the_weight_of_their_pixels(weights: tuple[int, ...]) -> None:
    parts = [drawn(1, -1), drawn(2, 0.5, 2), drawn(3, 2, 0.5)]
    each = np.repeat(weights, 20_000).astype(float)
    pooled, here = np.concatenate(parts), drawn(0, 0.3)
    mean = np.average(pooled, weights=each)
    std = np.sqrt(np.average((pooled - mean) ** 2, weights=each))
    due = stats.wasserstein_distance(here, pooled, v_weights=each) / std
    others = [ground(part, px=weight) for part, weight in zip(parts, weights, strict=True)]
    assert away(ground(here), *others) == pytest.approx(due, rel=0.08, abs=0.03)


def test_equal_ground_is_near_and_the_order_is_that_of_scipy() -> None:
    there = drawn(0)
    assert away(ground(there), ground(there)) == 0
    assert away(ground(drawn(1)), ground(there)) < 0.03
    samples = [drawn(2, 0.3), drawn(3, 0, 1.9), drawn(4, -1), drawn(5), drawn(6, 0, 0.2)]
    due = np.argsort([stats.wasserstein_distance(sample, there) for sample in samples])
    assert np.argsort([away(ground(sample), ground(there)) for sample in samples]).tolist() == due.tolist()


def test_units_do_not_matter_and_neither_do_spikes_nor_holes() -> None:
    here, there = drawn(0, 0.7), drawn(1)
    plain = away(ground(here), ground(there))
    assert away(ground(here * 257), ground(there * 257)) == pytest.approx(plain, rel=1e-4)
    here[:200], there[:200] = 1e9, -1e9
    here[300:9000] = np.nan
    assert away(ground(here), ground(there)) == pytest.approx(plain, abs=0.1)  # a mean would be moved by millions


def test_ground_that_is_turned_is_no_other_ground() -> None:
    """Windows are turned in training: valleys that run elsewhere are the same to a network."""
    rng = np.random.default_rng(0)
    east, north = rng.normal(0.2, 0.1, 20_000), rng.normal(-0.05, 0.02, 20_000)
    kinds: Any = ["east", "north"]

    def facing(*normals: Any) -> AreaGround:
        return distance.described(["n_east", "n_north"], kinds, np.stack(normals).astype(np.float32), 1)

    branches = {"terrain": ["n_east", "n_north"]}
    (turned,) = distance.from_ground(facing(-north, east), [facing(east, north)], branches).values()
    assert max(turned.values()) == 0
    (steeper,) = distance.from_ground(facing(2 * east, 2 * north), [facing(east, north)], branches).values()
    assert min(steeper.values()) > 0.3


def test_bands_that_one_side_lacks_or_that_are_constant_take_no_part() -> None:
    there = ground(drawn(0), np.full(20_000, 7.0))
    assert set(distance.from_ground(ground(drawn(1), drawn(2)), [there], BRANCHES)) == {"optical"}
    assert distance.from_ground(ground(np.full(20_000, np.nan)), [there], BRANCHES) == {}
    assert distance.from_ground(ground(drawn(1)), [], BRANCHES) == {}
    (sole,) = distance.from_ground(ground(np.full(20_000, 7.0), drawn(1)), [there], BRANCHES).values()
    assert sole["red"] > 1  # constant here alone: it is compared


# ---- areas with labels -----------------------------------------------------------------------------------------------


def model(folds: dict[str, tuple[int, ...]], at: dict[str, float] | None = None) -> list[ModelFacts]:
    """Areas with the codes of their blocks' folds; each lies ``at`` standard deviations from the training ground, in optical alone."""
    at = at or {}
    grounds = {name: ground(drawn(number, at.get(name, 0.0)), drawn(number + 50)) for number, name in enumerate(folds)}
    areas = {name: FoldedArea(**_folded(codes)) for name, codes in folds.items() if TEST_AREA not in codes}
    known = examples.trained(grounds=grounds, areas=areas)
    return [
        ModelFacts(**vars(known), settings={"branches": BRANCHES}, embedding_dim=8, weights_sha256=sha)
        for sha in WEIGHTS
    ]


def _folded(codes: tuple[int, ...]) -> dict[str, Any]:
    return {name: getattr(examples.tiled_area(*codes), name) for name in FoldedArea.__dataclass_fields__}


def scores(
    areas: dict[str, float | None], test: dict[str, float | None] | None = None, landslide_frac: float = 0.1
) -> Metrics:
    def rows(ious: dict[str, float | None]) -> list[AreaScores]:
        part: dict[str, Any] = {"blocks": 3, "px": 900, "landslide_frac": landslide_frac, "no_prediction_px": 0}
        others = dict.fromkeys(
            [f"{of}_landslide_iou" for of in ("polygons", "slope_threshold", "pixel_classifier")], 0.1
        )
        return [AreaScores(area=area, hpcl_net_landslide_iou=iou, **others, **part) for area, iou in ious.items()]

    counts = Counts(blocks=9, px=900, landslide_frac=0.1, no_prediction_px=0, confidence_frac=0.9)
    none = MapScores()
    transfer = Maps(
        hpcl_net=none, polygons=none, slope_threshold=none, pixel_classifier=none, paired={}, counts=counts,
        areas=rows(test or {}), object_sizes=[], instances=[],
    )  # fmt: skip
    return examples.metrics(
        areas=rows(areas), counts=counts, transfer=transfer if test else None, weights_sha256=joint(WEIGHTS)
    )


def of(models: list[ModelFacts], metrics: Metrics | str, shift: float = 0.0) -> Passport:
    """The passport of an area that lies ``shift`` standard deviations off in optical."""
    here = ground(drawn(99, shift), drawn(98))
    return passport(distance.from_ground(here, distance.learnt(models[0]), BRANCHES), models, metrics)


def test_areas_are_compared_with_what_their_networks_learnt() -> None:
    """a and b share a fold that holds nothing else of others, so neither was learnt where the other is mapped; c is dealt by blocks;
    no area is compared with test areas."""
    models = model(
        {"a": (0, 0, OUTSIDE), "b": (0,), "c": (1, 2), "t": (TEST_AREA,)}, {"a": 0.0, "b": 5.0, "c": 1.0, "t": 9.0}
    )
    between = distance.between(models[0], BRANCHES)
    grounds = models[0].grounds
    for area, others in {"a": "c", "b": "c", "c": "ab", "t": "abc"}.items():
        assert between[area] == distance.from_ground(grounds[area], [grounds[one] for one in others], BRANCHES)
    assert distance.between(model({"a": (0, 1)})[0], BRANCHES) == {}


def test_a_branch_is_the_mean_of_its_bands_and_names_the_farthest() -> None:
    models = model({"a": (0,), "b": (1,)})
    known = passport({"optical": {"red": 0.2, "nir": 0.6}}, models, "Not scored.")
    (row,) = known.branches
    assert (row.mean, row.band, row.band_distance) == (pytest.approx(0.4), "nir", 0.6)
    assert "optical 0.40, most in nir (0.60); areas with labels lie" in passports.lines(known)[1]


# ---- the IoU to expect -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 12])
@pytest.mark.parametrize("confidence_frac", [0.8, 0.95])
def test_one_further_area_lies_in_the_interval_as_often_as_it_says(n: int, confidence_frac: float) -> None:
    rng, held = np.random.default_rng(n), []
    for _ in range(3000):
        *known, further = np.clip(rng.normal(0.5, 0.12, n + 1), 0, 1)
        low, high = prediction_interval(known, confidence_frac)
        assert 0 <= low <= high <= 1
        held.append(low <= further <= high)
    assert np.mean(held) == pytest.approx(confidence_frac, abs=0.02)


def test_the_interval_by_hand() -> None:
    reach = 2.919986 * 0.1 * np.sqrt(4 / 3)  # t of 2 degrees of freedom at 0.95
    assert prediction_interval([0.4, 0.5, 0.6], 0.9) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-5)
    assert prediction_interval([0.0, 0.5, 1.0], 0.95) == (0.0, 1.0)


def test_three_hidden_areas_bear_a_promise() -> None:
    models = model({"a": (0,), "b": (1,), "c": (2,)}, {"a": -0.5, "c": 0.5})
    known = of(models, scores({"a": 0.4, "b": 0.5, "c": 0.6}))
    assert known.expectation.startswith(
        "Landslide IoU to expect: 0.16 to 0.84, in 90% of areas like the 3 that were hidden"
    )
    assert "(a 0.40, b 0.50, c 0.60)" in known.expectation
    assert known.promises
    assert not known.warning


@pytest.mark.parametrize(
    ("folds", "areas", "test", "got"),
    [
        ({"a": (0, 1), "b": (1, 2)}, {"a": 0.4, "b": 0.5}, {}, ""),
        ({"a": (0, 1), "t": (TEST_AREA,)}, {"a": 0.4}, {"t": 0.33}, "t 0.33"),
        ({"a": (0,), "b": (1, 2)}, {"a": 0.44, "b": 0.5}, {}, "a 0.44"),
        ({"a": (0,), "b": (1,)}, {"a": 0.44, "b": 0.5}, {}, "a 0.44, b 0.50"),
        ({"a": (0,), "b": (1, 0), "t": (TEST_AREA,)}, {"a": 0.44, "b": 0.5}, {"t": 0.2}, "a 0.44, t 0.20"),
        ({"a": (0,), "b": (1,), "c": (2,)}, {"a": 0.44, "b": 0.5, "c": None}, {}, "a 0.44, b 0.50"),
    ],
)
def test_fewer_than_three_promise_nothing(folds: Any, areas: Any, test: Any, got: str) -> None:
    known = of(model(folds), scores(areas, test))
    assert known.expectation.startswith("Nothing can be promised about")
    assert not known.promises
    assert " to expect" not in known.expectation
    if got:
        assert f"hidden whole from what mapped {'them' if ',' in got else 'it'} ({got})" in known.expectation
    else:
        assert "tile.split: areas" in known.expectation
        assert "tile.test_areas" in known.expectation


def test_areas_without_landslides_say_nothing_of_the_iou() -> None:
    models = model({"a": (0,), "b": (1,), "c": (2,)})
    known = of(models, scores({"a": 0.0, "b": 0.0, "c": 0.0}, landslide_frac=0.0))
    assert "no area with landslides was hidden whole" in known.expectation


def test_scores_of_another_model_or_none_are_not_taken() -> None:
    models, metrics = model({"a": (0,), "b": (1,), "c": (2,)}), scores({"a": 0.4, "b": 0.5, "c": 0.6})
    others = [
        Metrics(**vars(metrics) | {"weights_sha256": sha}) for sha in (joint(WEIGHTS[::-1]), joint(WEIGHTS[:1]), None)
    ]
    for unknown in [*others, "Nobody scored it."]:
        known = of(models, unknown)
        assert known.expectation.startswith("Which landslide IoU to expect is not known: ")
        assert not known.promises
        assert "0.4" not in known.expectation


@pytest.mark.parametrize(("shift", "warned"), [(0.0, False), (0.9, False), (2.0, True), (-4.0, True)])
def test_an_area_farther_than_all_hidden_ones_is_warned_of(shift: float, warned: bool) -> None:
    models = model({"a": (0,), "b": (1,), "c": (2,)}, {"a": -1.0, "c": 1.0})
    known = of(models, scores({"a": 0.4, "b": 0.5, "c": 0.6}), shift)
    assert bool(known.warning) == warned
    assert ("in optical (" in known.warning) == warned
    assert known.promises != warned
    assert "does not hold here" in passports.lines(known)[-1] if warned else "to expect" in passports.lines(known)[-1]


def test_tile_describes_labelled_ground_and_each_area_by_itself() -> None:
    """Ground without labels takes no part, and a large area is read no closer than a sample needs."""
    values = np.stack([drawn(number)[:10_000].reshape(100, 100) for number in (0, 1)]).astype(np.float32)
    labels = np.zeros((100, 100), np.uint8)
    labels[:, 60:] = UNKNOWN
    values[:, :, 60:] += 1000
    block = SimpleNamespace(area="a", labelled_px=6000)
    known = [examples.tile_band("red"), examples.tile_band("slope")]
    tiler: Any = SimpleNamespace(
        blocks=[block, SimpleNamespace(area="b", labelled_px=10**9)], labels={"a": labels}, bands=known, kinds=["scalar"] * 2, _grounds={}
    )  # fmt: skip
    Tiler._describe(tiler, "a", values)
    found = tiler._grounds["a"]
    assert found.px == 6000
    np.testing.assert_allclose(found.bands["red"], np.quantile(values[0, :, :60], distance.LEVELS), rtol=1e-5)
    Tiler._describe(tiler, "unlabelled", values)
    assert list(tiler._grounds) == ["a"]


def test_only_hidden_areas_are_the_yardstick_of_the_warning() -> None:
    """d, dealt by blocks, lies far off; but nobody knows what a map of it would be worth to a network that never saw it."""
    models = model({"a": (0,), "b": (1,), "c": (2,), "d": (0, 1, 2)}, {"d": 6.0})
    assert of(models, scores({"a": 0.4, "b": 0.5, "c": 0.6, "d": 0.9}), 8.0).warning


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new area of bands red and slope, one standard deviation brighter than the model's areas, and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_stage, "_inputs", [])
    grid = raster.Grid((100, 120), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    for number, (path, name) in enumerate((("ingest/new/image.tif", "red"), ("terrain/new/terrain.tif", "slope"))):
        values = drawn(number, shift=1.0 - number)[:12_000].reshape(1, 100, 120).astype(np.float32)
        (tmp_path / "data" / path).parent.mkdir(parents=True)
        cog.write(tmp_path / "data" / path, raster.Raster(values, grid, (raster.Band(name),)))
    bands = [examples.BandFacts(name, "scalar", 0.0, 1.0) for name in ("red", "slope")]
    for fold, facts in enumerate(model({"a": (0,), "b": (1,), "c": (2,), "t": (TEST_AREA,)}, {"a": 1.5, "b": -1.5}), 1):
        known = ModelFacts(**vars(facts) | {"bands": bands, "fold": fold})
        write_json(tmp_path / f"data/model/{fold}/model.json", known)
    return tmp_path


def test_the_command_says_both(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main("new")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("passport: how far the bands lie")
    assert lines[1].startswith("passport:   optical 0.6")  # of a ground that is itself 1.5 wide
    assert lines[2].startswith("passport:   terrain 0.0")
    assert "not known: reports/evaluate/metrics.json does not exist" in lines[3]
    write_json(place / "reports/evaluate/metrics.json", scores({"a": 0.4, "b": 0.5, "c": 0.6}, {"t": 0.5}))
    stage.main("new")
    assert "Landslide IoU to expect: 0.29 to 0.71, in 90% of areas like the 4" in capsys.readouterr().out
    (place / "reports/evaluate/metrics.json").write_text("{")
    stage.main("new")  # a model may be used where its scores are not, or are no longer whole
    assert "not known: reports/evaluate/metrics.json is no sound JSON" in capsys.readouterr().out


@pytest.mark.parametrize("area", ["a", "t"])
def test_an_area_with_labels_is_scored_not_foretold(area: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main(area)
    assert "has labels, so its map was scored" in capsys.readouterr().out


def test_make_map_says_it_before_it_maps() -> None:
    recipe = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    steps = recipe.partition("for stage in ")[2].partition(";")[0].split()
    assert list(itertools.pairwise(steps))[-2:] == [("passport", "predict"), ("predict", "outline")]
