"""Which raw rasters are opened: plain files of formats that hold their own pixels, and nothing that lies elsewhere.

GDAL opens far more than that: addresses on the network, virtual rasters that show any file of this machine, pipes that
never end. A raw area may come from anywhere, so what a file refers to is checked before GDAL sees it.
"""

from __future__ import annotations

import math
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import rasterio
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from hpcl.geo.raster import Shape
from hpcl.ingest import remedies
from hpcl.ingest.settings import IngestError

DRIVERS = ("GTiff", "JP2OpenJPEG", "HFA", "ENVI", "EHdr", "AAIGrid", "DTED", "USGSDEM", "PNG", "JPEG")
"""GDAL's names of the formats that are read. Each holds its pixels itself, or in a file beside it (see `_check_files`);
those that fetch them (WMS, WCS, HTTP, STACIT...) or hold many rasters in one file (netCDF, HDF5, Zarr) are left out."""

MAX_PX = 10**10
"""Pixels of the largest raster that is taken up, 100,000 x 100,000. It keeps all stages busy for two days and fills 1.5 TB
(docs/benchmarks.md measures a scene of 20,000 x 20,000); beyond, a mistake is likelier than a wish."""
HOURS_PER_PX, DISK_GB_PER_PX = 1.5 / 4e8, 60 / 4e8
"""What all stages take on two cores, and what they write, by docs/benchmarks.md."""

