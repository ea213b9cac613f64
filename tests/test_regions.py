"""Regions: compact pieces of ground as folds, with large landslides whole, so that their labels teach."""

from __future__ import annotations

import numpy as np
import pytest
from examples import tiled_area
from scipy import ndimage
from test_folds import ground, objects, settings

from hpcl.core.codes import OUTSIDE, UNKNOWN
from hpcl.first_look import proposals
from hpcl.scale import Sizes
from hpcl.settings.tile import TileSettings
from hpcl.tiles import folds, leaks


def dealt(labels: np.ndarray, chosen: TileSettings, name: str = "a") -> list[folds.Block]:
    blocks = folds.deal({name: folds.lay_blocks(name, labels, chosen.block_px)}, chosen)
    return folds.united(blocks, reached(labels, blocks), chosen.folds) if chosen.split == "regions" else blocks


def reached(labels: np.ndarray, blocks: list[folds.Block]) -> list[list[int]]:
    numbers = np.empty(labels.shape, np.int32)
    folds.paint(blocks, numbers)
    found = sorted(objects(labels), key=lambda one: -one[1].sum())
    return [np.unique(numbers[roi][mask]).tolist() for roi, mask in found]


def learnt_frac(labels: np.ndarray, chosen: TileSettings) -> tuple[list[int], list[int]]:
    """Landslide pixels that teach each network, and those that lie in other folds."""
    return taught_by(labels, dealt(labels, chosen), chosen)


def learnt(labels: np.ndarray, blocks: list[folds.Block], chosen: TileSettings) -> float:
    taught, elsewhere = taught_by(labels, blocks, chosen)
    return sum(taught) / sum(elsewhere)


def taught_by(labels: np.ndarray, blocks: list[folds.Block], chosen: TileSettings) -> tuple[list[int], list[int]]:
    teaches = np.zeros(labels.shape, np.uint16)
    folds.teach(blocks, labels, chosen.folds, chosen.gap_px, teaches)
    place = tiled_area(
        shape=list(labels.shape),
        tops=sorted({b.rows.start for b in blocks}),
        lefts=sorted({b.columns.start for b in blocks}),
        folds=[b.fold for b in blocks],
    )
    folds.keep_whole(objects(labels), place, chosen.gap_px, teaches)
    leaks.check(place, teaches, objects(labels), chosen)
    held = [sum(b.landslide_px for b in blocks if b.fold == code) for code in range(chosen.folds)]
    taught = [int((labels[(teaches >> code & 1) == 1] == 1).sum()) for code in range(chosen.folds)]
    return taught, [sum(held) - own for own in held]


