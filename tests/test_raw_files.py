"""Which raw files are opened: the true cause where there is no raster, and nothing that lies outside of the area's folder."""

import os
import re
import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from test_ingest import DEM, IMAGE, UTM, area, hills, optical_values, refusal, run, write_tif

from hpcl.ingest import opening

__all__ = ["area"]  # a fixture
NAMES = ["optical.tif", "dem.tif", "reference_dem.tif", "thermal.tif"]


def spoil(path, kind):
    path.unlink(missing_ok=True)
    if kind == "dangling":
        path.symlink_to("gone/away.tif")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(kind)


CAUSES = {
    "dangling": "is a link to gone/away.tif, which does not exist",
    "loop": "cannot be read (Too many levels of symbolic links)",
    "folder": "is a folder",
    "pipe": "is a pipe, a socket or a device",
    "device": "is a pipe, a socket or a device",
    b"": "is empty (0 bytes)",
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>": "is a web page",
    b"\n <HTML>Log in, please.</HTML>": "is a web page",
    b"PK\x03\x04" + bytes(60): "is a ZIP archive",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n": "is a pointer of Git LFS",
    b"some words about nothing": "is in none of the formats that are read (GTiff,",
    b"II*\0\x08": "Cannot read TIFF header",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CAUSES, ids=lambda kind: str(kind)[:12])
def test_the_true_cause_is_said(area, name, kind):
    spoil(area / name, kind)
    sentence = refusal(area)
    assert sentence.startswith(f"{area / name} ")
    assert CAUSES[kind] in sentence
    assert "\n" not in sentence
    assert not re.search(r"[.!?]\s", sentence)
    assert sentence.endswith(".")


def test_a_file_without_read_permission(area, tmp_path):
    if os.geteuid():
        (area / "dem.tif").chmod(0)
        assert "dem.tif cannot be read (Permission denied)" in refusal(area)
        return
    for folder in (area, *area.parents):
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)
    (area / "dem.tif").chmod(0)
    os.seteuid(65534)
    try:
        sentence = refusal(area)
    finally:
        os.seteuid(0)
    assert "dem.tif cannot be read (Permission denied)" in sentence


# ------------------------------------------------------------------------------------------- virtual rasters


