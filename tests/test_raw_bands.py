"""What a raw file says of its bands: alpha by its values, names by colour or description, palettes, bands that say nothing."""

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp as C
from test_ingest import BANDS, DEM, IMAGE, SETTINGS, area, hills, optical_values, refusal, run, vars_of, write_tif

from hpcl.geo import raster
from hpcl.ingest import IngestSettings

__all__ = ["area"]  # a fixture
SHAPE = (60, 80)


def named(*names):
    return IngestSettings(**{**vars_of(SETTINGS), "optical_bands": names})


def coloured(path, values, colours, **how):
    write_tif(path, values, IMAGE, **how)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = colours
    return path


def layers(dtype, bands, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(1, top, (bands, *SHAPE)).astype(dtype)


def names_of(facts):
    return [band.name for band in facts.bands]


def alpha_of(dtype, how):
    alpha = np.full((1, *SHAPE), np.iinfo(dtype).max, dtype)
    if how != "opaque":
        alpha[:, :20, :30] = 0
    if how == "feathered":
        alpha[:, 20, :30] = np.iinfo(dtype).max // 2
    return alpha


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("how", ["opaque", "collar", "feathered"])
@pytest.mark.parametrize("at", [3, 0, 1])
def test_alpha_is_a_mask_and_never_a_band(area, dtype, how, at):
    """Against the shipped names, with four bands expected; wherever alpha stands."""
    values, alpha = layers(dtype, 3), alpha_of(dtype, how)
    colours = [C.red, C.green, C.blue]
    colours.insert(at, C.alpha)
    coloured(area / "optical.tif", np.insert(values, at, alpha[0], axis=0), colours)
    facts, out = run(area)
    assert names_of(facts) == ["red", "green", "blue"]
    assert facts.findings == [f"optical.tif has no band nir of ingest.optical_bands (band {at + 1} is alpha, a mask)."]
    image = raster.read(out / "image.tif").values
    np.testing.assert_array_equal(np.isnan(image), np.broadcast_to(alpha == 0, image.shape))
    np.testing.assert_array_equal(image[:, alpha[0] > 0], values[:, alpha[0] > 0].astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_near_infrared_called_alpha_is_a_band(area, dtype):
    values = layers(dtype, 4)
    values[:, :30] = 0  # a collar of half the file, declared
    coloured(area / "optical.tif", values, [C.red, C.green, C.blue, C.alpha], nodata=0)
    facts, out = run(area)
    assert names_of(facts) == list(BANDS)
    assert facts.findings == []
    np.testing.assert_array_equal(raster.read(out / "image.tif").values[:, 30:], values[:, 30:].astype(np.float32))


def test_gray_and_alpha(area):
    values = layers("uint8", 1)
    coloured(area / "optical.tif", np.concatenate([values, alpha_of("uint8", "collar")]), [C.gray, C.alpha])
    facts, _ = run(area, named("gray"))
    assert (names_of(facts), facts.findings) == (["gray"], [])
    dem = hills(DEM, (35, 40))
    write_tif(area / "dem.tif", np.concatenate([dem, np.ones_like(dem)]), DEM)
    with rasterio.open(area / "dem.tif", "r+") as file:
        file.colorinterp = [C.gray, C.alpha]
    assert run(area, named("gray"))[0].valid_frac.dem == 1.0


def test_a_mask_that_nobody_calls_alpha(area):
    """16 bits, minimum-is-black: GDAL says nothing of the fourth band, its numbers do."""
    write_tif(area / "optical.tif", np.concatenate([layers("uint16", 3), alpha_of("uint16", "collar")]), IMAGE)
    sentence = refusal(area)
    assert "has 3 bands beside alpha, a mask, but params.yaml ingest.optical_bands names 4" in sentence
    assert names_of(run(area, named("red", "green", "blue"))[0]) == ["red", "green", "blue"]


ORDERS = [
    ((C.blue, C.green, C.red, C.undefined), ["blue", "green", "red", "nir"]),
    ((C.nir, C.red, C.green, C.blue), ["nir", "red", "green", "blue"]),
    ((C.undefined, C.blue, C.red, C.green), ["nir", "blue", "red", "green"]),
]


@pytest.mark.parametrize(("colours", "expected"), ORDERS)
def test_colours_say_which_band_is_which(area, colours, expected):
    values = optical_values()
    coloured(area / "optical.tif", values, colours, photometric="minisblack")
    facts, out = run(area)
    assert names_of(facts) == expected
    assert "so they were called " + ", ".join(expected) in facts.findings[0]
    image = raster.read(out / "image.tif")
    for band, layer in zip(expected, values, strict=True):
        np.testing.assert_array_equal(image[band], layer.astype(np.float32))


def test_the_order_of_the_settings_does_not_matter(area):
    values = layers("uint8", 3)
    write_tif(area / "optical.tif", values, IMAGE, photometric="RGB")
    facts, out = run(area, named("blue", "green", "red"))
    assert names_of(facts) == ["red", "green", "blue"]
    np.testing.assert_array_equal(raster.read(out / "image.tif")["red"], values[0].astype(np.float32))


def test_the_colours_of_any_byte_image_do_not_rename_others(area):
    """GDAL writes red, green, blue into every file of three bytes: false colours keep the names of the settings."""
    write_tif(area / "optical.tif", layers("uint8", 3), IMAGE)
    facts, _ = run(area, named("nir", "red", "green"))
    assert names_of(facts) == ["nir", "red", "green"]
    assert "as any image of 8 bits that nobody gave others" in facts.findings[0]


@pytest.mark.parametrize("first", ["red", "Green", " nir "])
def test_a_description_against_its_colour_is_named(area, first):
    names = [first, *[name for name in ("blue", "red", "green", "nir") if name != first.strip().lower()][:3]]
    coloured(area / "optical.tif", optical_values(), (C.blue, C.undefined, C.undefined, C.undefined), names=names)
    facts, _ = run(area)
    assert f"optical.tif calls band 1 '{first.strip().lower()}', but it has the colour blue" in facts.findings[0]
    assert names_of(facts)[0] == first.strip().lower()


@pytest.mark.parametrize(
    "names",
    [
        [f"{stem}{i}" for i in range(1, 5)]
        for stem in ("Band_", "Layer_", "band ", "B_", "lyr.", "Bande ", "Band #", "")
    ],
    ids=lambda names: names[0],
)
def test_numbers_are_no_names(area, names):
    write_tif(area / "optical.tif", optical_values(), IMAGE, names=names, nodata=0)
    write_tif(area / "radar.tif", optical_values(bands=2).astype(np.float32), IMAGE, names=names[:2])
    facts, _ = run(area)
    assert names_of(facts) == [*BANDS, "radar_1", "radar_2"]
    assert facts.findings == []


@pytest.mark.parametrize("names", [("B2", "B3", "B4", "B8A"), ("B02", "B03", "B04", "B08"), ("VV", "VH", "HH", "HV")])
def test_names_of_sensors_are_names(area, names):
    write_tif(area / "optical.tif", optical_values(), IMAGE, names=names, nodata=0)
    facts, _ = run(area, named(*names))
    assert (names_of(facts), facts.findings) == (list(names), [])
    assert names_of(run(area)[0]) == list(names)


@pytest.mark.parametrize("names", [("Red", "GREEN", " blue", "NIR "), ("red ", "Green", "Blue", "nIr")])
def test_case_and_blanks_make_no_other_name(area, names):
    write_tif(area / "optical.tif", optical_values(), IMAGE, names=names, nodata=0)
    facts, _ = run(area)
    assert (names_of(facts), facts.findings) == (list(BANDS), [])


def test_some_names_that_do_not_tell_the_others(area):
    write_tif(area / "optical.tif", optical_values(), IMAGE, names=("pan", "", "", ""), nodata=0)
    assert "name them all, as in `rio edit-info --bidx 2 --description red " in refusal(area)


@pytest.mark.parametrize("nodata", [None, 7, "transparent"])
def test_a_palette_is_expanded_before_anything_is_resampled(area, nodata):
    """As the image, and as a further band that is half a pixel off its grid."""
    rng = np.random.default_rng(5)
    table = {i: (*(int(v) for v in rng.integers(0, 256, 3)), 255) for i in range(16)}
    index = np.repeat(np.repeat(rng.integers(0, 16, (1, 6, 8)), 10, axis=1), 10, axis=2).astype(np.uint8)
    write_tif(area / "optical.tif", index, IMAGE, nodata=nodata if nodata == 7 else None)
    with rasterio.open(area / "optical.tif", "r+") as file:
        file.write_colormap(1, table)
    if nodata == "transparent":  # GeoTIFFs have opaque palettes only
        (area / "optical.tif").rename(area / "indices")
        rasterio.shutil.copy(area / "indices", area / "optical.tif", driver="VRT")
        opaque = '<Entry c1="{}" c2="{}" c3="{}" c4="255"'.format(*table[3][:3])
        virtual = (area / "optical.tif").read_text()
        assert opaque in virtual
        (area / "optical.tif").write_text(virtual.replace(opaque, opaque.replace('c4="255"', 'c4="0"')))
    facts, out = run(area, named("red", "green", "blue"))
    assert facts.findings[0] == (
        "optical.tif has one band of indices into a palette, which was expanded to red, green and blue."
    )
    expected = np.array([table[i][:3] for i in range(16)], np.float32).T[:, index[0]]
    expected[:, index[0] == {None: 16, 7: 7, "transparent": 3}[nodata]] = np.nan
    np.testing.assert_array_equal(raster.read(out / "image.tif").values, expected)
    (area / "optical.tif").unlink()
    write_tif(area / "optical.tif", optical_values(), IMAGE, nodata=0)
    write_tif(area / "geology.tif", index, IMAGE * IMAGE.translation(0.5, 0.5))
    with rasterio.open(area / "geology.tif", "r+") as file:
        file.write_colormap(1, table)
    facts, out = run(area)
    assert names_of(facts)[4:] == ["geology_red", "geology_green", "geology_blue"]
    image = raster.read(out / "image.tif")
    inside = image["geology_red"][15, 15]  # in the middle of a patch of one index
    assert inside == table[int(index[0, 14, 14])][0]


@pytest.mark.parametrize("value", [0, 17, 40_000])
def test_a_band_of_one_value_is_said(area, value):
    values = optical_values()
    values[3] = value
    write_tif(area / "optical.tif", values, IMAGE, names=BANDS)
    flat = np.full((1, 80, 100), 0.25, np.float32)
    write_tif(area / "thermal.tif", flat, IMAGE * IMAGE.translation(-3.3, -4.1))
    sentence = f"optical.tif: band 'nir' is {value} throughout, so it says nothing."
    assert run(area)[0].findings == [sentence, "thermal.tif: band 'thermal' is 0.25 throughout, so it says nothing."]


def test_a_band_without_a_value_is_said(area):
    values = optical_values()
    values[2] = 0
    write_tif(area / "optical.tif", values, IMAGE, names=BANDS, nodata=0)
    assert run(area)[0].findings == ["optical.tif: band 'blue' has no value anywhere on the area."]
