"""What the benchmarks of the audit measure with: errors are planted as they say, scores are right, and the simulated mapper helps."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from rasterio.features import rasterize
from shapely import affinity
from test_ingest import IMAGE, SETTINGS, UTM, square, write_polygons
from test_review import GRID, row, save

from benchmarks.planted import errors, mapper, rounds, scored, truth
from benchmarks.planted.errors import DISPLACED, FALSE, KEPT, planted
from benchmarks.planted.project import Project
from benchmarks.planted.scores import average_precision, brier, by_chance, score
from hpcl.core.artifacts import write_json
from hpcl.core.records import AuditFacts, LayerFacts, Promise
from hpcl.core.review import DOUBTFUL, LAYERS, OMISSIONS, OUTLINES
from hpcl.geo import vector
from hpcl.ingest.inventory import survey_vectors
from hpcl.settings.synthesize import SynthesizeSettings
from hpcl.synth import write
from hpcl.synth.sensors import scene
from stages import review
from stages._stage import params

ROOT = Path(__file__).parents[1]

EXTENT = shapely.box(0, 0, 3000, 3000)


def landslides(count: int) -> gpd.GeoDataFrame:
    """Ellipses on a lattice, none of them like another."""
    rng = np.random.default_rng(count)
    shapes = []
    for number in range(count):
        long, wide = rng.uniform(25, 50), rng.uniform(15, 25)
        one = affinity.scale(shapely.Point(0, 0).buffer(1), long, wide)
        row, column = divmod(number, 15)
        shapes.append(
            affinity.translate(affinity.rotate(one, rng.uniform(0, 180)), 150 + 190 * column, 150 + 190 * row)
        )
    return gpd.GeoDataFrame({"id": range(1, count + 1)}, geometry=shapes, crs=UTM)


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("count", [7, 29, 60])
def test_errors_are_planted_in_their_shares(count: int, seed: int) -> None:
    there = landslides(count)
    found = planted(there, EXTENT, seed)
    kinds = found.inventory["kind"].value_counts()
    assert len(found.omitted) == round(0.2 * count)
    assert kinds[DISPLACED] == round(0.15 * count)
    assert kinds[FALSE] == max(1, round(0.1 * count))
    assert kinds[KEPT] + kinds[DISPLACED] + len(found.omitted) == count
    assert found.omitted["i"].tolist() == np.random.default_rng(seed).permutation(count)[: len(found.omitted)].tolist()
    assert sorted([*found.omitted["i"], *found.inventory["truth"]])[kinds[FALSE] :] == list(range(count))
    for one in found.inventory.itertuples():
        assert EXTENT.contains(one.geometry)
        if one.kind == FALSE:
            assert there.distance(one.geometry).min() > errors.APART_M
            continue
        true = there.geometry[one.truth]
        far = one.geometry.centroid.distance(true.centroid) / np.sqrt(true.area)
        assert one.geometry.area == pytest.approx(true.area)
        assert (0.4 <= far <= 0.7) if one.kind == DISPLACED else one.geometry.equals_exact(true, 0)


def test_equal_seeds_plant_alike_and_others_do_not(tmp_path: Path) -> None:
    raw, ingested = tmp_path / "raw", tmp_path / "ingested"
    for folder in (raw, ingested):
        folder.mkdir()
        vector.write(folder / "landslides.gpkg", landslides(29))
    vector.write(raw / "labelled_extent.gpkg", gpd.GeoDataFrame({"id": [1]}, geometry=[EXTENT], crs=UTM))
    (raw / "truth.json").write_text("{}")
    (raw / "review.gpkg").write_text("a person's")
    found = []
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        out = tmp_path / name / "data/raw/area"
        errors.plant(raw, ingested, out, seed)
        assert sorted(path.name for path in out.iterdir()) == ["labelled_extent.gpkg", "landslides.gpkg", "truth.json"]
        found.append(errors.record(tmp_path / name, "area").read_bytes() + (out / "landslides.gpkg").read_bytes())
    assert found[0] == found[1] != found[2]


# ------------------------------------------------------------------------------------------------------------- scores


def by_definition(right: tuple[bool, ...], missed: int) -> float:
    """Precision at each right row, one after the other; 0 for each error that no row shows."""
    precisions = [sum(right[: rank + 1]) / (rank + 1) for rank in range(len(right)) if right[rank]]
    return sum(precisions) / (len(precisions) + missed)


@pytest.mark.parametrize("missed", [0, 1, 3])
@pytest.mark.parametrize(
    "right", [(True,), (False, True), (True, False, True, False), (False, False, True, True, True)]
)
def test_average_precision_and_chance_are_as_counted_by_hand(right: tuple[bool, ...], missed: int) -> None:
    assert average_precision(np.array(right), missed) == pytest.approx(by_definition(right, missed))
    orders = [by_definition(order, missed) for order in itertools.permutations(right)]
    assert by_chance(len(right), sum(right), missed) == pytest.approx(np.mean(orders))


def test_a_list_without_what_is_looked_for_scores_nothing_or_0() -> None:
    wrong = np.zeros(3, bool)
    assert np.isnan([average_precision(wrong), by_chance(3, 0), brier(wrong[:0], wrong[:0])]).all()
    assert average_precision(wrong, 2) == by_chance(3, 0, 2) == average_precision(wrong[:0], 1) == 0


@pytest.mark.parametrize(("low", "high", "held"), [(2, 4, True), (0, 2, True), (3, 4, False), (0, 1, False)])
def test_scores_of_a_list_are_as_counted_by_hand(low: float, high: float, held: bool) -> None:
    right, probability = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.4, 0.1])
    promise = Promise(rows=4, expected=2.2, low=low, high=high)
    found = score("omissions", right, probability, np.array([0.1, 0.7, 0.9, 0.2]), 1, promise)
    assert found.ap_audit == pytest.approx((1 + 2 / 3) / 2)
    assert found.ap_mean == pytest.approx((1 + 2 / 4) / 2)  # third, second, fourth, first
    assert found.ap0_audit == pytest.approx((1 + 2 / 3) / 3)
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.01) / 4)
    assert found.brier_share == pytest.approx(0.25)
    assert (found.rows, found.right, found.missed, found.held) == (4, 2, 1, held)
    assert score("omissions", right, probability, probability, 1, None).held is None


# ------------------------------------------------------------------------------------- the truth, and who knows it

# Landslides that are there: the second is drawn elsewhere, the third and the fourth nowhere; besides, one is drawn that is none.
THERE = [square(10, 10, 20), square(60, 10, 24), square(110, 10, 20), square(10, 60, 24)]
MOVED, MADE_UP = square(74, 18, 24), square(60, 70, 20)
DRAWN = [(THERE[0], KEPT, 0), (MOVED, DISPLACED, 1), (MADE_UP, FALSE, errors.NONE)]
SHOWN, BESIDE, HALF, REST = square(112, 12, 20), square(110, 80, 20), square(0, 60, 15), square(60, 10, 12)
ROWS = [
    row(OMISSIONS, SHOWN, "", probability=0.9), row(OMISSIONS, BESIDE, "", probability=0.3), row(OMISSIONS, REST, "", probability=0.2),
    row(DOUBTFUL, MADE_UP, "", of=MADE_UP, probability=0.7), row(DOUBTFUL, THERE[0], "", of=THERE[0], probability=0.1),
    row(OUTLINES, square(62, 12, 24), "", of=MOVED, probability=0.8), row(OUTLINES, square(12, 12, 20), "", of=THERE[0], probability=0.5),
]  # fmt: skip
TRUTH = truth.Truth(
    np.array(THERE, dtype=object), {vector.digest(shape): (kind, at) for shape, kind, at in DRAWN}, np.array([2, 3])
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one area, whose audit asks `ROWS`."""
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "data/raw/north"
    raw.mkdir(parents=True)
    write_polygons(raw / "landslides.gpkg", [shape for shape, *_ in DRAWN])
    write_polygons(raw / "labelled_extent.gpkg", [square(0, 0, 159)])
    (raw / "truth.json").write_text(json.dumps({"landslides": {"missed_ids": []}}))
    write_json(
        tmp_path / "data/ingest/north/facts.json",
        examples.area(area="north", shape=list(GRID.shape), transform=list(GRID.affine)[:6]),
    )
    (tmp_path / "data/audit/north").mkdir(parents=True)
    save(tmp_path / "data/audit/north", *ROWS)
    shapes, kinds, numbers = zip(*DRAWN, strict=True)
    drawn = gpd.GeoDataFrame({"kind": kinds, "truth": numbers}, geometry=list(shapes), crs=UTM)
    omitted = gpd.GeoDataFrame({"i": [2, 3]}, geometry=THERE[2:], crs=UTM)
    whole = gpd.GeoDataFrame({"i": range(4)}, geometry=THERE, crs=UTM)
    vector.write_layers(errors.record(tmp_path, "north"), {"inventory": drawn, "omitted": omitted, "truth": whole})
    vector.write(tmp_path / "data/ingest/north/landslides.gpkg", inventory())
    return tmp_path


