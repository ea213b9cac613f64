"""Folds: dealt by place, kept apart by a distance, landslides whole; against checks by brute force."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from examples import tiled_area
from scipy import ndimage

from hpcl.core.codes import MAX_FOLDS, OUTSIDE, TEST_AREA, UNKNOWN
from hpcl.core.records import TiledArea
from hpcl.settings.tile import TileError, TileSettings, check_areas
from hpcl.tiles import folds, lay, leaks
from hpcl.tiles.moments import Moments
from hpcl.tiles.write import overlaps

Mask = tuple[tuple[slice, slice], np.ndarray]


def settings(**changes: Any) -> TileSettings:
    numbers: dict[str, Any] = {
        "split": "blocks", "folds": 3, "test_areas": (), "window_px": 32, "stride_px": 8, "block_px": 64, "gap_px": 10,
        "minimum_valid_frac": 0.3, "seed": 0,
    }  # fmt: skip
    return TileSettings(**(numbers | changes))


def ground(shape: tuple[int, int] = (300, 260), seed: int = 0, slides: int = 24) -> np.ndarray:
    """Labels with round landslides strewn about, and a corner that nobody has mapped."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.uint8)
    for _ in range(slides):
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(4, 14)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 1
    labels[:90, :70] = UNKNOWN
    return labels


def objects(labels: np.ndarray) -> Iterator[Mask]:
    found, _ = ndimage.label(labels == 1)
    for number, roi in enumerate(ndimage.find_objects(found), start=1):
        yield roi, found[roi] == number


def dealt(labels: np.ndarray, chosen: TileSettings, area: str = "a") -> tuple[list[folds.Block], TiledArea]:
    blocks = folds.deal({area: folds.lay_blocks(area, labels, chosen.block_px)}, chosen)
    place = tiled_area(
        shape=list(labels.shape),
        tops=sorted({b.rows.start for b in blocks}),
        lefts=sorted({b.columns.start for b in blocks}),
        folds=[b.fold for b in blocks],
    )
    return blocks, place


def taught(labels: np.ndarray, chosen: TileSettings) -> tuple[list[folds.Block], TiledArea, np.ndarray]:
    blocks, place = dealt(labels, chosen)
    teaches = np.zeros(labels.shape, np.uint16)
    folds.teach(blocks, labels, chosen.folds, chosen.gap_px, teaches)
    folds.keep_whole(objects(labels), place, chosen.gap_px, teaches)
    return blocks, place, teaches


def painted(blocks: list[folds.Block], shape: tuple[int, int]) -> np.ndarray:
    """Fold codes, block by block."""
    codes = np.full(shape, OUTSIDE, np.uint8)
    for b in blocks:
        codes[b.rows, b.columns] = b.fold
    return codes


@pytest.mark.parametrize("shape", [(300, 260), (129, 640), (256, 256)])
@pytest.mark.parametrize("gap", [0, 1, 10, 17])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_network_learns_from_what_it_maps(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], gap: int, count: int
) -> None:
    """By distance transforms and pixel by pixel, not with the code under test; and nothing more is taken than must be."""
    labels, chosen = ground(shape), settings(gap_px=gap, block_px=60, folds=count)
    blocks, place, teaches = taught(labels, chosen)
    codes = painted(blocks, shape)
    np.testing.assert_array_equal(place.codes(slice(0, shape[0]), slice(0, shape[1])), codes)
    for code in range(count):
        seen = (codes == code).copy()
        for roi, mask in objects(labels):
            if (codes[roi][mask] == code).any() and len(set(codes[roi][mask].tolist()) - {OUTSIDE}) > 1:
                seen[roi] |= mask
        far = ndimage.distance_transform_cdt(~seen, "chessboard") >= max(gap, 1)
        wanted = far & (labels != UNKNOWN) & (codes != OUTSIDE)
        np.testing.assert_array_equal((teaches >> code & 1).astype(bool), wanted)
        windows = lay.lay_windows(place, labels, teaches, code, chosen)
        leaks.check_windows(place, windows, code, 32)
        assert set(windows.role) == {"train", "held"}
        for w in windows:
            inside = codes[w.row_px : w.row_px + 32, w.column_px : w.column_px + 32]
            assert (inside == code).all() if w.role == "held" else not (inside == code).any()
    with monkeypatch.context() as narrow:
        narrow.setattr("hpcl.windows.STRIP_PX", 50 * shape[1])
        leaks.check(place, teaches, objects(labels), chosen)