TIFF, JPEG_2000 = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
NO_RASTERS = (
    (b"<!doctype html", "a web page, as servers send in place of a file"),
    (b"<html", "a web page, as servers send in place of a file"),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself (`git lfs pull` fetches it)"),
    (b"/annex/objects", "a pointer of git-annex and not the file itself (`git annex get` fetches it)"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a file compressed by gzip"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"rar!", "a RAR archive"),
    (b"%pdf", "a PDF"),
)
"""How files begin (in lower case) that are often found under the name of a raster, and what they are."""
VRT_ELEMENTS = {
    "VRTDataset", "SRS", "GeoTransform", "Metadata", "MDI", "OverviewList", "GCPList", "GCP", "MaskBand",
    "VRTRasterBand", "NoDataValue", "HideNoDataValue", "ColorInterp", "ColorTable", "Entry", "Description",
    "UnitType", "Offset", "Scale", "CategoryNames", "Category", "Histograms", "HistItem", "HistMin", "HistMax",
    "BucketCount", "IncludeOutOfRange", "Approximate", "HistCounts", "Overview", "SimpleSource", "ComplexSource",
    "AveragedSource", "SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect", "NODATA",
    "UseMaskBand", "ScaleOffset", "ScaleRatio", "LUT",
}  # fmt: skip
"""What a mosaic of files is made of. Other elements (raw bands, warped and derived rasters) can show any file."""

CRS_SAID = "coordinate reference system"
BESIDE: dict[str, Callable[[Any], Any]] = {
    CRS_SAID: lambda file: file.crs,
    "position": lambda file: file.transform,
    "control points": lambda file: [point.asdict() for point in file.gcps[0]],
    "nodata value": lambda file: file.nodatavals,
    "scale": lambda file: (file.scales, file.offsets),
    "unit": lambda file: [unit or "" for unit in file.units],
    "names of bands": lambda file: file.descriptions,
}
"""What the .aux.xml beside a raster might say of it, and how it is read."""

# In the environment, where GDAL looks whenever it opens something: no file on the network bears this name.
os.environ.setdefault("CPL_VSIL_CURL_ALLOWED_FILENAME", "none")
# These fetch by another road. GDAL would take them for any name within a file that is an address, such as that of an overview
# in a GeoTIFF's tags. All that rasterio's GDAL has, and no more: it complains of names that it does not know.
os.environ.setdefault("GDAL_SKIP", "HTTP,WMS,WCS,WMTS,EEDA,EEDAI,PLMOSAIC,DAAS")


def open_raster(path: Path) -> DatasetReader:
    """``path`` opened by one of `DRIVERS`, or as a virtual raster of GeoTIFFs and JPEG 2000 files in its own folder.

    Raises `IngestError` with the cause if there is nothing to open, or if it leads out of the folder.
    """
    virtual = _check_references(path, path.parent.resolve(), ())
    try:
        file = _opened(path, virtual, beside=False)
    except RasterioError as error:
        if "not recognized" in str(error):
            raise IngestError(
                f"{path} is in none of the formats that are read ({', '.join(DRIVERS)}); give a GeoTIFF there."
            ) from error
        raise IngestError(
            f"{path} cannot be opened as a raster (GDAL says: {gdal_words(error)}); it may be cut short or damaged, so copy"
            " the file again."
        ) from error
    if not virtual:
        _check_files(path, file)
    if os.path.lexists(path.with_name(f"{path.name}.aux.xml")):
        _check_beside(path, file, virtual)
    return file


def _opened(path: Path, virtual: bool, beside: bool) -> DatasetReader:
    """The file as it is, or with what the .aux.xml ``beside`` it says."""
    with rasterio.Env(GDAL_PAM_ENABLED=beside), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `Raw` refuses it, in words of our own
        # Not rasterio.open, which takes one driver only.
        return DatasetReader(path, driver=["VRT"] if virtual else list(DRIVERS))


def _check_beside(path: Path, file: DatasetReader, virtual: bool) -> None:
    """Refuse a file of which the .aux.xml says what it does not say itself.

    Programs write one with statistics of any raster that they show, so DVC looks past them (.dvcignore); a CRS or a nodata
    value in there would change the result without an input that changed.
    """
    try:
        with _opened(path, virtual, beside=True) as other:
            said = [
                what
                for what, say in BESIDE.items()
                if say(other)
                and say(other) != say(file)
                and repr(say(other)) != repr(say(file))
                and not (what == CRS_SAID and say(file))  # the same one in other words, mostly; its own counts
            ]
    except (RasterioError, CRSError):
        return  # it does not matter what is wrong with a file that is not read
    if said:
        file.close()
        raise IngestError(
            f"{path} does not say its {said[0]} itself: that stands in {path.name}.aux.xml beside it, which is not read, for"
            f" programs write it at will; write it into the file, as in `{remedies.take_in(path)}`, or delete"
            f" {path.name}.aux.xml if that is wrong."
        )


def gdal_words(error: BaseException) -> str:
    """What GDAL said, in one line: the message of the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(getattr(error, "errmsg", error)).split()).rstrip(".").replace(". ", "; ")


def _head(path: Path) -> bytes:
    """The first bytes of a file that surely has some; else an `IngestError` that says what is there."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise IngestError(f"{path} is a folder; put the raster file itself there.")
        if not stat.S_ISREG(kind):
            raise IngestError(f"{path} is a pipe, a socket or a device; put a file there.")
        with path.open("rb") as file:
            head = file.read(1024)
    except FileNotFoundError as error:
        if path.is_symlink():
            target = path.readlink()
            raise IngestError(
                f"{path} is a link to {target}, which does not exist; put the file itself there."
            ) from error
        raise IngestError(f"{path} does not exist; put the file there.") from error
    except OSError as error:  # no permission, a link to itself, a disk that fails
        raise IngestError(f"{path} cannot be read ({error.strerror}); make it readable, or copy it again.") from error
    if not head:
        raise IngestError(f"{path} is empty (0 bytes); copy the file again.")
    for start, what in NO_RASTERS:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(start):
            raise IngestError(f"{path} is {what}; put the raster itself there.")
    return head


def _check_references(path: Path, folder: Path, through: tuple[Path, ...]) -> bool:
    """Refuse a file that leads out of ``folder``; returns whether it is a virtual raster. ``through`` leads to it."""
    head = _head(path)
    for suffix in (".msk", ".ovr"):  # masks and overviews, which GDAL opens with any driver
        beside = path.with_name(path.name + suffix)
        if os.path.lexists(beside):
            _check_source(beside, folder, (*through, path))
    if b"<VRTDataset" not in head.split(b"\0")[0]:  # as GDAL knows one
        return False
    for source in _sources(path):
        _check_source(source, folder, (*through, path))
    return True


def _check_source(source: Path, folder: Path, through: tuple[Path, ...]) -> None:
    shown = through[-1]
    if not source.resolve().is_relative_to(folder):
        raise IngestError(
            f"{shown} shows {source}, which lies outside of its folder; make one file of it, as in"
            f" `{remedies.as_geotiff(shown)}`, or put all that it shows beside it."
        )
    if source.resolve() in [path.resolve() for path in through]:
        raise IngestError(f"{shown} shows itself; put the raster itself there.")
    if not os.path.lexists(source):
        raise IngestError(f"{shown} shows {source}, which does not exist; put that file there, too.")
    virtual = _check_references(source, folder, through)
    if not (virtual or _head(source).startswith(TIFF + JPEG_2000)):
        raise IngestError(
            f"{shown} shows {source}, which is neither a GeoTIFF nor a JPEG 2000 file; make a GeoTIFF of it."
        )


def _sources(path: Path) -> list[Path]:
    """The files that a virtual raster shows."""
    refused = f"make one file of it, as in `{remedies.as_geotiff(path)}`"
    try:
        text = path.read_text(encoding="utf-8")
        if "<!" in text.replace("<!--", ""):
            raise IngestError(f"{path} is a virtual raster with a document type of its own; {refused}.")
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise IngestError(f"{path} is a virtual raster, but no XML ({error}); make it again.") from error
    found: dict[Path, None] = {}  # each once, in their order
    for element in root.iter():
        kind = element.get("subClass", "VRTSourcedRasterBand")
        if element.tag not in VRT_ELEMENTS or kind != "VRTSourcedRasterBand":
            what = element.tag if element.tag not in VRT_ELEMENTS else kind
            raise IngestError(
                f"{path} is a virtual raster with a {what}, and only mosaics of files are read; {refused}."
            )
        if element.tag == "SourceFilename":
            name = (element.text or "").strip()
            if ":" in name:  # GDAL may take it for an address or a command, though a file of that name lies there
                raise IngestError(
                    f"{path} shows {name}, which is no plain name of a file (it holds a colon); {refused}."
                )
            relative = any(k.lower() == "relativetovrt" and v != "0" for k, v in element.items())
            # GDAL follows the link that a virtual raster may be, and takes other names from where it runs.
            found[path.resolve().parent / name if relative else Path(name)] = None
    return list(found)


def _check_files(path: Path, file: Any) -> None:
    """A format that keeps pixels in further files (HFA) must keep them beside the first."""
    places = {path.parent.resolve(), path.resolve().parent}
    for name in file.files:
        if Path(name).parent.resolve() not in places:
            file.close()
            raise IngestError(
                f"{path} keeps pixels in {name}, outside of its folder; make one file of it, as in"
                f" `{remedies.as_geotiff(path)}`."
            )


def check_size(path: Path, shape: Shape) -> None:
    """Refuse to begin a raster ``(row, column)`` of more pixels than `MAX_PX`, and say what it would cost."""
    pixels = math.prod(shape)
    if pixels > MAX_PX:
        shrink = math.sqrt(pixels / MAX_PX)  # and 2 % more, for sides are rounded up
        raise IngestError(
            f"{path} has {shape[0]:,} x {shape[1]:,} pixels where the area lies, {pixels / 1e9:,.4g} billion; all stages would take"
            f" some {pixels * HOURS_PER_PX:,.0f} hours and {pixels * DISK_GB_PER_PX:,.0f} GB of disk, so no more than"
            f" {MAX_PX / 1e9:.4g} billion are taken up; cut it to the ground that counts, or make its pixels coarser, as in"
            f" `{remedies.coarser(path, math.ceil(shrink * 102) / 100)}`."
        )