def inventory() -> gpd.GeoDataFrame:
    """What `ingest` makes of the raw inventory and the answers."""
    return survey_vectors(Path("data/raw/north"), GRID, SETTINGS)[0].table


def test_what_the_synthetic_mapper_overlooked_is_true_as_well(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    settings = params("synthesize", SynthesizeSettings, file=ROOT / "params.yaml")
    world = scene(settings.areas["synthetic_south"], settings)
    mapped, facts = write.inventory(world, np.random.default_rng(0))
    (tmp_path / "data/raw/synthetic_south").mkdir(parents=True)
    (tmp_path / "data/raw/synthetic_south/truth.json").write_text(json.dumps({"landslides": facts}))
    layers = {"inventory": mapped.assign(kind=KEPT, truth=0), "omitted": mapped.assign(i=0)[:0], "truth": mapped}
    vector.write_layers(errors.record(tmp_path, "synthetic_south"), layers)
    known = truth.read(tmp_path, "synthetic_south")
    lacking = known.landslides[known.left_out]
    assert len(lacking) == len(facts["missed_ids"]) == len(world.slides) - len(mapped) > 0
    x, y = (shapely.get_coordinates(shapely.centroid(lacking)) - world.corner).T
    assert world.inside(x, y).all()
    assert not shapely.union_all(mapped.geometry.make_valid()).intersects(shapely.centroid(lacking)).any()


def drawn(shapes: Any) -> Any:
    return rasterize(list(shapes), out_shape=GRID.shape, transform=IMAGE, dtype="uint8") == 1


def iou() -> float:
    ours, theirs = drawn(inventory().geometry), drawn(THERE)
    return float((ours & theirs).sum() / (ours | theirs).sum())


def desk() -> mapper.Desk:
    return mapper.desk(Path(), "north", truth.read(Path(), "north"))


def test_rows_are_right_by_what_was_planted(project: Path) -> None:
    known = truth.read(project, "north")
    assert known.drawn == TRUTH.drawn
    assert known.left_out.tolist() == [2, 3]
    layers = desk().layers
    assert known.right(OMISSIONS, layers[OMISSIONS]).tolist() == [True, False, False]
    assert known.right(DOUBTFUL, layers[DOUBTFUL]).tolist() == [True, False]
    assert known.right(OUTLINES, layers[OUTLINES]).tolist() == [True, False]
    assert [known.missed(layer, layers[layer]) for layer in (OMISSIONS, DOUBTFUL, OUTLINES)] == [1, 0, 0]
    assert [known.missed(layer, layers[layer].iloc[1:]) for layer in (OMISSIONS, DOUBTFUL, OUTLINES)] == [2, 1, 1]


@pytest.mark.parametrize(
    ("inside_m", "beyond_m", "right", "missed"),
    [(10, 23, True, 0), (10, 24, False, 1), (24, 55, True, 0), (2, 0, True, 0)],
)
def test_a_candidate_is_right_from_three_tenths_on(inside_m: float, beyond_m: float, right: bool, missed: int) -> None:
    """A strip that reaches so far into a landslide that is left out, and so far beyond it; small ones lead there as well."""
    west, south, *_ = THERE[3].bounds
    strip = shapely.box(west - beyond_m, south, west + inside_m, south + 24)
    table = gpd.GeoDataFrame({"inventory_sha256": [""]}, geometry=[strip], crs=UTM)
    known = truth.Truth(TRUTH.landslides, TRUTH.drawn, np.array([3]))
    assert known.right(OMISSIONS, table).tolist() == [right]
    assert known.missed(OMISSIONS, table) == missed


def test_an_audit_is_scored_by_layer(project: Path) -> None:
    for layer, table in (layers := desk().layers).items():
        layers[layer] = table.assign(mean_probability=np.linspace(0.2, 0.6, len(table)))
    mapper.write(project, "north", layers)
    held, broken = (Promise(rows=3, expected=1.4, low=low, high=2) for low in (1, 2))
    facts = AuditFacts(
        omissions=LayerFacts(rows=3, promise=held),
        doubtful=LayerFacts(rows=2, promise=broken),
        outlines=LayerFacts(rows=2),
        findings=[],
    )
    write_json(project / "reports/audit/promises.json", facts)
    found = {one.layer: one for one in scored.scored(Project(project, ("north",)))}
    assert [one.held for one in found.values()] == [True, False, None]
    assert (found[OMISSIONS].ap_audit, found[OMISSIONS].ap0_audit) == (1, 0.5)
    assert found[OMISSIONS].ap_mean == pytest.approx(1 / 3)  # the right one has the lowest mean probability
    assert found[DOUBTFUL].ap_mean == 1  # of polygons that are none, the lowest comes first
    text = scored.summary(pd.DataFrame([{"seed": 0, **vars(one)} for one in found.values()]))
    assert "1.00 / 0.33 / 0.61" in text
    assert "| 1 of 1 |" in text
    assert "| 0 of 1 |" in text
    assert "| 0 of 0 |" in text


def test_the_rows_most_probably_right_come_first_whatever_their_layer(project: Path) -> None:
    rows = mapper.open_rows({"north": desk()})
    assert rows["layer"].tolist() == [OMISSIONS, OUTLINES, DOUBTFUL, OUTLINES, OMISSIONS, OMISSIONS, DOUBTFUL]
    chosen = rounds.first_rows({"north": desk()}, np.random.default_rng(0))["north"]
    assert all((chosen[layer]["decision"] != "").all() for layer in mapper.ASKED)
    mapper.write(project, "north", chosen)
    assert not len(mapper.open_rows({"north": desk()}))


@pytest.mark.parametrize(
    ("layer", "said"),
    [(OMISSIONS, ["redraw", "reject", "unsure"]), (DOUBTFUL, ["accept", "reject"]), (OUTLINES, ["redraw", "reject"])],
)
def test_answers_to_a_layer_bring_the_inventory_closer_to_the_truth(project: Path, layer: str, said: list[str]) -> None:
    before, one = iou(), desk()
    table = mapper.answered(one, layer, np.arange(len(one.layers[layer])))
    assert table["decision"].tolist() == said
    mapper.write(project, "north", one.layers | {layer: table})
    review.gather("north")
    assert iou() > before + 0.02
    assert {
        done.applied == done.rows for done in survey_vectors(Path("data/raw/north"), GRID, SETTINGS)[0].facts.review
    } == {True}


def test_all_answers_together_leave_only_what_nobody_asked(project: Path) -> None:
    mapper.write(project, "north", rounds.any_rows({"north": desk()}, np.random.default_rng(1))["north"])
    review.gather("north")
    np.testing.assert_array_equal(drawn(inventory().geometry), drawn(THERE[:3]))
    vector.write(project / "data/ingest/north/landslides.gpkg", inventory())
    assert desk().left_out.tolist() == [3]
    assert rounds.corrections(Project(project, ("north",))) == (7, 3)


def test_who_looks_at_any_landslides_corrects_those_that_are_wrong(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ROWS", 3)
    for _ in range(2):  # the second time all is right, and said once more
        mapper.write(project, "north", rounds.any_landslides({"north": desk()}, np.random.default_rng(0))["north"])
        review.gather("north")
        np.testing.assert_array_equal(drawn(inventory().geometry), drawn(THERE[:2]))
        save(project / "data/audit/north", *ROWS)
        vector.write(project / "data/ingest/north/landslides.gpkg", inventory())
        monkeypatch.setattr(rounds, "ROWS", 2)


def test_the_lead_of_the_first_is_that_within_seeds() -> None:
    rng, rows = np.random.default_rng(0), []
    gains = {"first": [0.02, 0.05, 0.03], "random": [0.01, 0.01, 0.02], "landslides": [0.0, 0.02, 0.01]}
    for seed in range(3):
        start = rng.uniform(0.3, 0.6)
        rows.append({"seed": seed, "arm": "start", "round": 0, "iou": start, "answers": 0, "corrections": 0})
        for arm, turn in itertools.product(gains, (1, 2)):
            score = start + gains[arm][seed] * turn / 2
            rows.append({"seed": seed, "arm": arm, "round": turn, "iou": score, "answers": 20 * turn, "corrections": 9})
    text = rounds.summary(pd.DataFrame(rows))
    leads = np.array([0.01, 0.04, 0.01])
    half = 4.302653 * leads.std(ddof=1) / np.sqrt(3)  # the 97.5 % quantile of Student's t with 2 degrees of freedom
    assert f"| {leads.mean():+.3f} [{leads.mean() - half:+.3f}, {leads.mean() + half:+.3f}] |" in text
    assert "9.0 of 40.0" in text


def test_every_layer_of_a_review_survives_the_mapper(project: Path) -> None:
    mapper.write(project, "north", desk().layers)
    assert [*desk().layers] == [*LAYERS]