@pytest.mark.parametrize("strip_rows", [1, 40, 1000])
def test_every_kind_of_leak_is_caught(monkeypatch: pytest.MonkeyPatch, strip_rows: int) -> None:
    monkeypatch.setattr("hpcl.windows.STRIP_PX", strip_rows * 260)
    labels, chosen = ground(), settings()
    blocks, place, teaches = taught(labels, chosen)
    own = next(b for b in blocks if b.fold == 1 and b.rows.start > 0 and b.rows.stop < 300)
    planted = teaches.copy()
    planted[own.rows, own.columns] |= 0b010  # one block's labels teach the network that maps it
    with pytest.raises(TileError, match="the network of fold 2 learns from labels nearer than 10 px"):
        leaks.check(place, planted, [], chosen)
    for row in (own.rows.start - 4, own.rows.stop + 3):  # beside the block, perhaps in another strip
        planted = teaches.copy()
        planted[row, own.columns.start + 30] |= 0b010
        with pytest.raises(TileError, match="learns from labels nearer than 10 px"):
            leaks.check(place, planted, [], chosen)
    divided = (slice(0, 300), slice(0, 260)), np.ones((300, 260), bool)
    with pytest.raises(TileError, match="learns from a landslide that reaches into that fold"):
        leaks.check(place, teaches, [divided], replace(chosen, gap_px=0))
    stolen = np.array([("train", own.rows.start - 20, own.columns.start, 1.0, 0.0)], lay.WINDOW).view(np.recarray)
    with pytest.raises(TileError, match="a training window of the network of fold 2 shows that fold's ground"):
        leaks.check_windows(place, stolen, 1, 32)


def test_a_divided_landslide_teaches_none_of_its_folds() -> None:
    place = tiled_area(0, 1, 2, shape=[20, 30], lefts=[0, 10, 20])
    teaches = np.full((20, 30), 0b111, np.uint16)
    across = (slice(4, 6), slice(7, 12)), np.ones((2, 5), bool)
    whole = (slice(15, 17), slice(22, 25)), np.ones((2, 3), bool)
    assert folds.keep_whole([across, whole], place, 3, teaches) == 1
    expected = np.full((20, 30), 0b111)
    expected[2:8, 5:14] = 0b100  # and what is nearer than 3 px
    np.testing.assert_array_equal(teaches, expected)


@pytest.mark.parametrize("seed", range(6))
def test_an_edit_of_the_inventory_moves_no_fold(seed: int) -> None:
    """Ten landslides more and five less; a map of another part of the area; another area beside it."""
    rng = np.random.default_rng(seed)
    labels = ground((600, 500), seed, slides=300)
    edited = labels.copy()
    slides = list(objects(labels))
    for number in rng.choice(len(slides), 5, replace=False):
        roi, mask = slides[number]
        edited[roi][mask] = 0
    for row, column in rng.integers(0, 480, (10, 2)):
        edited[row : row + 9, column : column + 9] = 1
    edited[labels == UNKNOWN] = UNKNOWN
    chosen = settings(seed=seed)
    before = [b.fold for b in dealt(labels, chosen)[0]]
    assert [b.fold for b in dealt(edited, chosen)[0]] == before
    more_known = np.where(labels == UNKNOWN, 0, labels).astype(np.uint8)
    after = [b.fold for b in dealt(more_known, chosen)[0]]
    assert [b for a, b in zip(before, after, strict=True) if a != OUTSIDE] == [a for a in before if a != OUTSIDE]
    assert OUTSIDE in before
    assert OUTSIDE not in after
    both = {name: folds.lay_blocks(name, found, 64) for name, found in (("new", edited), ("a", labels))}
    assert [b.fold for b in folds.deal(both, chosen) if b.area == "a"] == before


