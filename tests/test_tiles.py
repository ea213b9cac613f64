from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpcl.core.codes import GAP, OUTSIDE, UNKNOWN
from hpcl.settings.tile import TileError, TileSettings
from hpcl.tiles.split import (
    Moments,
    Windows,
    assign,
    check,
    keep_whole,
    lay_blocks,
    lay_windows,
    paint,
    require_landslides,
    spread,
)

Mask = tuple[tuple[slice, slice], np.ndarray]


def settings(**changes: Any) -> TileSettings:
    numbers: dict[str, Any] = {
        "split": "blocks", "test_areas": (), "window_px": 32, "stride_px": 8, "block_px": 64, "gap_px": 10, "val_frac": 0.25,
        "test_frac": 0.25, "minimum_valid_frac": 0.3, "seed": 0,
    }  # fmt: skip
    return TileSettings(**(numbers | changes))


def ground(shape: tuple[int, int] = (300, 260), seed: int = 0) -> np.ndarray:
    """Labels with round landslides strewn about, and a corner that nobody has mapped."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.uint8)
    for _ in range(24):
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(4, 14)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 1
    labels[:20, :30] = UNKNOWN
    return labels


def objects(labels: np.ndarray) -> Iterator[Mask]:
    from scipy import ndimage

    found, _ = ndimage.label(labels == 1)
    for number, roi in enumerate(ndimage.find_objects(found), start=1):
        yield roi, found[roi] == number


def split(labels: np.ndarray, chosen: TileSettings, area: str = "a") -> tuple[np.ndarray, np.ndarray, Windows]:
    blocks = assign(lay_blocks(area, labels, chosen.block_px), chosen)
    split_map, block_map = np.empty(labels.shape, np.uint8), np.empty(labels.shape, np.int32)
    paint(blocks, labels, chosen.gap_px, split_map, block_map)
    keep_whole(objects(labels), split_map)
    return split_map, block_map, lay_windows(blocks, labels, split_map, chosen)


@pytest.mark.parametrize("shape", [(300, 260), (129, 640), (256, 256)])
@pytest.mark.parametrize("gap", [0, 1, 10, 17])
def test_no_leak_by_a_check_of_its_own(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], gap: int) -> None:
    """Distances by brute force, overlap by sets, objects by hand: not with the code under test."""
    labels = ground(shape)
    split_map, _, windows = split(labels, settings(gap_px=gap, block_px=60))
    with monkeypatch.context() as narrow:
        narrow.setattr("hpcl.windows.STRIP_PX", 50 * shape[1])
        check(windows, split_map, objects(labels), gap, 32)
    places = [np.argwhere(split_map == code) for code in range(3)]
    for a in range(3):
        for b in range(a):
            some = places[b][::7]
            nearest = min(int(np.abs(places[a] - p).max(axis=1).min()) for p in some)
            assert nearest >= max(gap, 1)
    seen: dict[str, set[tuple[int, int]]] = {}
    for w in windows:
        pixels = {(r, c) for r in range(w.row_px, w.row_px + 32) for c in range(w.column_px, w.column_px + 32)}
        seen.setdefault(w.split, set()).update(pixels)
    assert seen.keys() == {"train", "val", "test"}
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]
    for roi, mask in objects(labels):
        codes = set(split_map[roi][mask].tolist()) - {GAP, OUTSIDE}
        assert len(codes) <= 1


@pytest.mark.parametrize("strip_rows", [1, 40, 1000])
def test_the_check_catches_every_kind_of_leak(monkeypatch: pytest.MonkeyPatch, strip_rows: int) -> None:
    monkeypatch.setattr("hpcl.windows.STRIP_PX", strip_rows * 260)
    labels = ground()
    split_map, _, windows = split(labels, settings())
    stolen = windows[windows.split == "train"][:1].copy()
    stolen.split = "test"
    with pytest.raises(TileError, match="windows of two splits"):
        check(np.concatenate([windows, stolen]).view(np.recarray), split_map, [], 10, 32)
    near = split_map.copy()
    r, c = np.argwhere(near == 0)[500]
    near[r, c] = 2
    with pytest.raises(TileError, match="nearer than 10 px"):
        check(windows, near, [], 10, 32)
    apart = np.full((80, 260), GAP, np.uint8)  # the two lie in different strips
    apart[30:40], apart[44:60] = 0, 2
    with pytest.raises(TileError, match="nearer than 10 px"):
        check(windows[:0], apart, [], 10, 32)
    whole = (slice(0, 300), slice(0, 260)), np.ones((300, 260), bool)
    with pytest.raises(TileError, match="a landslide lies in two splits"):
        check(windows, split_map, [whole], 0, 32)


def test_a_landslide_belongs_to_the_split_that_holds_most_of_it() -> None:
    split_map = np.zeros((10, 10), np.uint8)
    split_map[:, 5:] = 2
    mask = np.ones((2, 6), bool)
    assert keep_whole([((slice(4, 6), slice(1, 7)), mask)], split_map) == 1
    assert (split_map[4:6, 1:5] == 0).all()
    assert (split_map[4:6, 5:7] == GAP).all()
    assert (split_map[4:6, 7:] == 2).all()


def test_landslides_are_counted_in_every_block_that_they_touch() -> None:
    """Against all pairs of landslide and block."""
    labels = ground((300, 260), seed=5)
    blocks = lay_blocks("a", labels, 60)
    slides = list(objects(labels))
    everywhere = []
    for roi, mask in slides:
        whole = np.zeros(labels.shape, bool)
        whole[roi] = mask
        counts = {("a", b.number): int(whole[b.rows, b.columns].sum()) for b in blocks}
        everywhere.append({at: count for at, count in counts.items() if count})
    assert spread(slides, blocks) == everywhere
    assert max(len(found) for found in everywhere) > 1


def test_unmapped_ground_is_in_no_split() -> None:
    labels = ground()
    split_map, block_map, _ = split(labels, settings())
    assert (split_map[labels == UNKNOWN] == OUTSIDE).all()
    assert (block_map >= 0).mean() > 0.9


def test_every_split_gets_about_its_share_of_ground_and_of_landslides() -> None:
    labels = ground((600, 600), seed=3)
    blocks = assign(lay_blocks("a", labels, 60), settings())
    total = sum(b.landslide_px for b in blocks)
    for name, share in (("train", 0.5), ("val", 0.25), ("test", 0.25)):
        mine = sum(b.landslide_px for b in blocks if b.split == name) / total
        assert mine == pytest.approx(share, abs=0.08)


def test_whole_areas_as_test_ground() -> None:
    labels = {name: ground(seed=seed) for seed, name in enumerate(("west", "east"))}
    chosen = settings(split="areas", test_areas=("east",), test_frac=0.0)
    blocks = assign([b for a, found in labels.items() for b in lay_blocks(a, found, 64)], chosen)
    assert {b.split for b in blocks if b.area == "east"} == {"test"}
    assert {b.split for b in blocks if b.area == "west"} == {"train", "val"}


def test_the_split_follows_from_the_seed() -> None:
    blocks = lay_blocks("a", ground(), 60)
    assert assign(blocks, settings()) == assign(blocks, settings())
    assert assign(blocks, settings()) != assign(blocks, settings(seed=1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": "areas", "test_areas": ("north",)}, "labelled areas are a"),
        ({"split": "areas", "test_areas": ("a",)}, "leave at least one to train on"),
        ({"val_frac": 0.6, "test_frac": 0.5}, "leave no ground to train on"),
        ({"block_px": 400}, "too few for train, val, test"),
    ],
)
def test_what_cannot_be_split_is_said(changes: dict[str, Any], sentence: str) -> None:
    chosen = settings(**changes)
    with pytest.raises(TileError, match=sentence):
        assign(lay_blocks("a", ground(), chosen.block_px), chosen)


def test_a_split_without_landslide_is_refused() -> None:
    labels = np.zeros((256, 256), np.uint8)
    labels[10:20, 10:20] = 1
    with pytest.raises(TileError, match="No landslide falls into the"):
        assign(lay_blocks("a", labels, 64), settings())


def test_test_ground_is_needed() -> None:
    with pytest.raises(TileError, match="no ground is left to score"):
        assign(lay_blocks("a", ground(), 64), settings(test_frac=0.0))


@pytest.mark.parametrize(
    ("train", "val", "test", "lost"),
    [(0.2, 0.0, 9, "val"), (0.0, 0.0, None, "train and val"), (0.2, 0.1, 0, "test"), (0.2, 0.1, None, "")],
)
def test_no_split_is_left_without_landslide(train: float, val: float, test: int | None, lost: str) -> None:
    windows = pd.DataFrame({"split": ["train", "train", "val"], "landslide_frac": [0.0, train, val]})
    with pytest.raises(TileError, match=f"left for {lost}:") if lost else nullcontext():
        require_landslides(windows, test)


def test_windows_know_their_share_of_landslide() -> None:
    labels = ground()
    split_map, _, windows = split(labels, settings())
    for w in windows[::11]:
        roi = slice(w.row_px, w.row_px + 32), slice(w.column_px, w.column_px + 32)
        known = split_map[roi] == ("train", "val", "test").index(w.split)
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
