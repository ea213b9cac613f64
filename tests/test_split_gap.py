"""The gap between splits is a distance, also where blocks without labels lie between; ground is lost only where it must be."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, sparse
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from hpcl.core.codes import GAP, OUTSIDE, SPLITS, UNKNOWN
from hpcl.settings.tile import TileSettings
from hpcl.tiles import split
from hpcl.tiles.split import Block, check, keep_whole, lay_blocks, paint

NO_WINDOWS = np.empty(0, split.WINDOW).view(np.recarray)
DENSE, SPARSE = 1.0, 0.5


def pattern(seed: int, block_px: int, filled: float) -> tuple[np.ndarray, list[Block]]:
    """Labels of an odd shape, in which a share of the blocks is labelled, some of them in a part of their pixels only."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rng.integers(4 * block_px, 7 * block_px, 2)) < 0.3).astype(np.uint8)
    for b in lay_blocks("a", labels, block_px):
        if rng.random() >= filled:
            labels[b.rows, b.columns] = UNKNOWN
        elif filled < 1 and rng.random() < 0.5:
            part = labels[b.rows, b.columns]
            part[rng.random(part.shape) < rng.choice([0.3, 0.97])] = UNKNOWN
    blocks = lay_blocks("a", labels, block_px)
    return labels, [replace(b, split=rng.choice(SPLITS) if b.labelled_px else "") for b in blocks]


def painted(labels: np.ndarray, blocks: list[Block], gap_px: int) -> np.ndarray:
    split_map, numbers = np.empty(labels.shape, np.uint8), np.empty(labels.shape, np.int32)
    paint(blocks, labels, gap_px, split_map, numbers)
    return split_map


def strips_alone(labels: np.ndarray, blocks: list[Block], gap_px: int) -> np.ndarray:
    """Half the gap on either side, by a distance transform of the whole ground."""
    out = np.full(labels.shape, OUTSIDE, np.uint8)
    for b in blocks:
        if b.split:
            out[b.rows, b.columns] = SPLITS.index(b.split)
    whole = out.copy()
    for code in range(3):
        if (others := (whole != code) & (whole != OUTSIDE)).any():
            near = ndimage.distance_transform_cdt(~others, "chessboard") <= -(-gap_px // 2)
            out[(whole == code) & near] = GAP
    out[labels == UNKNOWN] = OUTSIDE
    return out


def least_distance_px(split_map: np.ndarray) -> int:
    """Chebyshev, between the pixels of any two splits, over all pairs of them."""
    trees = [cKDTree(places) for code in range(3) if len(places := np.argwhere(split_map == code))]
    pairs = ((a, b) for i, a in enumerate(trees) for b in trees[:i])
    return min((int(a.query(b.data, p=np.inf)[0].min()) for a, b in pairs), default=2**31)


def least_loss_px(split_map: np.ndarray, gap_px: int) -> list[int]:
    """For each two splits, how many pixels must go so that no pair is nearer than the gap (Koenig: the largest matching)."""
    places = [np.argwhere(split_map == code) for code in range(3)]
    losses = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        near = [] if not len(places[b]) else cKDTree(places[b]).query_ball_point(places[a], gap_px - 1, p=np.inf)
        rows = np.repeat(np.arange(len(near)), [len(found) for found in near])
        columns = [column for found in near for column in found]
        graph = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(places[a]) + 1, len(places[b]) + 1))
        losses.append(int((maximum_bipartite_matching(graph) >= 0).sum()))
    return losses


CASES = [(seed, block_px, gap_px) for seed in range(4) for block_px, gap_px in (
    (11, 0), (11, 1), (9, 2), (12, 3), (13, 4), (16, 7), (16, 8), (10, 13), (9, 18), (7, 30),
)]  # fmt: skip


@pytest.mark.parametrize(("seed", "block_px", "gap_px"), CASES)
def test_no_two_splits_come_nearer_than_the_gap(seed: int, block_px: int, gap_px: int) -> None:
    labels, blocks = pattern(seed, block_px, SPARSE)
    split_map, before = painted(labels, blocks, gap_px), strips_alone(labels, blocks, gap_px)
    assert least_distance_px(split_map) >= max(gap_px, 1)
    check(NO_WINDOWS, split_map, [], gap_px, 32)
    np.testing.assert_array_equal(split_map == OUTSIDE, before == OUTSIDE)
    gone = split_map != before
    assert (split_map[gone] == GAP).all()
    for code in range(3):  # only ground that was too near to another split goes
        others = (before < GAP) & (before != code)
        far = ndimage.distance_transform_cdt(~others, "chessboard") >= gap_px if others.any() else ~others
        assert not (gone & far & (before == code)).any()