def large(seed: int, shape: tuple[int, int] = (700, 900), radius: tuple[float, float] = (25, 60)) -> np.ndarray:
    """Landslides as wide as a block or two, which do not touch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.uint8)
    for _ in range(300):
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(*radius)
        if not labels[(y - cy) ** 2 + (x - cx) ** 2 < (r + 6) ** 2].any():
            labels[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 1
        if (labels == 1).mean() > 0.35:
            break
    return labels


@pytest.mark.parametrize("count", [2, 3, 4, 7, 10])
@pytest.mark.parametrize("shape", [(640, 640), (320, 1280), (1000, 400)])
def test_each_fold_is_one_piece_with_its_share_of_the_ground(shape: tuple[int, int], count: int) -> None:
    labels = np.zeros(shape, np.uint8)
    labels[: shape[0] // 3, : shape[1] // 4] = UNKNOWN
    chosen = settings(split="regions", folds=count)
    blocks = folds.deal({"a": folds.lay_blocks("a", labels, chosen.block_px)}, chosen)
    codes = np.array([b.fold for b in blocks]).reshape(len({b.rows.start for b in blocks}), -1)
    numbers = [int((codes == code).sum()) for code in range(count)]
    assert max(numbers) - min(numbers) <= 2
    for code in range(count):
        _, pieces = ndimage.label(codes == code)
        assert pieces == 1
    assert ((codes == OUTSIDE) == np.array([b.labelled_px == 0 for b in blocks]).reshape(codes.shape)).all()


def test_which_piece_is_which_fold_follows_from_seed_and_area() -> None:
    labels = ground((600, 500))
    of = {(s, n): [b.fold for b in dealt(labels, settings(split="regions", seed=s), n)] for s in range(4) for n in "ab"}
    assert len({tuple(codes) for codes in of.values()}) > 3
    assert of[0, "a"] == [b.fold for b in dealt(labels, settings(split="regions"), "a")]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_landslide_across_regions_lies_in_one_of_them_if_it_binds_no_more_than_a_fold(seed: int, count: int) -> None:
    labels, chosen = large(seed), settings(split="regions", folds=count)
    before = folds.deal({"a": folds.lay_blocks("a", labels, chosen.block_px)}, chosen)
    after = dealt(labels, chosen)
    across = [n for n in reached(labels, before) if len({before[i].fold for i in n}) > 1]
    assert across
    share_px = sum(b.labelled_px for b in before) / count
    for numbers in reached(labels, after):
        if len({after[number].fold for number in numbers}) > 1:  # then what would have to move is too much
            moved = {number for number in numbers if after[number].fold != before[number].fold}
            assert moved or sum(before[number].labelled_px for number in numbers) > share_px
    assert len({after[number].fold for number in across[0]}) == 1, "the largest has the first choice"
    assert learnt(labels, after, chosen) > learnt(labels, before, chosen)
    # What binds more than a fold's share stays divided: nothing is whole at the price of a fold that holds half of all.
    wide = np.ones_like(labels)
    one = folds.deal({"a": folds.lay_blocks("a", wide, chosen.block_px)}, chosen)
    assert folds.united(one, reached(wide, one), count) == one


@pytest.mark.parametrize("seed", range(4))
def test_large_landslides_teach_where_blocks_would_divide_them(seed: int) -> None:
    labels = large(seed)
    shares = {}
    for split in ("blocks", "regions"):
        taught, elsewhere = learnt_frac(labels, settings(split=split))
        shares[split] = sum(taught) / sum(elsewhere)
        told = folds.told_of_taught(taught, elsewhere, split)
        assert bool(told) == (min(np.divide(taught, elsewhere)) < folds.TAUGHT)
    assert shares["regions"] > 2 * shares["blocks"]
    (told,) = folds.told_of_taught(*learnt_frac(labels, settings()), "blocks")
    assert "tile.split regions" in told


def test_small_landslides_are_no_reason_to_speak() -> None:
    labels = ground((900, 800), slides=80)
    for split in ("blocks", "regions"):
        assert not folds.told_of_taught(*learnt_frac(labels, settings(split=split, block_px=128)), split)


@pytest.mark.parametrize("seed", range(4))
def test_an_edit_moves_no_block_but_where_a_landslide_would_be_divided(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = ground((640, 512), seed, 10)
    chosen = settings(split="regions")
    first = folds.deal({"a": folds.lay_blocks("a", labels, chosen.block_px)}, chosen)
    edited = labels.copy()
    for b in rng.choice(np.array([b.number for b in first if b.labelled_px]), 10):
        block = first[b]
        edited[block.rows.start + 20 : block.rows.start + 40, block.columns.start + 20 : block.columns.start + 40] = 1
    across = {
        number
        for one in (labels, edited)
        for numbers in reached(one, first)
        if len({first[number].fold for number in numbers}) > 1
        for number in numbers
    }
    both = zip(dealt(labels, chosen), dealt(edited, chosen), strict=True)
    assert {before.number for before, after in both if before.fold != after.fold} <= across


@pytest.mark.parametrize("side_px", [6, 30, 60, 120, 240, 400])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_first_look_proposes_regions_where_blocks_would_divide_most_of_the_ground(side_px: int, count: int) -> None:
    """Against squares dropped on blocks of 256 pixels whose folds are drawn."""
    rng = np.random.default_rng(side_px)
    codes = rng.integers(0, count, (40, 40))
    corners = rng.uniform(0, 30 * 256, (2000, 2))
    first, last = (corners // 256).astype(int), ((corners + side_px) // 256).astype(int)
    pieces = [codes[r : s + 1, c : d + 1] for (r, c), (s, d) in zip(first, last, strict=True)]
    whole = np.mean([len(np.unique(piece)) == 1 for piece in pieces])
    values = {"tile.block_px": 256, "tile.folds": count, "tile.split": "blocks"}
    sizes = Sizes((5000, 5000), 2.0, 5.0, (float(4 * side_px**2),) * 50)
    assert proposals.whole_frac(sizes, values) == pytest.approx(whole, abs=0.06)
    assert proposals.divides_many(sizes, values) == (proposals.whole_frac(sizes, values) < folds.TAUGHT)
    assert not proposals.divides_many(sizes, values | {"tile.split": "regions"})
