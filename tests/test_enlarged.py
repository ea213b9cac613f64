"""The blocks that the report enlarges are the best, the worst and the median one, and all of their pixels can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_report import SETTINGS, Ground, write_project

from hpcl.core.codes import UNKNOWN
from hpcl.report import collect, enlarged, maps, sheets
from hpcl.tiles import stored

CODES = 5


def _ious(outcomes: np.ndarray) -> dict[int, float]:
    """By block, of those with landslides, one by one."""
    found = {}
    for number, row in enumerate(outcomes.tolist()):
        hit, miss, false = row[maps.HIT], row[maps.MISS], row[maps.FALSE_ALARM]
        if hit + miss:
            found[number] = hit / (hit + miss + false)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [3, 5, 7, 12, 41])
def test_best_worst_and_median(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = rng.integers(0, 9, (count, CODES)) * (rng.random((count, 1)) < 0.8)
    ious = _ious(outcomes)
    found = enlarged.chosen(outcomes)
    assert len(found) == min(3, len(ious))
    assert len(set(found.values())) == len(found)
    assert set(found.values()) <= set(ious)
    if len(ious) < 2:
        return
    assert ious[found["best"]] == max(ious.values())
    assert ious[found["worst"]] == min(ious.values())
    truth = outcomes[:, [maps.HIT, maps.MISS]].sum(axis=1)
    assert truth[found["worst"]] == max(truth[n] for n, iou in ious.items() if iou == min(ious.values()))
    if len(ious) % 2 and len(ious) > 2:
        assert ious[found["typical"]] == np.median(list(ious.values()))


@pytest.mark.parametrize("outcomes", [np.zeros((0, CODES)), np.zeros((4, CODES)), np.eye(CODES)[[maps.FALSE_ALARM]]])
def test_without_landslides_there_is_nothing_to_show(outcomes: np.ndarray) -> None:
    assert enlarged.chosen(outcomes) == {}


@pytest.mark.parametrize("test", [False, True])
def test_a_block_is_shown_with_its_own_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: bool) -> None:
    ground = Ground("here", (90, 116), test=test)
    write_project(tmp_path, [Ground("scored", (40, 40)), ground])
    monkeypatch.chdir(tmp_path)
    drawn: list[sheets.View] = []
    monkeypatch.setattr(sheets, "enlarged", lambda views, *_: drawn.extend(views))
    tiles = stored.facts()
    area, _ = collect.read_area("here", tiles, SETTINGS)
    collect._enlarged(area, tiles.areas["here"], SETTINGS)
    assert [block.why for block in area.enlarged] == ["best", "typical", "worst"]

    says, truth, known = ground.mapped(), ground.labels == 1, ground.labels != UNKNOWN
    ious = []
    for number in range(12):
        inside = (ground.block == number) & known
        if (inside & truth).any():
            ious.append((inside & truth & says).sum() / (inside & (truth | says)).sum())
    assert [block.landslide_iou for block in area.enlarged] == pytest.approx(
        [max(ious), sorted(ious)[(len(ious) - 1) // 2], min(ious)]
    )
    for block, view in zip(area.enlarged, drawn, strict=True):
        own = ground.block == block.number
        rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        shape = len(rows), len(columns)
        assert view.codes.shape == view.ground.hillshade.shape == view.image.shape[1:] == shape
        np.testing.assert_array_equal(view.codes == maps.HIT, (truth & says)[own].reshape(shape))
        np.testing.assert_array_equal(view.codes == maps.NOT_SCORED, ~known[own].reshape(shape))
        west, east, south, north = view.ground.extent_km
        assert (west, east) == pytest.approx((500 + columns[0] * 0.002, 500 + (columns[-1] + 1) * 0.002))
        assert (north, south) == pytest.approx((3950 - rows[0] * 0.002, 3950 - (rows[-1] + 1) * 0.002))
        assert (block.east_km, block.north_km) == pytest.approx(((west + east) / 2, (south + north) / 2))
        assert f"block {block.number}, landslide IoU {block.landslide_iou:.2f}" in view.title


@pytest.mark.parametrize("side", [40, 256, 700])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dpi", [60, 150])
def test_the_figure_has_a_pixel_for_each_of_the_block(side: int, count: int, dpi: int) -> None:
    codes = np.full((side, side + 8), maps.HIT)
    ground = maps.Ground(
        "here", "EPSG:32648", (500.0, 500.0 + side / 500 + 0.016, 3949.0, 3949.0 + side / 500), codes / 2
    )
    view = sheets.View("best", ground, np.zeros((3, *codes.shape)), codes)
    figure = sheets.enlarged([view] * count, "data", dpi)
    figure.set_dpi(dpi)
    assert len(figure.axes) == 2 * count
    for axes in figure.axes:
        assert axes.bbox.width >= side + 8 - 1e-6
        assert axes.bbox.height >= side - 1e-6
        assert 0 <= axes.bbox.x0 < axes.bbox.x1 <= figure.bbox.width