def virtual(path, source, into=None, **how):
    """A virtual raster at ``path`` that shows ``source``, its text changed by ``into``."""
    real = path.with_name("real_image")
    write_tif(real, optical_values(), IMAGE, nodata=0, **how)
    path.unlink(missing_ok=True)
    rasterio.shutil.copy(real, path, driver="VRT")
    text = path.read_text()
    named = '<SourceFilename relativeToVRT="1">real_image</SourceFilename>'
    assert named in text
    relative = 0 if str(source).startswith(("/", "<")) else 1
    text = text.replace(named, f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>')
    path.write_text(into(text) if into else text)
    return real


def test_a_mosaic_of_files_beside_it_is_read(area):
    real = virtual(area / "optical.tif", "tiles/a.tif")
    (area / "tiles").mkdir()
    real.rename(area / "tiles" / "a.tif")
    assert run(area)[0].valid_frac.image == 1.0
    (area / "optical.tif").rename(area / "inner")
    virtual(area / "optical.tif", "inner")  # one that shows another
    assert run(area)[0].valid_frac.image == 1.0
    (area / "tiles" / "a.tif").rename(area / "tiles" / "b.tif")
    assert f"shows {area / 'tiles' / 'a.tif'}, which does not exist" in refusal(area)


@pytest.mark.parametrize("how", ["absolute", "dots", "link", "folder link", "nested", "mask", "overview"])
def test_nothing_outside_of_the_folder_is_shown(area, tmp_path, how):
    secret = write_tif(tmp_path / "secret" / "secret.tif", optical_values(), IMAGE, nodata=0)
    source = {
        "absolute": str(secret),
        "dots": "../../secret/secret.tif",
        "link": "link.tiff_",
        "folder link": "in/secret.tif",
    }
    if how == "link":
        (area / "link.tiff_").symlink_to(secret)
    elif how == "folder link":
        (area / "in").symlink_to(secret.parent)
    if how in source:
        virtual(area / "optical.tif", source[how])
    elif how == "nested":
        virtual(area / "inner", str(secret))
        virtual(area / "optical.tif", "inner")
    else:
        virtual(area / "shown", str(secret))
        (area / "shown").rename(area / f"optical.tif{'.msk' if how == 'mask' else '.ovr'}")
    assert re.search(r"shows \S+, which lies outside of its folder", refusal(area))


@pytest.mark.parametrize(
    "into",
    [
        lambda text: text.replace("<VRTDataset", '<VRTDataset subClass="VRTWarpedDataset"'),
        lambda text: text.replace("<VRTRasterBand", '<VRTRasterBand subClass="VRTRawRasterBand"', 1),
        lambda text: text.replace("<VRTRasterBand", '<VRTRasterBand subClass="VRTDerivedRasterBand"', 1),
        lambda text: text.replace(
            "</SourceFilename>", "</SourceFilename><OpenOptions><OOI key='X'>1</OOI></OpenOptions>", 1
        ),
        lambda text: text.replace("SourceFilename", "sourcefilename"),
        lambda text: '<!DOCTYPE x [<!ENTITY a "b">]>' + text,
        lambda text: text.replace("</VRTDataset>", "<GDALWarpOptions/></VRTDataset>"),
        lambda text: text + "<more/>",
    ],
    ids=["warped", "raw", "derived", "options", "case", "entity", "warp", "two"],
)
def test_only_mosaics_of_files_are_read(area, into):
    virtual(area / "optical.tif", "real_image", into)
    assert "is a virtual raster" in refusal(area)


def test_a_raster_that_shows_itself(area):
    virtual(area / "optical.tif", "optical.tif")
    assert "shows itself" in refusal(area)


@contextmanager
def counting_server():
    """The address of a server that hangs up, and a list of who came."""
    came: list[socket.socket] = []
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def listen():
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                came.append(connection)
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("name", ["optical.tif", "dem.tif", "thermal.tif"])
@pytest.mark.parametrize("how", ["vsicurl", "http", "wms", "wms shown", "mask"])
def test_nothing_is_fetched(area, name, how):
    """A server counts who comes."""
    with counting_server() as (address, came):
        wms = (
            f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>'
            "<UpperLeftX>500000</UpperLeftX><UpperLeftY>4000000</UpperLeftY><LowerRightX>500160</LowerRightX>"
            "<LowerRightY>3999880</LowerRightY><SizeX>80</SizeX><SizeY>60</SizeY></DataWindow><Projection>EPSG:32648"
            "</Projection><BandsCount>3</BandsCount></GDAL_WMS>"
        )
        if how == "vsicurl":
            virtual(area / name, f"/vsicurl/{address}/a.tif")
        elif how == "http":  # a file of that name lies there, but GDAL knows an address when it sees one
            decoy = area / f"{address}/a.tif"
            decoy.parent.mkdir(parents=True)
            virtual(area / name, f"{address}/a.tif").rename(decoy)
        elif how == "wms":
            (area / name).write_text(wms)
        elif how == "wms shown":
            virtual(area / name, "shown")
            (area / "shown").write_text(wms)
        else:
            write_tif(area / name, hills(DEM, (35, 40)), DEM)
            virtual(area / f"{name}.msk", f"/vsicurl/{address}/a.tif")
        assert ("it holds a colon" in refusal(area)) == ("wms" not in how)
        with pytest.raises(rasterio.errors.RasterioIOError), rasterio.open(f"/vsicurl/{address}/a.tif"):
            pass
    assert not came


def test_an_address_in_the_tags_of_a_raster_is_not_followed(area):
    """GDAL looks there for the name of a file with overviews, whenever it opens the raster."""
    with counting_server() as (address, came):
        with rasterio.open(area / "optical.tif", "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"{address}/a.tif")
        with opening.open_raster(area / "optical.tif") as file:
            assert file.tags(ns="OVERVIEWS")
    assert not came


# ------------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("side", [200_000, 1_000_000])
def test_a_small_file_of_endless_blocks_is_refused_at_once(area, side):
    (area / "optical.tif").unlink()
    with rasterio.open(
        area / "optical.tif", "w", driver="GTiff", count=1, height=side, width=side, dtype="uint8", crs=UTM, transform=IMAGE,
        tiled=True, blockxsize=16384, blockysize=16384, compress="deflate", sparse_ok=True, BIGTIFF="YES",
    ):  # fmt: skip
        pass
    assert (area / "optical.tif").stat().st_size < 200_000
    sentence = refusal(area)
    assert f"has {side:,} x {side:,} pixels where the area lies, {side**2 / 1e9:,.4g} billion" in sentence
    assert re.search(r"some [\d,]+ hours and [\d,]+ GB of disk", sentence)


def test_a_large_file_under_a_small_area_is_no_matter(area, monkeypatch):
    monkeypatch.setattr(opening, "MAX_PX", 60 * 80)
    wide = Affine(2.0, 0, IMAGE.c - 200, 0, -2.0, IMAGE.f + 200)
    write_tif(area / "thermal.tif", np.random.default_rng(0).normal(size=(1, 300, 300)).astype("f4"), wide)
    monkeypatch.setattr(opening, "MAX_PX", 70 * 90)
    assert run(area)[0].findings == []
    fine = Affine(0.5, 0, IMAGE.c, 0, -0.5, IMAGE.f)
    write_tif(area / "thermal.tif", np.zeros((1, 240, 320), "f4"), fine)
    assert "thermal.tif has 240 x 320 pixels where the area lies" in refusal(area)