@pytest.mark.parametrize("count", [2, 3, 4, 7, 10])
def test_folds_have_equal_shares_of_the_ground_and_lie_all_over_it(count: int) -> None:
    labels = ground((1200, 1000), seed=3)
    blocks = [b for b in dealt(labels, settings(folds=count))[0] if b.fold != OUTSIDE]
    numbers = np.bincount([b.fold for b in blocks], minlength=count)
    assert numbers.max() - numbers.min() <= 2  # of a group cut short, and of blocks without labels
    for code in range(count):
        rows = [b.rows.start for b in blocks if b.fold == code]
        assert max(rows) - min(rows) > 800


def test_the_folds_follow_from_seed_and_name() -> None:
    blocks = {"a": folds.lay_blocks("a", ground(), 60)}
    assert folds.deal(blocks, settings()) == folds.deal(blocks, settings())
    assert folds.deal(blocks, settings()) != folds.deal(blocks, settings(seed=1))
    other = [replace(b, area="b") for b in blocks["a"]]
    codes = [b.fold for b in folds.deal({"b": other}, settings())]
    assert codes != [b.fold for b in folds.deal(blocks, settings())]


def test_whole_areas_as_folds_and_test_areas_outside_them() -> None:
    labels = {name: ground(seed=seed) for seed, name in enumerate(("west", "far", "east", "south"))}
    laid = {name: folds.lay_blocks(name, found, 64) for name, found in labels.items()}
    blocks = folds.deal(laid, settings(split="areas", folds=2, test_areas=("far",)))
    codes = {name: {b.fold for b in blocks if b.area == name} - {OUTSIDE} for name in labels}
    assert codes == {"west": {0}, "far": {TEST_AREA}, "east": {1}, "south": {0}}
    place = tiled_area(TEST_AREA, shape=[300, 260])
    teaches = np.zeros((300, 260), np.uint16)
    folds.teach([b for b in blocks if b.area == "far"], labels["far"], 2, 10, teaches)
    assert not teaches.any()
    assert place.test
    assert not len(lay.lay_windows(place, labels["far"], teaches, 0, settings()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"test_areas": ("north",)}, "test_areas names north, but the labelled areas are a, b"),
        ({"test_areas": ("a", "b")}, "leave at least one to train on"),
        ({"split": "areas"}, "there are 2 for 3 folds"),
        ({"split": "areas", "folds": 2, "test_areas": ("b",)}, "there are 1 for 2 folds"),
    ],
)
def test_areas_that_cannot_be_dealt_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TileError, match=sentence):
        check_areas(settings(**changes), ["a", "b"], "labelled areas")


def test_landslides_shared_badly_are_told_with_a_better_seed() -> None:
    """The seed that is named is tried: with it the shares are those that were promised."""
    labels = np.zeros((512, 512), np.uint8)
    chosen = settings()
    blocks = dealt(labels, chosen)[0]
    sizes = {0: 20, 1: 20, 2: 1}
    for b in blocks:
        labels[b.rows.start : b.rows.start + sizes[b.fold], b.columns.start : b.columns.start + 20] = 1
    laid = {"a": folds.lay_blocks("a", labels, 64)}
    held = [sum(b.landslide_px for b in folds.deal(laid, chosen) if b.fold == code) for code in range(3)]
    (told,) = folds.told_of_shares(held, laid, chosen)
    assert re.match(r"Fold 3 holds \d\.\d% of the landslide ground, where 33% would be fair\.", told)
    better = int(re.search(r"tile\.seed (\d+)", told)[1])  # type: ignore[index]  # no match fails the test as well
    shares = [int(found) for found in re.findall(r"(\d+)%", told.split("would hold")[1])]
    redealt = folds.deal(laid, replace(chosen, seed=better))
    for code, share in enumerate(shares):
        mine = sum(b.landslide_px for b in redealt if b.fold == code)
        assert 100 * mine / sum(b.landslide_px for b in redealt) == pytest.approx(share, abs=0.51)
    assert folds.told_of_shares([10, 10, 6], laid, chosen) == []