@pytest.mark.parametrize(("seed", "block_px", "gap_px"), CASES)
def test_nothing_more_is_lost_where_everything_is_labelled(seed: int, block_px: int, gap_px: int) -> None:
    labels, blocks = pattern(seed, block_px, DENSE)
    np.testing.assert_array_equal(painted(labels, blocks, gap_px), strips_alone(labels, blocks, gap_px))


@pytest.mark.parametrize("seed", range(12))
def test_hardly_more_is_lost_than_must_be(seed: int) -> None:
    gap_px = 6 + seed % 4
    labels, blocks = pattern(100 + seed, 20, SPARSE)
    before = strips_alone(labels, blocks, gap_px)
    lost = int((painted(labels, blocks, gap_px) != before).sum())
    least = least_loss_px(before, gap_px)
    assert max(least) <= lost <= 1.25 * sum(least)


@pytest.mark.parametrize("gap_px", [2, 3, 8, 9, 16, 17])
@pytest.mark.parametrize("codes", [("train", "val"), ("test", "train"), ("val", "test")])
@pytest.mark.parametrize("rising", [False, True])
def test_a_corner_loses_the_least(gap_px: int, codes: tuple[str, str], rising: bool) -> None:
    """Two blocks labelled throughout that meet at a corner: what goes is what must, and it is the earlier split's."""
    labels = np.full((80, 80), UNKNOWN, np.uint8)
    for part in (np.s_[:40, 40:], np.s_[40:, :40]) if rising else (np.s_[:40, :40], np.s_[40:, 40:]):
        labels[part] = 0
    names = iter(codes)
    blocks = [replace(b, split=next(names) if b.labelled_px else "") for b in lay_blocks("a", labels, 40)]
    before, after = strips_alone(labels, blocks, gap_px), painted(labels, blocks, gap_px)
    assert least_distance_px(after) >= gap_px
    assert (before != after).sum() == sum(least_loss_px(before, gap_px))
    assert set(before[before != after]) <= {min(SPLITS.index(name) for name in codes)}


def test_the_split_with_less_ground_in_question_gives_way() -> None:
    """One stray test pixel near the corner does not cost training ground."""
    labels = np.full((80, 80), UNKNOWN, np.uint8)
    labels[:40, :40] = labels[40, 50] = 0
    labels[60:, 60:] = 0
    names = iter(("train", "test"))
    blocks = [replace(b, split=next(names) if b.labelled_px else "") for b in lay_blocks("a", labels, 40)]
    before, after = strips_alone(labels, blocks, 16), painted(labels, blocks, 16)
    assert list(map(tuple, np.argwhere(before != after))) == [(40, 50)]


@pytest.mark.parametrize("seed", range(8))
def test_whole_landslides_keep_the_gap_and_leave_no_pieces(seed: int) -> None:
    """Also landslides that overlap, that span many blocks, and that lie across ground without labels."""
    gap_px = (0, 5, 8, 13)[seed % 4]
    labels, blocks = pattern(seed, 16, SPARSE)
    rng = np.random.default_rng(seed)
    slides = []
    for _ in range(12):
        (top, left), (height, width) = rng.integers(0, np.array(labels.shape) - 8), rng.integers(2, 50, 2)
        roi = slice(top, min(top + height, labels.shape[0])), slice(left, min(left + width, labels.shape[1]))
        slides.append((roi, rng.random(labels[roi].shape) < 0.8))
    split_map = painted(labels, blocks, gap_px)
    before = split_map.copy()
    divided = keep_whole(slides, split_map)
    assert divided > 0
    assert least_distance_px(split_map) >= max(gap_px, 1)
    check(NO_WINDOWS, split_map, slides, gap_px, 32)
    assert (split_map[split_map != before] == GAP).all()
    for roi, mask in slides:
        assert len(set(split_map[roi][mask]) - {GAP, OUTSIDE}) <= 1


def test_a_sparse_area_goes_through_the_whole_split() -> None:
    """Tiles strewn over the ground, as published data sets are: `assign`, `paint` and `check` together, many seeds."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        labels = np.full((500, 450), UNKNOWN, np.uint8)
        for row, column in rng.integers(0, (16, 14), (60, 2)) * 32:
            labels[row : row + 32, column : column + 32] = 0
            labels[row + 8 : row + 24, column + 8 : column + 24] = 1
        settings = TileSettings(
            split="blocks", test_areas=(), window_px=32, stride_px=16, block_px=64, gap_px=16, val_frac=0.15,
            test_frac=0.25, minimum_valid_frac=0.3, seed=seed,
        )  # fmt: skip
        blocks = split.assign(lay_blocks("a", labels, 64), settings)
        split_map = painted(labels, blocks, 16)
        windows = split.lay_windows(blocks, labels, split_map, settings)
        check(windows, split_map, [], 16, 32)
        assert set(windows["split"]) == set(SPLITS)
