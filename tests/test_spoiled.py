"""Twelve spoiled inputs, each through the real stage: one sentence with file and remedy, an exit code, nothing lost.

Starting a process takes most of the time, so the stage runs in a process of its own where the way out matters (a file
that breaks off, an argument, a parameter) and where it succeeds; else through the same `run(main)` in this one.
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from test_ingest import BANDS, DEM, IMAGE, UTM, hills, optical_values, sound_area, square, write_polygons, write_tif

from stages import _stage
from stages import ingest as stage

PARAMS = """\
ingest:
  optical_bands: [red, green, blue, nir]
  dem_margin_px: 4
  area_change_max_frac: 0.01
  stretch_max_frac: 0.1
"""


@pytest.fixture
def project(tmp_path):
    """A project with one sound area, and outs of other stages and areas that a failure must not touch."""
    sound_area(tmp_path / "data" / "raw" / "place")
    (tmp_path / "params.yaml").write_text(PARAMS)
    for out in ("data/ingest/other/facts.json", "data/ingest/place/facts.json", "data/coregister/place/shift.json"):
        (tmp_path / out).parent.mkdir(parents=True)
        (tmp_path / out).write_text("{}")
    return tmp_path


def ingest(project, area="place"):
    """Run the stage as the pipeline does; exit code, stdout, stderr."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "COV_"))}
    environment |= {"PYTHONPATH": str(Path(__file__).parent.parent), "HPCL_TRACK": "off", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.ingest", area]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def ingest_here(monkeypatch, capfd):
    """The same in this process; what libraries print is caught too."""

    def ingest_here(project, area="place"):
        monkeypatch.chdir(project)
        monkeypatch.setenv("HPCL_TRACK", "off")
        monkeypatch.setattr(sys, "argv", ["stages/ingest.py", area])
        code = 0
        try:
            _stage.run(stage.main)
        except SystemExit as leaving:
            code = 1
            print(leaving.code, file=sys.stderr)  # as the interpreter does
        return code, *capfd.readouterr()

    return ingest_here


def contents(project):
    return {
        p.relative_to(project): hashlib.sha256(p.read_bytes()).hexdigest() for p in project.rglob("*") if p.is_file()
    }


def no_crs(project, raw):
    write_tif(raw / "optical.tif", optical_values(), IMAGE, crs=None, nodata=0)
    return "place"


def geographic_dem(project, raw):
    """Metres under a CRS of degrees; a DEM that is in degrees is projected, and said so (see below)."""
    write_tif(raw / "dem.tif", hills(DEM, (35, 40)), DEM, crs="EPSG:4326", nodata=-9999)
    return "place"


def no_overlap(project, raw):
    away = DEM * DEM.translation(3000, 0)
    write_tif(raw / "dem.tif", hills(away, (35, 40)), away, nodata=-9999)
    return "place"


def wrong_band_count(project, raw):
    write_tif(raw / "optical.tif", optical_values(bands=3), IMAGE, nodata=0)
    return "place"


def undeclared_sentinel(project, raw):
    dem = hills(DEM, (35, 40))
    dem[:, 12:15, 14:18] = -9999
    write_tif(raw / "dem.tif", dem, DEM)
    return "place"


def empty_inventory(project, raw):
    write_polygons(raw / "landslides.gpkg", gpd.GeoSeries([], crs=UTM))
    return "place"


def truncated_tif(project, raw):
    rng = np.random.default_rng(0)
    noise = rng.normal(1000, 10, (1, 512, 512)).astype(np.float32)
    write_tif(project / "dem.tif", noise, DEM, nodata=-9999)
    rasterio.shutil.copy(project / "dem.tif", raw / "dem.tif", driver="COG")
    (project / "dem.tif").unlink()
    whole = (raw / "dem.tif").read_bytes()
    (raw / "dem.tif").write_bytes(whole[: len(whole) // 2])
    return "place"


def feet(project, raw):
    write_tif(raw / "dem.tif", hills(DEM, (35, 40)), DEM, nodata=-9999, unit="US survey foot")
    return "place"


def missing_optical(project, raw):
    (raw / "optical.tif").rename(raw / "ortho.tif")
    return "place"


def unreadable_inventory(project, raw):
    (raw / "landslides.gpkg").write_bytes(b"a page of an error message instead of a download")
    return "place"


def unknown_area(project, raw):
    return "plaice"


def misspelt_parameter(project, raw):
    (project / "params.yaml").write_text(PARAMS.replace("dem_margin_px", "dem_margins_px"))
    return "place"


SPOILED = {
    no_crs: ("data/raw/place/optical.tif", "has no coordinate reference system", "`rio edit-info --crs"),
    geographic_dem: ("data/raw/place/dem.tif", "has the geographic CRS WGS 84", "set the CRS it was made in"),
    no_overlap: ("data/raw/place/dem.tif", "does not overlap data/raw/place/optical.tif", "check the CRS of both"),
    wrong_band_count: ("data/raw/place/optical.tif", "has 3 bands", "give a file with these bands, or name the bands"),
    undeclared_sentinel: (
        "data/raw/place/dem.tif",
        "is -9999 at",
        "`rio edit-info --nodata -9999 data/raw/place/dem.tif`",
    ),
    empty_inventory: ("data/raw/place/landslides.gpkg", "has no polygons", "draw some, or take the file away"),
    truncated_tif: ("data/raw/place/dem.tif", "truncated", "copy the file again"),
    feet: ("data/raw/place/dem.tif", "has elevations in 'US survey foot'", "convert them to metres"),
    missing_optical: ("data/raw/place/optical.tif", "does not exist", "put the file there under this name"),
    unreadable_inventory: ("data/raw/place/landslides.gpkg", "is not a vector file", "give a complete GeoPackage"),
    unknown_area: ("data/raw/plaice", "does not exist (the areas there are: place)", "correct the name"),
    misspelt_parameter: ("params.yaml", "unknown parameter 'ingest.dem_margins_px'", "did you mean 'dem_margin_px'"),
}
IN_A_PROCESS = (truncated_tif, unknown_area, misspelt_parameter)


def test_there_are_twelve():
    assert len(SPOILED) == 12


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_spoiled_input_gives_one_sentence_and_leaves_everything(project, spoil, ingest_here):
    area = spoil(project, project / "data" / "raw" / "place")
    before = contents(project)
    code, _, stderr = (ingest if spoil in IN_A_PROCESS else ingest_here)(project, area)
    assert code == 1
    sentence = stderr.removesuffix("\n")
    assert sentence.startswith("ingest: ")
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert not re.search(r"[.!?]\s", sentence)
    for part in SPOILED[spoil]:
        assert part in sentence
    assert contents(project) == before


def test_the_same_area_unspoiled_goes_through(project):
    """So the sentences above come from what was spoiled, and a sound run leaves nothing of an earlier one."""
    (project / "data/ingest/place/stale.tif").write_text("")
    before = contents(project)
    code, stdout, stderr = ingest(project)
    assert (code, stderr) == (0, "")
    assert "place: 60 x 80 pixels of 2 m in WGS 84 / UTM zone 48N (EPSG:32648)." in stdout
    after = contents(project)
    out = Path("data/ingest/place")
    assert {p.name for p in after if p.parent == out} == {
        "image.tif",
        "dem.tif",
        "labels.tif",
        "landslides.gpkg",
        "facts.json",
    }
    assert {p: h for p, h in after.items() if p.parent != out} == {p: h for p, h in before.items() if p.parent != out}


def test_a_name_with_a_slash_is_refused(project, ingest_here):
    code, _, said = ingest_here(project, "place/")
    assert code
    assert "'place/' is no name of an area: it holds '/'" in said


def test_a_dem_in_degrees_is_projected_and_said_so(project, ingest_here):
    raw = project / "data" / "raw" / "place"
    write_polygons(raw / "landslides.gpkg", [square(20, 20, 31)])
    degrees = DEM.translation(104.995, 36.15) * DEM.scale(1e-4, -1e-4)
    write_tif(raw / "optical.tif", optical_values(), IMAGE, nodata=0, names=BANDS)
    write_tif(raw / "dem.tif", np.full((1, 100, 120), 1500, np.int16), degrees, crs="EPSG:4326", nodata=-32768)
    code, stdout, stderr = ingest_here(project)
    assert (code, stderr) == (0, "")
    assert "place: dem.tif is geographic (WGS 84 (EPSG:4326)) and was projected to WGS 84 / UTM zone 48N" in stdout