def test_a_fold_without_landslide_is_refused() -> None:
    labels = np.zeros((256, 256), np.uint8)
    labels[10:20, 10:20] = 1
    laid = {"a": folds.lay_blocks("a", labels, 64)}
    with pytest.raises(TileError, match=r"Fold 2 holds no landslide.*Lower tile\.block_px"):
        folds.told_of_shares([100, 0, 0], laid, settings())


def test_unmapped_ground_teaches_nobody_and_keeps_its_fold() -> None:
    labels = ground()
    _, place, teaches = taught(labels, settings())
    assert not teaches[labels == UNKNOWN].any()
    codes = place.codes(slice(0, 300), slice(0, 260))
    assert (codes[labels == UNKNOWN] < MAX_FOLDS).any()  # beside labels in its block
    assert (codes[labels == UNKNOWN] == OUTSIDE).any()  # blocks without any


def test_windows_know_their_share_of_landslide() -> None:
    labels = ground()
    _, place, teaches = taught(labels, settings())
    for code in range(3):
        for w in lay.lay_windows(place, labels, teaches, code, settings())[::11]:
            roi = slice(w.row_px, w.row_px + 32), slice(w.column_px, w.column_px + 32)
            known = labels[roi] != UNKNOWN if w.role == "held" else (teaches[roi] >> code & 1).astype(bool)
            assert w.valid_frac == pytest.approx(known.mean())
            assert w.landslide_frac == pytest.approx((labels[roi][known] > 0).mean())


def test_statistics_are_of_training_ground_and_directions_share_one_scale() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal([[[5.0]], [[0.3]], [[-0.1]]], [[[2.0]], [[0.2]], [[0.4]]], (3, 60, 60)).astype(np.float32)
    values[0, :5] = np.nan
    mask = rng.random((60, 60)) < 0.5
    moments = Moments(3)
    for rows in (slice(0, 13), slice(13, 60)):
        moments.add(values[:, rows], mask[rows])
    scalar, east, north = moments.normalisation(["scalar", "east", "north"])
    assert scalar[0] == pytest.approx(np.nanmean(values[0][mask]), rel=1e-6)
    assert scalar[1] == pytest.approx(np.nanstd(values[0][mask]), rel=1e-6)
    assert east[0] == north[0] == 0
    assert east[1] == north[1] == pytest.approx(np.sqrt((values[1:][:, mask] ** 2).mean()), rel=1e-6)


def test_ground_that_two_areas_share_in_different_folds_is_told() -> None:
    """Two images of one place: what a network learnt in one it maps in the other."""
    boxes = [
        shapely.box(0, 0, 100, 100),
        shapely.box(100, 0, 200, 100),
        shapely.box(50, 0, 100, 100),
        shapely.box(150, 0, 250, 100),
    ]
    table = gpd.GeoDataFrame(
        {"area": ["a", "a", "b", "b"], "fold": ["1", "2", "2", "2"], "labelled_px": [9, 9, 9, 9]},
        geometry=boxes,
        crs="EPSG:32648",
    )
    (told,) = overlaps(table)
    assert told.startswith("a and b share 0.005 km2 of ground in different folds")
    assert overlaps(table[table["area"] == "a"]) == []
    table.loc[2, "labelled_px"] = 0
    assert overlaps(table) == []
