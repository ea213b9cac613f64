"""What the files of a raw area say of themselves: which there are, and what their bands are called; no pixel is read.

(But for a few, of a band that may be a mask: `Raw` tells by its values.)
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hpcl.core.areas import checked
from hpcl.geo.raster import Band
from hpcl.ingest import remedies, vector_files
from hpcl.ingest.bands import further_bands, optical_bands
from hpcl.ingest.checks import check_unit
from hpcl.ingest.opening import check_size
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError, IngestSettings

OPTICAL, DEM, REFERENCE = "optical.tif", "dem.tif", "reference_dem.tif"


@dataclass(frozen=True)
class Headers:
    """The bands that the area's image will have, and what else there is."""

    bands: tuple[str, ...]
    has_reference: bool
    has_inventory: bool


def read(folder: Path, settings: IngestSettings, others: Iterable[str] = ()) -> Headers:
    """Look at the area in ``folder``; ``others`` are names of areas that may have been meant, beside those there are.

    Raises `IngestError` for a file that is missing, cannot be opened, or has other bands than expected.
    """
    area_folder(folder, others)
    optical_path, dem_path = needed(folder, OPTICAL), needed(folder, DEM)
    named: list[tuple[Path, Sequence[Band]]] = []
    with Raw(optical_path) as optical:
        check_size(optical_path, optical.grid.shape)
        named.append((optical_path, optical_bands(optical, settings)[0]))
    for path in further_rasters(folder):
        with Raw(path) as raw:
            named.append((path, further_bands(raw, settings)[0]))
    reference = folder / REFERENCE
    with ExitStack() as stack:
        for path in (dem_path, reference):
            if os.path.lexists(path):
                check_elevation(stack.enter_context(Raw(path, elevation=True)))
    check_names(named)
    return Headers(
        tuple(band.name for _, bands in named for band in bands),
        os.path.lexists(reference),
        vector_files.find(folder).inventory is not None,
    )


def area_folder(folder: Path, others: Iterable[str] = ()) -> None:
    """Refuse an area without a folder; of the names of areas that there are, and of ``others``, the nearest is told."""
    checked(folder.name)
    if folder.is_dir():
        return
    there = {p.name for p in folder.parent.iterdir() if p.is_dir()} if folder.parent.is_dir() else set()
    known = sorted(there.union(others))
    close = difflib.get_close_matches(folder.name, known, n=1)
    raise IngestError(
        f"{folder} does not exist (the areas there are: {', '.join(known) or 'none'}); make the folder"
        " with optical.tif and dem.tif in it, or correct the name in the list 'areas' of params.yaml"
        f"{f' (did you mean {close[0]!r}?)' if close else ''}."
    )


def needed(folder: Path, name: str) -> Path:
    """A file that every area has."""
    path = folder / name
    if not os.path.lexists(path):
        there = ", ".join(sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))) or "nothing"
        raise IngestError(f"{path} does not exist (the folder holds {there}); put the file there under this name.")
    return path


def further_rasters(folder: Path) -> list[Path]:
    """Rasters beside image and elevations: further bands of the image."""
    rasters = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".tif", ".tiff") and p.name[0] != "."]
    return [path for path in rasters if path.name not in (OPTICAL, DEM, REFERENCE)]


def check_elevation(dem: Raw) -> None:
    """Refuse a file that holds more, or other, than elevations in metres."""
    if len(dem.bands) != 1:
        raise IngestError(f"{dem.path} has {len(dem.bands)} bands; give the elevations as a file of one band.")
    check_unit(dem)


def check_names(files: Iterable[tuple[Path, Sequence[Band]]]) -> None:
    """Refuse two bands of one name."""
    seen: dict[str, Path] = {}
    for path, bands in files:
        for number, band in enumerate(bands, 1):
            if band.name in seen:
                renamed = remedies.edit_info(path, "--bidx", str(number), "--description", f"other_{band.name}")
                raise IngestError(
                    f"{path} has a band '{band.name}', and so has {seen[band.name]}; rename one, as in `{renamed}`."
                )
            seen[band.name] = path
