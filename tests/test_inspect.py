"""`inspect` says what an area is, writes what suits it into params.yaml and nothing else, and refuses what `check` would."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from test_dvc_yaml import ROOT

from hpcl.ingest.raw import Raw
from stages import check, inspect
from stages._inputs import parsed
from stages._stage import sentences

WEST, NORTH = 430_000, 3_850_000


def write_raster(
    path: Path, names: tuple[str, ...], shape: tuple[int, int], pixel_m: float, dtype: str, **over: Any
) -> None:
    """A file whose pixels nobody wrote: headers, and as many bytes as these take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"height": shape[0], "width": shape[1], "count": len(names), "dtype": dtype, "crs": "EPSG:32643"}
    options = {
        "tiled": True,
        "SPARSE_OK": True,
        "BIGTIFF": "YES",
        "transform": from_origin(WEST, NORTH, pixel_m, pixel_m),
    }
    with rasterio.open(path, "w", driver="GTiff", **{**profile, **options, **over}) as file:
        file.descriptions = names


def write_inventory(path: Path, extent_m: tuple[float, float], count: int, median_m2: float = 900.0) -> None:
    rng = np.random.default_rng(1)
    x, y = WEST + rng.uniform(0, extent_m[1], count), NORTH - rng.uniform(0, extent_m[0], count)
    radius = np.sqrt(median_m2 * np.exp(1.4 * rng.normal(size=count)) / np.pi)
    shapes = shapely.buffer(shapely.points(x, y), radius, quad_segs=4)
    gpd.GeoDataFrame({"id": range(1, count + 1)}, geometry=shapes, crs="EPSG:32643").to_file(path)


def write_area(
    name: str = "kaghan", names: tuple[str, ...] = ("B2", "B3", "B4", "B8"), inventory: bool = True, **over: Any
) -> None:
    """A newcomer's: 10 m pixels, a DEM of 28.55 m, many small landslides."""
    folder = Path("data/raw") / name
    write_raster(folder / "optical.tif", names, (1200, 1000), 10, "uint16", **over)
    write_raster(folder / "dem.tif", ("",), (430, 360), 28.55, "float32")
    if inventory:
        write_inventory(folder / "landslides.gpkg", (12_000, 10_000), 300)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "ablation").mkdir()
    shutil.copy(ROOT / "ablation" / "params.yaml", tmp_path / "ablation")
    return tmp_path


