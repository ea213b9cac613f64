"""Images of two dates: a planted shift between them is found and undone, and what cannot be laid right is told; bands keep their names."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pydantic import TypeAdapter
from test_ingest import BANDS, IMAGE, UTM, optical_values, refusal, run, sound_area, write_tif
from test_ingest import SETTINGS as INGEST
from test_synth import GIVEN, SMALL

from hpcl.coregister import dates
from hpcl.geo import raster
from hpcl.ingest import output
from hpcl.ingest.plan import examine
from hpcl.settings.coregister import CoregisterSettings, counting_bands
from hpcl.synth import sensors, write

SETTINGS = CoregisterSettings(minimum_gain_frac=0.02, maximum_shift_px=8, sample_patches=16)
SIZE = (270, 310)


def world(shift_m=(0.0, 0.0), seed=3):
    before = {"new_frac": 0.5, "shift_east_m": shift_m[0], "shift_north_m": shift_m[1]}
    area = {"seed": seed, **SMALL, "rows": SIZE[0], "columns": SIZE[1], "before": before}
    settings = TypeAdapter(write.SynthesizeSettings).validate_json(json.dumps(GIVEN | {"areas": {"synthetic_a": area}}))
    return sensors.scene(settings.areas["synthetic_a"], settings)


def image(scene, turned_deg=0.0):
    """The image of a scene, as it is asked for; turned about the middle of the area."""
    middle = 2.0 * SIZE[1] / 2 + scene.corner[0], scene.corner[1] - 2.0 * SIZE[0] / 2

    def read(grid):
        grid = raster.Grid(grid.shape, Affine.rotation(turned_deg, middle) * grid.affine, grid.crs)
        rows, columns = (np.arange(size) + 0.5 for size in grid.shape)
        x, y = grid.affine * np.meshgrid(columns, rows)
        values = sensors.optical(Placed(scene, x - scene.corner[0], y - scene.corner[1]), None, None)
        return np.where(values == 0, np.nan, values.astype(np.float32))

    return read


class Placed:
    """A scene that is asked for its image at given places."""

    def __init__(self, scene, x, y):
        self._scene, self._at = scene, (x, y)

    def __getattr__(self, name):
        return getattr(self._scene, name)

    def coordinates(self, grid, roi, halo_px=0):
        return tuple(np.pad(at, halo_px, mode="reflect", reflect_type="odd") for at in self._at)


def found(shift_m=(0.0, 0.0), turned_deg=0.0, other_seed=None):
    scene = world(shift_m)
    earlier = world(seed=other_seed).earlier() if other_seed else scene.earlier()
    return dates.align_dates(
        image(scene), image(earlier, turned_deg), BANDS, scene.grid(2.0), SETTINGS, "optical_before.tif"
    )


# ---------------------------------------------------------------------------------------------------------- the gate


def test_a_planted_shift_is_undone_whatever_else_changed_between_the_dates() -> None:
    """Crops, sun, clouds and half of the landslides differ."""
    shift = found((5.3, -4.1))
    np.testing.assert_allclose(shift.move_m, (-5.3, 4.1), atol=0.1)
    (said,) = shift.findings
    assert said.startswith("optical_before.tif was moved onto optical.tif: 6.7")
    before, after = map(float, re.search(r"from (\S+) to ([\d.]+\d)", said).groups())
    assert after > before + 0.2


def test_a_shift_that_does_not_help_is_rejected_and_said() -> None:
    shift = found()
    assert shift.move_m == (0.0, 0.0)
    (said,) = shift.findings
    assert said.startswith("optical_before.tif was not moved onto optical.tif: 0.0")


@pytest.mark.parametrize("how", [{"other_seed": 4}, {"shift_m": (60.0, 35.0)}], ids=["other ground", "far beside"])
def test_what_cannot_be_laid_right_is_told(how) -> None:
    shift = found(**how)
    assert shift.move_m == (0.0, 0.0)
    (said,) = shift.findings
    assert "nothing says that it lies on optical.tif" in said
    assert "coregister.maximum_shift_px (8)" in said


def test_images_that_no_shift_lays_on_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned by 0.4 degrees: 4 m at the edge, nothing in the middle."""
    monkeypatch.setattr("test_dates.SIZE", (520, 610))
    said = found(turned_deg=0.4).findings
    assert len(said) == 2
    assert "the images are bent or turned against each other" in said[1]


# -------------------------------------------------------------------------------------------------------- the bands


def test_bands_of_the_earlier_date_are_named_after_the_images(tmp_path: Path) -> None:
    area = sound_area(tmp_path / "raw" / "place")
    write_tif(area / "optical_before.tif", optical_values(seed=1), IMAGE, names=BANDS)
    facts, _ = run(area)
    assert [band.name for band in facts.bands] == [*BANDS, "red_before", "green_before", "blue_before", "nir_before"]


