"""An audit of a planted inventory: what was left out, made up or displaced is found, and as often as was promised."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy import ndimage
from shapely import affinity

from hpcl.audit import area, mixture, next_ground, omissions, outlines, placed, rows, shift
from hpcl.audit.mixture import Mixture, Objects
from hpcl.audit.rows import Answered
from hpcl.calibration import counts
from hpcl.calibration.counts import LEVELS, Counts
from hpcl.core import artifacts
from hpcl.core.codes import UNKNOWN
from hpcl.core.records import AuditFacts
from hpcl.core.review import COLUMNS, LAYERS
from hpcl.geo import cog, raster, vector
from hpcl.outline.mapped import Mapped
from stages import _stage
from stages import audit as stage

SIDE, PIXEL_M = 450, 2.0
AFFINE = Affine(PIXEL_M, 0, 500000, 0, -PIXEL_M, 4000000)
GRID = raster.Grid((SIDE, SIDE), AFFINE, examples.CRS)
TERRAIN = [raster.Band(name) for name in ("slope", "n_east", "n_north", "hillshade")]
EXTENT = shapely.box(500000, 4000000 - SIDE * PIXEL_M, 500000 + SIDE * PIXEL_M, 4000000)


def ellipse(rng: np.random.Generator) -> shapely.Polygon:
    x, y = rng.uniform(60, SIDE * PIXEL_M - 60, 2)
    shape = affinity.scale(shapely.Point(500000 + x, 4000000 - y).buffer(20), 1, rng.uniform(1.2, 2.0))
    return affinity.rotate(shape, rng.uniform(0, 180))


def apart(count: int, rng: np.random.Generator, taken: list[Any], gap_m: float = 30.0) -> list[shapely.Polygon]:
    """Shapes that lie apart from each other and from those that are ``taken``."""
    found: list[shapely.Polygon] = []
    while len(found) < count:
        shape = ellipse(rng)
        if EXTENT.contains(shape) and all(shape.distance(other) > gap_m for other in (*taken, *found)):
            found.append(shape)
    return found


def drawn(shapes: Any, value: float = 1.0) -> Any:
    return rasterize([(s, value) for s in shapes], (SIDE, SIDE), transform=AFFINE, dtype="float32")


class Planted:
    """A project whose map knows the truth well, and whose inventory has errors of each kind."""

    def __init__(self, root: Path, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.truth = apart(36, rng, [], 20.0)
        alarms = apart(5, rng, self.truth, 20.0)
        self.left_out, displaced, kept = self.truth[:7], self.truth[7:12], self.truth[12:]
        self.false = apart(4, rng, self.truth + alarms, 20.0)
        self.displaced = [affinity.translate(s, 0.6 * s.area**0.5) for s in displaced]
        self.inventory = [*kept, *self.displaced, *self.false]
        surface = drawn(self.truth) * rng.uniform(0.6, 1.0, (SIDE, SIDE)) + drawn(alarms, 0.5)
        noise = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 6)
        self.probability = np.clip(ndimage.gaussian_filter(surface, 2) + 0.8 * noise, 0.01, 0.99).astype("float32")
        self.write(root)

    def write(self, root: Path, unlabelled: slice = slice(0, 0)) -> None:
        """``unlabelled``: columns that nobody has mapped."""
        network = np.repeat([[1, 2, 3]], SIDE // 3, axis=1).astype(np.uint8).repeat(SIDE, axis=0)
        with (
            cog.create(root / "data/predict/place/probability.tif", GRID, [raster.Band("probability"), raster.Band("uncertainty")]) as sink,
            cog.create(root / "data/predict/place/network.tif", GRID, [raster.Band("network")], "uint8", 255) as codes,
            cog.create(root / "data/ingest/place/labels.tif", GRID, [raster.Band("label")], "uint8", UNKNOWN) as labels,
            cog.create(root / "data/terrain/place/terrain.tif", GRID, TERRAIN) as terrain,
            cog.create(root / "data/coregister/place/dem.tif", GRID, [raster.Band("elevation")]) as dem,
        ):  # fmt: skip
            everything = slice(0, SIDE), slice(0, SIDE)
            sink.write(np.stack([self.probability, np.sqrt(self.probability * (1 - self.probability)) / 4]), everything)
            codes.write(network[None], everything)
            terrain.write(np.full((4, SIDE, SIDE), 0.5, "float32"), everything)
            dem.write(np.full((1, SIDE, SIDE), 100.0, "float32"), everything)
            label = drawn(self.inventory).astype(np.uint8)
            label[:, unlabelled] = UNKNOWN
            labels.write(label[None], everything)
        table = gpd.GeoDataFrame(
            {"id": np.arange(1, len(self.inventory) + 1), "class": "landslide"},
            geometry=self.inventory,
            crs=examples.CRS,
        )
        vector.write(root / "data/ingest/place/landslides.gpkg", table)
        counts.write(root / "data/calibrate", best_at(0.4))
        artifacts.write_json(root / "data/predict/place/facts.json", examples.mapped(area="place"))


def best_at(probability: float) -> Counts:
    """Counts of three folds of which the best threshold is this one."""
    found = Counts(np.zeros((3, 2, LEVELS), np.int64), np.zeros((4, LEVELS), np.int64))
    level = round(probability * (LEVELS - 1))
    found.histogram[:, 0, level - 1] = found.histogram[:, 1, level] = 100
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_stage, "_inputs", [])
    (tmp_path / "params.yaml").write_text(
        "areas: [place]\naudit: {promise_frac: 0.9, next_cells: 4, next_cell_px: 100}\n"
        "outline: {neck_frac: 0.0, minimum_area_m2: 200.0, simplify_px: 0.0}\n"
    )
    return tmp_path


def review(root: Path) -> dict[str, gpd.GeoDataFrame]:
    return {layer: vector.read(root / "data/audit/place/review.gpkg", layer) for layer in LAYERS}


def right(table: gpd.GeoDataFrame, shapes: list[Any]) -> Any:
    """Which rows lie over one of the shapes."""
    whole = shapely.union_all(shapes)
    return (table.geometry.intersection(whole).area / table.geometry.area > 0.3).to_numpy()


def average_precision(hits: Any, total: int) -> float:
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits).sum() / total)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_errors_come_first(project: Path, seed: int) -> None:
    planted = Planted(project, seed)
    stage.main()
    asked = review(project)
    hits = right(asked["omissions"], planted.left_out)
    assert average_precision(hits, len(planted.left_out)) >= 0.7
    hits = right(asked["doubtful"], planted.false)
    assert average_precision(hits, len(planted.false)) >= 0.7
    wrong = {shape.wkb for shape in planted.displaced}
    numbers = {n + 1 for n, shape in enumerate(planted.inventory) if shape.wkb in wrong}
    # those that the map does not show where they are drawn may be told as doubtful as well
    told = asked["outlines"].head(len(wrong))["inventory_id"]
    assert len(set(told) & numbers) >= len(wrong) - 1
    truth = shapely.union_all(planted.truth)
    before = {n + 1: outlines.iou(shape, truth) for n, shape in enumerate(planted.inventory)}
    found = asked["outlines"][asked["outlines"]["inventory_id"].isin(numbers)]
    assert all(outlines.iou(row.geometry, truth) > before[row.inventory_id] for row in found.itertuples())


def test_rows_are_whole_and_know_what_they_speak_of(project: Path) -> None:
    planted = Planted(project, 3)
    stage.main()
    for layer, table in review(project).items():
        assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS), layer
        assert table["rank"].tolist() == list(range(1, len(table) + 1))
        assert table["id"].is_unique
        assert (table["decision"] == "").all()
        assert table["reason"].str.endswith(".").all()
        assert (table["weights_sha256"] == "ab" * 32).all()
        if layer != "next":
            assert table["probability"].is_monotonic_decreasing
            assert table["probability"].between(0, 1).all()
    doubtful = review(project)["doubtful"]
    for row in doubtful.itertuples():
        own = planted.inventory[row.inventory_id - 1]
        assert row.inventory_sha256 == vector.digest(own)
        assert row.geometry.equals(own)


def test_equal_bytes(project: Path) -> None:
    Planted(project, 4)
    folder = Path("data/audit/place")
    files = [folder / "review.gpkg", folder / "place.qgs", Path("reports/audit/promises.json")]
    stage.main()
    before = [file.read_bytes() for file in files]
    stage.main()
    assert [file.read_bytes() for file in files] == before


def test_the_promise_stands_in_the_metrics(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Planted(project, 5)
    stage.main()
    facts = artifacts.read_json(Path("reports/audit/promises.json"), AuditFacts)
    promise = facts.omissions.promise
    assert promise is not None
    table = review(project)["omissions"]
    assert promise.rows == facts.omissions.rows == len(table)
    assert promise.expected == pytest.approx(table["probability"].sum(), rel=1e-6)
    assert promise.low <= promise.expected <= promise.high
    assert f"of {promise.rows} candidates" in capsys.readouterr().out
    json.loads(Path("reports/audit/promises.json").read_text())


def answer(root: Path, table: gpd.GeoDataFrame, layer: str, decisions: list[str]) -> None:
    """As `ingest` hands answers on."""
    answered = table.head(len(decisions)).assign(decision=decisions, note="seen", applied=True)
    answered.loc[len(decisions) - 1, "applied"] = False
    layers = {name: answered if name == layer else answered.iloc[:0] for name in LAYERS}
    vector.write_layers(root / "data/ingest/place/review.gpkg", layers)


def test_what_was_answered_is_not_asked_again_and_what_was_left_unsure_is(project: Path) -> None:
    planted = Planted(project, 6)
    stage.main()
    first = review(project)["omissions"]
    answer(project, first, "omissions", ["accept", "reject", "unsure", "redraw", "accept"])
    stage.main()
    second = review(project)["omissions"]
    assert set(first["id"]) - set(second["id"]) >= set(first["id"].iloc[[0, 1, 3]])
    (again,) = second[second["id"] == first["id"].iloc[2]].itertuples()
    assert (again.decision, again.note) == ("unsure", "seen")
    (lost,) = second[second["id"] == first["id"].iloc[4]].itertuples()  # what could not be applied
    assert lost.decision == ""
    facts = artifacts.read_json(Path("reports/audit/promises.json"), AuditFacts)
    assert facts.omissions.answers is not None
    assert (facts.omissions.answers.rows, facts.omissions.answers.right) == (3, 2)
    assert facts.omissions.answers.expected == pytest.approx(first["probability"].iloc[[0, 1, 3]].sum(), rel=1e-6)
    assert facts.doubtful.answers is None
    assert len(review(project)["doubtful"]) > 0
    assert planted.left_out


def test_an_answer_holds_for_its_layer_and_for_an_outline_that_changed_a_little() -> None:
    shape = shapely.box(0, 0, 10, 10)
    table = gpd.GeoDataFrame({"layer": ["omissions"], "decision": ["reject"]}, geometry=[shape])
    shapes = np.array(
        [shape, affinity.translate(shape, 2), affinity.translate(shape, 8), shapely.box(50, 50, 60, 60)], dtype=object
    )
    assert Answered(table).covers("omissions", shapes).tolist() == [0, 0, -1, -1]
    assert Answered(table).covers("doubtful", shapes).tolist() == [-1] * 4


def test_too_few_landslides_promise_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted = Planted(project, 7)
    planted.inventory = planted.inventory[:3]
    planted.write(project)
    stage.main()
    facts = artifacts.read_json(Path("reports/audit/promises.json"), AuditFacts)
    assert facts.doubtful.promise is None
    assert facts.doubtful.rows == 3
    assert review(project)["doubtful"]["probability"].isna().all()
    assert "too little is known to say" in capsys.readouterr().out


@pytest.mark.parametrize("seen_frac", [0.0, 0.15])
def test_a_map_that_hardly_tells_landslides_from_background_promises_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], seen_frac: float
) -> None:
    planted, rng = Planted(project, 10), np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 8)
    seen = drawn(planted.truth[: int(seen_frac * len(planted.truth))])
    planted.probability = np.clip(0.35 + blurred / blurred.std() * 0.1 + 0.3 * seen, 0.01, 0.99).astype("float32")
    planted.write(project)
    stage.main()
    facts = artifacts.read_json(Path("reports/audit/promises.json"), AuditFacts)
    assert [facts.layer(layer).promise for layer in ("omissions", "doubtful", "outlines")] == [None] * 3
    assert "hardly tells the landslides of the inventory" in facts.findings[0]
    assert facts.findings[0] in capsys.readouterr().out
    assert review(project)["doubtful"]["probability"].isna().all()


def test_where_nothing_says_whether_the_map_is_blind_nothing_is_promised(project: Path) -> None:
    planted = Planted(project, 11)
    near = drawn([shape.buffer(8) for shape in planted.inventory]) > 0
    columns = slice(0, SIDE)
    planted.write(project, columns)  # nobody knows anything
    with raster.Source(project / "data/ingest/place/labels.tif") as source:
        grid = source.grid
    label = np.where(near, drawn(planted.inventory), UNKNOWN).astype(np.uint8)  # but for a narrow rim
    with cog.create(project / "data/ingest/place/labels.tif", grid, [raster.Band("label")], "uint8", UNKNOWN) as sink:
        sink.write(label[None], (columns, columns))
    stage.main()
    facts = artifacts.read_json(Path("reports/audit/promises.json"), AuditFacts)
    assert [facts.layer(layer).promise for layer in ("omissions", "doubtful", "outlines")] == [None] * 3
    assert "nobody can tell whether the map knows one from the other" in facts.findings[0]


def test_an_area_without_inventory_is_all_unlabelled(project: Path) -> None:
    Planted(project, 8)
    for name in ("landslides.gpkg", "labels.tif"):
        (project / "data/ingest/place" / name).unlink()
    stage.main()
    asked = review(project)
    assert (asked["omissions"]["unlabelled_frac"] == 1).all()
    assert len(asked["omissions"]) > 15
    assert len(asked["next"]) == 4
    assert len(asked["doubtful"]) == len(asked["outlines"]) == 0


def test_ground_that_nobody_has_mapped_is_asked_about_with_other_odds(project: Path) -> None:
    planted = Planted(project, 9)
    unlabelled = slice(300, SIDE)
    west = shapely.box(*EXTENT.bounds[:2], 500000 + 300 * PIXEL_M, EXTENT.bounds[3])
    planted.inventory = [shape for shape in planted.inventory if west.contains(shape)]
    planted.write(project, unlabelled)
    stage.main()
    asked = review(project)["omissions"]
    new = asked[asked["unlabelled_frac"] > 0.5]
    true = right(new, planted.truth)
    assert true.sum() >= 6
    assert abs(new["probability"].sum() - true.sum()) <= 4
    squares = review(project)["next"]
    assert len(squares) == 4
    assert (squares.geometry.bounds["minx"] >= 500000 + 300 * PIXEL_M).all()
    assert squares["expected_landslides"].gt(0).all()


# ---- the mixture -----------------------------------------------------------------------------------------------------


def objects(rng: np.random.Generator, count: int, far: float) -> Objects:
    features = rng.normal(size=(count, 3))
    features[:, 0] += far
    return Objects(features, rng.integers(1, 4, count))


@pytest.mark.parametrize("selected", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_promise_holds_as_often_as_it_says(share: float, selected: bool) -> None:
    held, expected, rng = [], [], np.random.default_rng(0)
    for _ in range(20):
        count = int(rng.binomial(40, share))
        known = objects(rng, 45, 2.5)
        like, other = objects(rng, count, 2.5), objects(rng, 40 - count, -0.5)
        unknown = mixture.joined([like, other])
        likenesses = [mixture.likeness(known, unknown, some) for some in (known, unknown)]
        both = Mixture(*likenesses, selected)
        chances = [both.probability(both.unknown, one) for one in both.shares]
        draws = np.array([(rng.random(40) < chance).sum() for chance in chances])
        low, high = np.quantile(draws, [0.05, 0.95], method="nearest")
        held.append(low <= count <= high)
        expected.append(np.mean(chances, axis=0).sum() - count)
    assert np.mean(held) >= 0.75
    assert abs(np.mean(expected)) < (4 if selected else 3)


def test_where_others_look_like_the_known_a_promise_of_selected_objects_reaches_down_to_the_truth_more_often() -> None:
    held: dict[bool, list[bool]] = {False: [], True: []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        known, unknown = rng.normal(0.5, 1, 60), np.concatenate([rng.normal(0.5, 1, 15), rng.normal(0, 1, 45)])
        for selected, found in held.items():
            found.append(np.quantile(Mixture(known, unknown, selected).shares, 0.05) <= 15 / 60)
    assert np.mean(held[True]) >= np.mean(held[False]) + 0.3


def test_no_fold_is_judged_by_what_was_learnt_on_it() -> None:
    rng = np.random.default_rng(1)
    known, unknown = objects(rng, 30, 1.0), objects(rng, 30, -1.0)
    before = mixture.likeness(known, unknown, unknown)
    turned = Objects(np.where((known.network == 2)[:, None], -50.0, known.features), known.network)
    after = mixture.likeness(turned, unknown, unknown)
    own = unknown.network == 2
    assert np.array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])


def test_probabilities_make_up_the_share() -> None:
    both = Mixture(np.linspace(0, 4, 30), np.linspace(-6, 3, 50))
    for share in (0.01, 0.3, 0.99):
        assert both.probability(both.unknown, share).mean() == pytest.approx(share, abs=1e-6)
    assert (both.probability(both.unknown, 1.0) == 1).all()


# ---- shapes ----------------------------------------------------------------------------------------------------------


def test_parts_that_reach_beyond_the_inventory_are_candidates_and_slivers_are_none() -> None:
    known = shapely.box(0, 0, 40, 40)
    merged, sliver, alone = shapely.box(0, 0, 100, 40), shapely.box(-5, 100, 45, 145), shapely.box(200, 0, 240, 40)
    inventory = np.array([known, shapely.box(0, 100, 40, 140)], dtype=object)
    found = omissions.candidates(np.array([merged, sliver, alone], dtype=object), inventory, 400.0)
    assert found.mapped.tolist() == [2, 0]
    assert found.whole.tolist() == [True, False]
    assert found.shapes[1].area == pytest.approx(60 * 40, rel=0.05)


@pytest.mark.parametrize(("east_px", "north_px"), [(0, 0), (9, 0), (-4, 7), (0, -11)])
def test_a_move_is_found_to_the_pixel(tmp_path: Path, east_px: int, north_px: int) -> None:
    planted = Planted(tmp_path, 10)
    shapes = [affinity.translate(s, -east_px * PIXEL_M, -north_px * PIXEL_M) for s in planted.truth[12:25]]
    with Mapped(tmp_path / "data/predict/place/probability.tif", examples.thresholds(0.4, 0.4, 0.4)) as mapped:
        moves = shift.shifts(mapped, np.array(shapes, dtype=object))
    assert np.median(moves.east_m) == pytest.approx(east_px * PIXEL_M, abs=PIXEL_M)
    assert np.median(moves.north_m) == pytest.approx(north_px * PIXEL_M, abs=PIXEL_M)


def test_copies_lie_on_background_alone(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 11)
    label = drawn(planted.inventory).astype(np.uint8)
    shapes = np.array(planted.inventory, dtype=object)
    copies = placed.elsewhere(shapes, GRID, lambda roi: label[roi] == 0)
    assert len(copies) > 5 * len(shapes)
    assert not (drawn(copies) * label).any()
    assert np.allclose(np.sort(shapely.area(copies))[-1], shapely.area(shapes).max())
    moved = placed.displaced(shapes)
    far = shapely.distance(shapely.centroid(moved), shapely.centroid(shapes)) / np.sqrt(shapely.area(shapes))
    low, high = placed.OFFSETS
    assert ((far >= low - 1e-9) & (far <= high + 1e-9)).all()


def test_next_squares_are_those_that_teach_most() -> None:
    rng = np.random.default_rng(2)
    probability, doubt = rng.random((230, 310)), rng.random((230, 310))
    probability[:50, :40] = np.nan
    bare = rng.random((230, 310)) < 0.7
    grid = raster.Grid((230, 310), AFFINE, examples.CRS)
    found = next_ground.squares(grid, lambda r: (probability[r], doubt[r], bare[r]), 50, 3)
    worth = {}
    for i in range(0, 230, 50):
        for j in range(0, 310, 50):
            cell = slice(i, i + 50), slice(j, j + 50)
            counts = bare[cell] & np.isfinite(probability[cell])
            if counts.sum() >= 0.25 * 2500:
                worth[i // 50, j // 50] = doubt[cell][counts].mean() * probability[cell][counts].sum()
    best = max(worth, key=lambda cell: worth[cell])
    assert found.shapes[0].bounds[0] == 500000 + best[1] * 50 * PIXEL_M
    assert found.shapes[0].bounds[3] == 4000000 - best[0] * 50 * PIXEL_M
    cells = [(round((4000000 - s.bounds[3]) / 100), round((s.bounds[0] - 500000) / 100)) for s in found.shapes]
    assert len(set(cells)) == 3
    for one, other in pairwise(cells):
        assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 1


@pytest.mark.parametrize("count", [0, 1, 20, 1000])
def test_as_many_squares_as_there_are_at_most(count: int) -> None:
    ones = np.full((100, 100), 0.5)
    grid = raster.Grid((100, 100), AFFINE, examples.CRS)
    found = next_ground.squares(grid, lambda r: (ones[r], ones[r], ones[r] > 0), 25, count)
    assert len(found.shapes) == min(count, 16)
    assert len({shape.wkb for shape in found.shapes}) == len(found.shapes)


def test_directions() -> None:
    assert [area.compass(*move) for move in ((0, 1), (1, 0), (-1, -1), (3, -3))] == [
        "north",
        "east",
        "south-west",
        "south-east",
    ]


def test_ids_are_those_of_the_question() -> None:
    table = gpd.GeoDataFrame(
        {"probability": [0.4, 0.9], "likeness": 0.0},
        geometry=[shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1)],
        crs=examples.CRS,
    )
    ids = rows._ranked("doubtful", table)["id"].tolist()
    assert ids == rows._ranked("doubtful", table.iloc[::-1])["id"].tolist()
    assert all(one.startswith("doubtful-") for one in ids)


@pytest.mark.parametrize("probability", [1.0, np.nan])
def test_what_is_equally_probable_is_ranked_by_likeness(probability: float) -> None:
    table = gpd.GeoDataFrame(
        {"probability": [probability] * 4, "likeness": [-1.0, 3.0, 0.5, 2.0], "inventory_id": range(4)},
        geometry=[shapely.box(x, 0, x + 1, 1) for x in range(4)],
        crs=examples.CRS,
    )
    ranked = rows._ranked("doubtful", table)
    assert ranked["inventory_id"].tolist() == [1, 3, 2, 0]
    assert "likeness" not in ranked
