import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpcl.core.codes import UNKNOWN
from hpcl.core.records import BandFacts, Sun
from hpcl.networks.d4 import TurnError, turn
from hpcl.networks.normalise import CLIP_STD, normalise
from hpcl.settings.train import AugmentSettings
from hpcl.terrain import hillshade
from hpcl.training.dataset import DatasetError, Tiles, Windows, batches, draw_epoch, jitter
from hpcl.training.toe import toe

SUN = Sun(315.0, 45.0)

BRANCHES = {"optical": ("red", "green"), "terrain": ("slope", "n_east", "n_north", "n_up", "hillshade")}
NORMAL = [BandFacts(f"n_{k}", k, 0.0, 1.0) for k in ("east", "north", "up")]
ALL = [*NORMAL, BandFacts("slope", "scalar", 0.0, 1.0), BandFacts("hillshade", "hillshade", 0.0, 1.0)]


def derive(elevation: np.ndarray) -> np.ndarray:
    """n_east, n_north, n_up, slope, hillshade of an elevation ``(row, column)``, rows running south, pixels of 1 m."""
    down, east = np.gradient(elevation)
    normal = np.stack([-east, down, np.ones_like(east)]) / np.sqrt(1 + east**2 + down**2)
    shade = hillshade(normal, SUN.azimuth_deg, SUN.altitude_deg)  # as the terrain stage writes it
    return np.stack([*normal, np.degrees(np.arccos(normal[2])), shade]).astype(np.float32)