def test_an_earlier_image_without_names_takes_those_of_the_settings_or_is_refused(tmp_path: Path) -> None:
    area = sound_area(tmp_path / "raw" / "place")
    write_tif(area / "optical_before.tif", optical_values(seed=1), IMAGE)
    assert examine(area, INGEST).before.bands[3].name == "nir_before"
    write_tif(area / "optical_before.tif", optical_values(bands=5, seed=1), IMAGE)
    assert "optical_before.tif has 5 bands, but params.yaml ingest.optical_bands names 4" in refusal(area)


def test_a_moved_layer_lands_where_it_belongs_and_is_noted(tmp_path: Path) -> None:
    """Two columns and a row aside: the same numbers come back, without resampling."""
    area = sound_area(tmp_path / "raw" / "place")
    values = optical_values(seed=1)
    write_tif(area / "optical_before.tif", values, IMAGE, names=BANDS)
    plan = examine(area, INGEST)
    facts = output.write(plan.moved(plan.before, (-4.0, 2.0), ("Moved.",)), tmp_path / "out")
    assert "Moved." in facts.findings
    assert "optical_before.tif" in facts.reprojected
    with rasterio.open(tmp_path / "out" / "image.tif") as source:
        np.testing.assert_array_equal(source.read(5)[:-1, :-2], values[0, 1:, 2:])


def test_an_earlier_image_that_covers_a_part_is_told(tmp_path: Path) -> None:
    area = sound_area(tmp_path / "raw" / "place")
    write_tif(area / "optical_before.tif", optical_values((30, 80), seed=1), IMAGE, names=BANDS)
    assert "optical_before.tif covers 50.0% of the image; on the rest nothing tells what is new." in (
        examine(area, INGEST).findings
    )


def test_a_coarser_earlier_image_is_compared_at_its_own_resolution(tmp_path: Path) -> None:
    area = sound_area(tmp_path / "raw" / "place")
    coarse = IMAGE * Affine.scale(5)
    write_tif(area / "optical_before.tif", optical_values((12, 16), seed=1), coarse, UTM, names=BANDS)
    plan = examine(area, INGEST)
    assert plan.common_grid(plan.before).affine.a == pytest.approx(10)
    assert plan.common_grid(plan.image[0]) == plan.grid


def test_the_dem_is_laid_on_the_later_image_unless_told() -> None:
    names = ["red", "nir", "red_before"]
    assert counting_bands(names, ())[0] == ["red", "nir"]
    assert counting_bands(names, ("red_before",))[0] == ["red_before"]


# ----------------------------------------------------------------------------------------------------- the generator


def test_new_landslides_are_in_the_later_image_alone_and_the_dem_is_the_earlier_ones() -> None:
    scene = world()
    earlier, grid = scene.earlier(), scene.grid(2.0)
    new = [scene.slides[number] for number in scene.new]
    old = [slide for number, slide in enumerate(scene.slides) if number not in scene.new]
    assert new
    assert old == list(earlier.slides)
    roi = slice(0, grid.shape[0]), slice(0, grid.shape[1])
    x, y = scene.coordinates(grid, roi)
    changed = np.abs(scene.elevation(x, y) - earlier.elevation(x, y)) > 0.5

    def inside(slides):
        return np.logical_or.reduce([sensors.outline_distance(slide, x, y) < -4 for slide in slides])

    assert changed[inside(new)].mean() > 0.6
    assert changed[inside(old)].mean() < 0.01
    elevation = sensors.dem(scene, grid, roi, shifted=False)
    np.testing.assert_array_equal(elevation, sensors.dem(earlier, grid, roi, shifted=False))
    later, before = (sensors.optical(of, grid, roi)[0].astype(float) for of in (scene, earlier))
    seen = (later > 0) & (before > 0)
    brighter = (later - before)[inside(new) & seen].mean() - (later - before)[~inside(new) & seen].mean()
    assert brighter > 300  # reflectance x 10000: without plants


def test_the_inventory_says_what_is_new_and_a_single_date_has_no_classes() -> None:
    scene = world()
    slides, _ = write.inventory(scene, np.random.default_rng(0))
    assert {row["id"] for _, row in slides.iterrows() if row["class"] == "new"} <= {n + 1 for n in scene.new}
    assert set(slides["class"]) == {"old", "new"}
    assert scene.area.bands[-1] == "nir_before"
    single = TypeAdapter(write.SynthesizeSettings).validate_json(json.dumps(GIVEN))
    area = single.areas["synthetic_small"]
    assert area.bands == BANDS
    assert "class" not in write.inventory(sensors.scene(area, single), np.random.default_rng(0))[0]
