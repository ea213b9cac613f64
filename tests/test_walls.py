"""The toe against planted ground: a disc on a plane has it on the downhill quarter and nowhere else."""

import numpy as np
import pytest

from hpcl.core.records import BandFacts
from hpcl.networks.d4 import turn
from hpcl.training.toe import toe

SIZE, RADIUS = 81, 20
EAST_NORTH = [BandFacts("n_east", "east", 0.0, 1.0), BandFacts("n_north", "north", 0.0, 1.0)]
DIPS = {"east": 90.0, "south": 180.0, "west": 270.0, "north": 0.0}


def around(row: float, column: float, shape: tuple[int, int] = (SIZE, SIZE)) -> tuple[np.ndarray, np.ndarray]:
    """Distance [px] and azimuth [deg, clockwise from north] of every pixel, seen from one."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column), np.degrees(np.arctan2(columns - column, row - rows))


def dipping(azimuth_deg: float, shape: tuple[int, int] = (SIZE, SIZE)) -> tuple[np.ndarray, np.ndarray]:
    """East and north components of the normal of a plane that falls 20 degrees towards an azimuth."""
    azimuth, length = np.radians(azimuth_deg), np.sin(np.radians(20))
    east, north = length * np.sin(azimuth), length * np.cos(azimuth)
    return np.full(shape, east, np.float32), np.full(shape, north, np.float32)


def off(azimuth_deg: np.ndarray, downhill_deg: float) -> np.ndarray:
    """Angle between an azimuth and downhill [deg]."""
    return np.abs((azimuth_deg - downhill_deg + 180) % 360 - 180)


def assert_quarter(found: np.ndarray, distance: np.ndarray, azimuth: np.ndarray, downhill_deg: float) -> None:
    """Beside the disc's edge the toe is the quarter around downhill; a disc of pixels has corners, so its ends fray."""
    beyond, angle = np.abs(distance - RADIUS), off(azimuth, downhill_deg)
    edge = (beyond >= 2) & (beyond < 8)
    assert (edge & (angle < 30)).sum() > 100
    assert found[edge & (angle < 30)].all()
    assert not found[edge & (angle > 60)].any()
    assert found[edge & (angle < 45)].mean() > 0.85


@pytest.mark.parametrize("downhill", [*DIPS.values(), 30.0])
def test_a_disc_on_a_plane_has_its_toe_downhill(downhill: float) -> None:
    distance, azimuth = around(40, 40)
    assert_quarter(toe(distance <= RADIUS, *dipping(downhill)), distance, azimuth, downhill)


def test_two_landslides_with_opposite_dips_have_each_their_own() -> None:
    """A valley that runs north-south between them: the western one falls east, the eastern one west."""
    shape = (SIZE, 2 * SIZE)
    west, east = around(40, 40, shape), around(40, 40 + SIZE, shape)
    falls_east, falls_west = dipping(90.0, shape), dipping(270.0, shape)
    left = np.arange(2 * SIZE) < SIZE
    normal = [np.where(left, a, b) for a, b in zip(falls_east, falls_west, strict=True)]
    found = toe((west[0] <= RADIUS) | (east[0] <= RADIUS), *normal)
    assert_quarter(found, *west, 90.0)
    assert_quarter(found, *east, 270.0)


def test_ground_without_a_normal_leaves_the_rest_its_say() -> None:
    distance, azimuth = around(40, 40)
    east, north = dipping(90.0)
    east[:30], north[:30] = np.nan, np.nan
    assert_quarter(toe(distance <= RADIUS, east, north), distance, azimuth, 90.0)


def test_level_ground_has_no_toe() -> None:
    level = np.zeros((SIZE, SIZE), np.float32)
    assert not toe(around(40, 40)[0] <= RADIUS, level, level).any()


def test_without_a_landslide_there_is_no_toe() -> None:
    assert not toe(np.zeros((SIZE, SIZE), bool), *dipping(90.0)).any()


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_toe_turns_with_the_ground(quarters: int, mirror: bool) -> None:
    """A lobed landslide on a plane, seen from another side: the vector turns, and the toe with it."""
    distance, azimuth = around(40, 37)
    lobed = distance <= RADIUS * (1 + 0.3 * np.sin(np.radians(3 * azimuth)))
    normal = np.stack(dipping(73.0))
    turned = turn(normal, EAST_NORTH, quarters, mirror, {})
    seen = np.rot90(lobed[:, ::-1] if mirror else lobed, quarters)
    found = toe(lobed, *normal)
    assert 0.05 < found.mean() < 0.5
    np.testing.assert_array_equal(toe(seen, *turned), np.rot90(found[:, ::-1] if mirror else found, quarters))