def relief() -> np.ndarray:
    y, x = np.mgrid[:40, :40] / 7.0
    return 5 * np.sin(x) + 3 * np.cos(1.3 * y + 0.4 * x)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_derive_then_turn_equals_turn_then_derive(quarters: int, mirror: bool) -> None:
    z = relief()
    turned_ground = np.rot90(z[:, ::-1] if mirror else z, quarters)
    np.testing.assert_allclose(turn(derive(z), ALL, quarters, mirror, SUN), derive(turned_ground), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("band", [0, 1, 4])
def test_the_naive_turn_fails_the_same_test(band: int) -> None:
    """A direction or a hillshade turned as if it were a colour is not what the turned ground would give."""
    z = relief()
    naive = np.rot90(derive(z), 1, axes=(1, 2))[band]
    assert np.abs(naive - derive(np.rot90(z, 1))[band]).max() > 0.1


def test_a_hillshade_without_its_normal_cannot_be_turned() -> None:
    band = [BandFacts("hillshade", "hillshade", 0.0, 1.0)]
    with pytest.raises(TurnError, match="n_east, n_north and n_up"):
        turn(np.zeros((1, 8, 8), np.float32), band, 1, False, SUN)
    with pytest.raises(TurnError, match="one horizontal component"):
        turn(np.zeros((1, 8, 8), np.float32), NORMAL[:1], 1, False, SUN)


def test_normalise_gives_zero_for_nodata_and_clips() -> None:
    values = np.array([[[3.0, np.nan, 1e9]]], np.float32)
    out = normalise(values, [BandFacts("a", "scalar", 1.0, 2.0)])
    np.testing.assert_array_equal(out, [[[1.0, 0.0, CLIP_STD]]])


def test_jitter_is_another_gain_and_offset_for_each_band() -> None:
    values = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    out = jitter(
        values, AugmentSettings(gain_std=0.2, offset_std=0.2, branch_dropout_frac=0.0), np.random.default_rng(1)
    )
    gain = (out - out.mean((1, 2), keepdims=True)) / (values - values.mean((1, 2), keepdims=True))
    np.testing.assert_allclose(gain, gain[:, :1, :1].repeat(9, 1).repeat(9, 2), rtol=1e-3)
    assert abs(gain[0, 0, 0] - gain[1, 0, 0]) > 1e-3  # partly each band's own


@pytest.mark.parametrize("fold", [1, 2])
def test_a_window_shows_labels_that_may_teach_its_network_or_all_of_its_fold(tiles_folder: Path, fold: int) -> None:
    tiles = Tiles(tiles_folder, BRANCHES, fold)
    every, teaches = (np.load(tiles_folder / f"place.{what}.npy") for what in ("labels", "teaches"))
    own = slice(0, 128) if fold == 1 else slice(128, 256)
    for role in ("train", "held"):
        numbers = tiles.numbers(role)
        assert len(numbers) == {"train": 12, "held": 8}[role]
        for number in numbers:
            at = tiles.windows.iloc[number]
            roi = slice(at["row_px"], at["row_px"] + 64), slice(at["column_px"], at["column_px"] + 64)
            _, labels = tiles.raw(int(number))
            taught = (teaches[roi] & (1 << fold - 1)) > 0
            expected = every[roi] if role == "held" else np.where(taught, every[roi], UNKNOWN)
            np.testing.assert_array_equal(labels, expected)
            assert (labels != UNKNOWN).any()
            assert (own.start <= roi[1].start < own.stop) == (role == "held")


def test_each_network_has_the_statistics_of_what_it_learns_from(tiles_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles_folder, tmp_path / "tiles")
    facts = json.loads((tmp_path / "tiles/facts.json").read_text())
    for fold, mean in zip(facts["folds"], (3.0, 5.0), strict=True):
        fold["bands"][0]["mean"] = mean
    (tmp_path / "tiles/facts.json").write_text(json.dumps(facts))
    for fold, mean in ((1, 3.0), (2, 5.0)):
        assert Tiles(tmp_path / "tiles", {"optical": ("red",)}, fold).bands[0].mean == mean


@pytest.mark.parametrize("fold", [0, 3])
def test_a_fold_that_is_none_is_refused(tiles_folder: Path, fold: int) -> None:
    with pytest.raises(DatasetError, match=f"Fold {fold} was asked for, but .* has the folds 1, 2"):
        Tiles(tiles_folder, BRANCHES, fold)


def test_both_views_show_the_same_ground_under_another_light(tiles_folder: Path) -> None:
    tiles = Tiles(tiles_folder, BRANCHES, 1)
    sample = Windows(tiles, AugmentSettings(gain_std=0.2, offset_std=0.2, branch_dropout_frac=0.0), seed=0)[
        (int(tiles.numbers("train")[0]), 0, 0)
    ]
    assert not sample["bands"]["optical"].equal(sample["key_bands"]["optical"])
    assert list(sample["key_bands"]) == ["optical"]  # light does not change terrain


def test_labels_turn_with_the_bands(tiles_folder: Path) -> None:
    """The red band is brighter on landslides: whatever the turn, it must stay so."""
    tiles = Tiles(tiles_folder, BRANCHES, 2)
    windows = Windows(tiles, AugmentSettings(gain_std=0.0, offset_std=0.0, branch_dropout_frac=0.0), seed=0)
    for position in range(12):
        sample = windows[(int(tiles.numbers("train")[position % 12]), 0, position)]
        red, labels = sample["bands"]["optical"][0], sample["labels"]
        assert float(red[labels == 1].mean() - red[labels == 0].mean()) > 0.6


def test_epochs_are_functions_of_seed_and_number(tiles_folder: Path) -> None:
    tiles = Tiles(tiles_folder, BRANCHES, 1)
    assert draw_epoch(tiles, 3, 50, 0.5, seed=1) == draw_epoch(tiles, 3, 50, 0.5, seed=1)
    assert draw_epoch(tiles, 3, 50, 0.5, seed=1) != draw_epoch(tiles, 4, 50, 0.5, seed=1)
    assert {n for n, _, _ in draw_epoch(tiles, 0, 200, 0.5, seed=1)} <= set(tiles.numbers("train").tolist())


def test_workers_change_nothing(tiles_folder: Path) -> None:
    tiles = Tiles(tiles_folder, BRANCHES, 1)
    windows = Windows(tiles, AugmentSettings(gain_std=0.2, offset_std=0.2, branch_dropout_frac=0.0), seed=0)
    draws = draw_epoch(tiles, 0, 6, 0.5, seed=0)
    here, there = (list(batches(windows, draws, 4, workers)) for workers in (0, 1))
    assert [len(batch["labels"]) for batch in here] == [4, 2]  # the last is not dropped for being short
    for a, b in zip(here, there, strict=True):
        assert a["labels"].equal(b["labels"])
        assert a["bands"]["optical"].equal(b["bands"]["optical"])


def test_unknown_band_is_named(tiles_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"model\.branches\.optical asks for band 'nir'"):
        Tiles(tiles_folder, {"optical": ("nir",)}, 1)


def dropping(tiles: Tiles, frac: float) -> Windows:
    return Windows(tiles, AugmentSettings(gain_std=0.1, offset_std=0.1, branch_dropout_frac=frac), seed=0)


def test_a_lost_branch_is_lost_in_both_views_and_the_other_stays_as_it_is(tiles_folder: Path) -> None:
    tiles = Tiles(tiles_folder, BRANCHES, 1)
    lost = []
    for position in range(12):
        draw = (int(tiles.numbers("train")[position]), 0, position)
        whole, dropped = dropping(tiles, 0.0)[draw], dropping(tiles, 0.999)[draw]
        gone = [branch for branch in BRANCHES if not dropped["bands"][branch].any()]
        assert len(gone) == 1
        for view in ("bands", "key_bands"):
            for branch in whole[view]:
                assert whole[view][branch].any()
                assert dropped[view][branch].equal(whole[view][branch] * (branch not in gone))
        assert dropped["labels"].equal(whole["labels"])
        lost += gone
    assert set(lost) == set(BRANCHES)


def test_the_only_branch_is_never_lost(tiles_folder: Path) -> None:
    tiles = Tiles(tiles_folder, {"optical": ("red",)}, 1)
    number = int(tiles.numbers("train")[0])
    assert all(dropping(tiles, 0.999)[number, 0, position]["bands"]["optical"].any() for position in range(5))


def test_samples_know_the_toe_of_the_ground_as_it_lies(tiles_folder: Path) -> None:
    """The tiles' mean is 0 and their spread 1, so the terrain that a sample shows is the normal itself, turned."""
    tiles = Tiles(tiles_folder, BRANCHES, 2)
    windows = Windows(tiles, AugmentSettings(gain_std=0.1, offset_std=0.1, branch_dropout_frac=0.0), seed=0, toes=True)
    found = 0
    for position, number in enumerate(tiles.numbers("train").tolist()):
        sample = windows[number, 0, position]
        _, east, north, *_ = sample["bands"]["terrain"].numpy()
        np.testing.assert_array_equal(sample["toe"].numpy(), toe(sample["labels"].numpy() == 1, east, north))
        found += int(sample["toe"].any())
    assert found > 6  # not every window has a landslide
    assert "toe" not in dropping(tiles, 0.0)[0, 0, 0]


def test_a_toe_needs_the_normal_whether_a_branch_sees_it_or_not(tiles_folder: Path) -> None:
    augment = AugmentSettings(gain_std=0.1, offset_std=0.1, branch_dropout_frac=0.0)
    blind = {"optical": ("red",), "terrain": ("slope",)}
    with pytest.raises(DatasetError, match="the tiles need the bands n_east and n_north"):
        Windows(Tiles(tiles_folder, blind, 1), augment, seed=0, toes=True)
    sample = Windows(Tiles(tiles_folder, blind, 1, downhill=True), augment, seed=0, toes=True)[0, 0, 0]
    assert sample["toe"].shape == sample["labels"].shape
    assert {branch: len(bands) for branch, bands in sample["bands"].items()} == {"optical": 1, "terrain": 1}