def stopped(*arguments: str) -> str:
    """The sentence with which the command ends; empty if it does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["inspect", *arguments])
        try:
            with sentences("inspect"):
                inspect.main()
        except SystemExit as end:
            return str(end.code)
    return ""


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_a_newcomer_goes_from_files_to_parameters_that_check_passes(capsys: pytest.CaptureFixture[str]) -> None:
    write_area()
    before = files()
    assert stopped("kaghan") == ""
    assert files() == before, "without --write nothing is written"
    said = capsys.readouterr().out
    for words in (
        "1000 x 1200 px of 10 m", "EPSG:32643", "bands B2 B3 B4 B8 = blue green red nir (Sentinel-2)", "= 2.9 image pixels",
        "300 of 300 polygons", "hyper-pixel", "most cannot be outlined at 10 m", "terrain.smoothing_m", "6 -> 30",
        "relief_30m, relief_120m -> relief_100m, relief_400m", "Nothing was written", "encoders    start from random weights",
    ):  # fmt: skip
        assert words in said
    assert stopped("kaghan", "--write") == ""
    after = files()
    assert {name for name in after if after[name] != before.get(name)} == {"params.yaml"}
    document = parsed(Path("params.yaml").read_text())
    assert document["areas"] == ["kaghan"]
    assert document["terrain"]["relief_radii_m"] == [100.0, 400.0]
    assert document["model"]["branches"]["optical"] == ["B2", "B3", "B4", "B8"]
    assert check.sound() == []
    assert stopped("kaghan", "--write") == ""
    assert files() == after, "a second --write changes nothing"
    assert "nothing: params.yaml suits this area" in capsys.readouterr().out


def test_an_earlier_image_becomes_a_branch(capsys: pytest.CaptureFixture[str]) -> None:
    """Of three bands, which is fewer than the later image has."""
    write_area(names=("red", "green", "blue", "nir"))
    write_raster(Path("data/raw/kaghan/optical_before.tif"), ("red", "green", "nir"), (500, 500), 20, "uint16")
    assert stopped("kaghan", "--write") == ""
    said = " ".join(capsys.readouterr().out.split())
    assert "model.branches.before none -> red_before, green_before, nir_before" in said
    assert "tells new landslides from old ones" in said
    assert "    before: [red_before, green_before, nir_before]\n    optical:\n" in Path("params.yaml").read_text()
    assert list(parsed(Path("params.yaml").read_text())["model"]["branches"]) == ["before", "optical", "terrain"]
    assert check.sound() == []
    assert stopped("kaghan", "--write") == ""
    assert "nothing: params.yaml suits this area" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed", [("pretrained: false", "pretrained: true"), ("weights: {}", "weights: {optical: {file: here}}")]
)
def test_who_starts_from_weights_is_told_of_no_others(
    changed: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_area()
    text = Path("params.yaml").read_text()
    assert changed[0] in text
    Path("params.yaml").write_text(text.replace(*changed))
    assert stopped("kaghan") == ""
    assert "random weights" not in capsys.readouterr().out


def test_a_wish_that_check_would_refuse_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_area()
    text = Path("params.yaml").read_text().replace("split: blocks ", "split: areas ")
    Path("params.yaml").write_text(text)
    said = stopped("kaghan", "--write")
    assert said.startswith("inspect: params.yaml was not changed, because `check` would refuse it with these values: ")
    assert "tile.split areas deals whole areas" in said
    assert Path("params.yaml").read_text() == text


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda at: (at / "dem.tif").unlink(), "dem.tif does not exist (the folder holds landslides.gpkg, optical.tif)"),
        (lambda at: (at / "optical.tif").write_bytes(b""), "optical.tif is empty"),
        (lambda at: (at / "landslides.gpkg").write_text("nothing"), "landslides.gpkg is not a vector file"),
        (shutil.rmtree, "data/raw/kaghan does not exist"),
        (lambda at: write_raster(at / "dem.tif", ("",), (9, 9), 30, "float32", crs="EPSG:32718"), "does not overlap"),
    ],
)  # fmt: skip
def test_broken_files_are_said_as_ingest_says_them(broken: Any, sentence: str) -> None:
    write_area()
    broken(Path("data/raw/kaghan"))
    said = stopped("kaghan", "--write")
    assert sentence in said
    assert said.count("\n") == 0


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_a_bad_name_makes_no_path(name: str) -> None:
    assert "is no name of an area" in stopped(name)


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        (("", "", "", ""), None),
        (("red", "green", "blue", "NIR"), None),
        (("a", "b", "c", "d", "e", "f"), ["a", "b", "c", "d", "e", "f"]),
        (("", "", "", "", ""), ["band_1", "band_2", "band_3", "band_4", "band_5"]),
    ],
)
def test_bands_are_named_as_the_file_has_them(
    names: tuple[str, ...], proposed: list[str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_area(names=names)
    assert stopped("kaghan", "--write") == ""
    document = parsed(Path("params.yaml").read_text())
    kept = ["red", "green", "blue", "nir"]
    assert document["ingest"]["optical_bands"] == (proposed or kept)
    assert document["model"]["branches"]["optical"] == (proposed or kept)
    assert ("nobody says which is which" in capsys.readouterr().out) == (names == ("",) * 5)


def test_an_area_without_an_inventory_takes_the_parameters_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    write_area(inventory=False)
    before = files()
    assert stopped("kaghan", "--write") == ""
    assert files() == before
    assert "none: the area is mapped with what other areas taught" in capsys.readouterr().out


def test_what_suits_one_area_and_not_another_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_area("naran", names=("red", "green", "blue", "nir"))
    write_area("kaghan", names=("red", "green", "blue", "nir"))
    write_raster(Path("data/raw/naran/dem.tif"), ("",), (12_300, 10_300), 1, "float32")
    write_raster(Path("data/raw/naran/optical.tif"), ("red", "green", "blue", "nir"), (12_000, 10_000), 1, "uint16")
    assert stopped("naran", "--write") == ""
    capsys.readouterr()
    assert stopped("kaghan") == ""
    said = " ".join(capsys.readouterr().out.split())
    assert "areas naran -> naran, kaghan" in said
    assert "Parameters are those of all areas, and these suit kaghan; for naran: terrain.smoothing_m of 30 m" in said


def test_of_a_scene_of_20000_pixels_samples_are_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3.2 GB a few hundredths of a per cent: those that tell a mask from a band without a name."""
    write_area()
    for name, bands, side, pixel_m, kind in (
        ("optical", ("",) * 4, 20_000, 10, "uint16"),
        ("dem", ("",), 7200, 28.55, "float32"),
    ):
        write_raster(
            Path(f"data/raw/kaghan/{name}.tif"), bands, (side, side), pixel_m, kind, blockxsize=512, blockysize=512
        )
    read: list[int] = []
    whole = Raw._read

    def counted(raw: Raw, *arguments: Any, **options: Any) -> Any:
        values = whole(raw, *arguments, **options)
        read.append(values.nbytes)
        return values

    monkeypatch.setattr(Raw, "_read", counted)
    assert stopped("kaghan") == ""
    assert sum(read) < 0.002 * 20_000**2 * 4 * 2
    assert "20000 x 20000 px" in capsys.readouterr().out
