"""What the bands of raw rasters are called: by their descriptions, else by their colours, else by the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import ColorInterp

from hpcl.core.dates import before
from hpcl.geo.raster import Band
from hpcl.ingest import remedies
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError, IngestSettings

if TYPE_CHECKING:
    from hpcl.ingest.plan import Layer

COLOURS = {
    getattr(ColorInterp, name): name
    for name in ("red", "green", "blue", "nir", "rededge", "coastal", "pan", "swir", "mwir", "lwir", "tir")
    if hasattr(ColorInterp, name)  # all but the first three are known from GDAL 3.10 on
}
"""Colours that name a band. Gray does not: GDAL says it of the first band of most files."""
BEFORE = "optical_before.tif"
"""The image of an earlier date."""
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def optical_bands(optical: Raw, settings: IngestSettings) -> tuple[tuple[Band, ...], list[str]]:
    """The optical bands by name, in the order of the file, and findings about them.

    A band is called what its description says or, without one, what its colour says; those without either take the names
    of the settings that are left. Names are the settings' if they differ by case or blanks only. A file whose names are
    only some of those of the settings lacks the others.
    """
    wanted = settings.optical_bands
    spelling = {_key(name): name for name in wanted}
    described = [spelling.get(_key(band.name), band.name) for band in optical.bands]
    coloured = _coloured(optical, spelling)
    findings = [*palette_finding(optical), *_contradictions(optical, described, coloured)]
    own = [name or colour for name, colour in zip(described, coloured, strict=True)]
    if _coloured_by_default(optical) and not any(described) and _named_otherwise(own, wanted):
        said = ", ".join(filter(None, own))
        own = [""] * len(own)
        findings.append(
            f"{optical.path.name} has the colours {said}, as any image of 8 bits that nobody gave others; its bands were called"
            f" {', '.join(wanted)} by ingest.optical_bands."
        )
    names = _completed(own, optical.path, wanted)
    findings += _against_settings(names, optical, wanted, coloured if not any(described) else None)
    return tuple(Band(name, band.unit) for name, band in zip(names, optical.bands, strict=True)), findings


def own_names(optical: Raw) -> tuple[str, ...]:
    """What the file itself calls its bands, by description or else by colour; empty where it says neither.

    The colours that GDAL gives any 8-bit image of four bands say nothing.
    """
    coloured = (
        [""] * len(optical.bands)
        if len(optical.bands) > 3 and _coloured_by_default(optical)
        else _coloured(optical, {})
    )
    return tuple(band.name or colour for band, colour in zip(optical.bands, coloured, strict=True))


def like(name: str, names: Sequence[str]) -> str:
    """The one of ``names`` that differs from a name by case or blanks only, otherwise the name itself."""
    return {_key(other): other for other in names}.get(_key(name), name)


def _coloured_by_default(optical: Raw) -> bool:
    """Whether the colours say nothing: GDAL calls the first bands of any image of three or four bytes so."""
    return optical.dtype == np.uint8 and optical.colours[:3] == RGB and optical.palette is None


def _named_otherwise(own: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether there are as many bands as the settings name, and some bear a name that is not among those."""
    return not set(filter(None, own)) <= set(wanted) and len(own) == len(wanted)


def _completed(own: Sequence[str], path: Path, wanted: Sequence[str]) -> list[str]:
    """The names of all bands: those without one take what is left of the settings' names."""
    left = [name for name in wanted if name not in own]
    unnamed = own.count("")
    if not unnamed or len(own) != len(wanted):
        return list(own)
    if unnamed == len(left):
        return [name or left.pop(0) for name in own]
    number = own.index("") + 1
    raise IngestError(
        f"{path} calls some of its bands {', '.join(filter(None, own))}, which does not tell what the others of"
        f" ingest.optical_bands ({', '.join(wanted)}) are; name them all, as in"
        f" `{remedies.edit_info(path, '--bidx', str(number), '--description', left[0])}`."
    )


def _against_settings(
    names: Sequence[str], optical: Raw, wanted: Sequence[str], coloured: Sequence[str] | None
) -> list[str]:
    """How the names differ from those of the settings; ``coloured`` are the colours, if the names come from these alone."""
    path = optical.path
    if all(names) and set(names) < set(wanted) and len(set(names)) == len(names):
        lacking = ", ".join(name for name in wanted if name not in names)
        why = f" (band {optical.alphas[0]} is alpha, a mask)" if optical.alphas else ""
        return [f"{path.name} has no band {lacking} of ingest.optical_bands{why}."]
    if len(names) != len(wanted):
        beside = " beside alpha, a mask" if optical.alphas else ""
        raise IngestError(
            f"{path} has {len(names)} bands{beside}, but params.yaml ingest.optical_bands names {len(wanted)}"
            f" ({', '.join(wanted)}); give a file with these bands, or name the bands that it has (in the file itself, by their"
            " descriptions, if other areas have more)."
        )
    if names == list(wanted):
        return []
    if coloured is None:
        differ = f"names its bands {', '.join(names)}, ingest.optical_bands {', '.join(wanted)}"
        return [f"{path.name} {differ}; its own names were kept."]
    return [
        f"{path.name} has bands of the colours {', '.join(filter(None, coloured))}, so they were called {', '.join(names)},"
        f" and not {', '.join(wanted)} as in ingest.optical_bands."
    ]


def _key(name: str) -> str:
    """A name without case and blanks."""
    return "".join(c for c in name.casefold() if not (c.isspace() or c in "_-"))


def _coloured(raw: Raw, spelling: dict[str, str]) -> list[str]:
    """Names by colour; none where a colour says nothing, or two bands have it."""
    colours = [COLOURS.get(colour, "") for colour in raw.colours]
    return [spelling.get(_key(c), c) if colours.count(c) == 1 else "" for c in colours]


def _contradictions(raw: Raw, described: Sequence[str], coloured: Sequence[str]) -> list[str]:
    known = {_key(name) for name in COLOURS.values()}
    differ = [
        f"band {number} '{name}', but it has the colour {colour}"
        for number, (name, colour) in enumerate(zip(described, coloured, strict=True), 1)
        if colour and _key(name) in known and _key(name) != _key(colour)
    ]
    return [f"{raw.path.name} calls {' and '.join(differ)}; the names were kept."] if differ else []


def palette_finding(raw: Raw) -> list[str]:
    """What is to be known of a file with a palette."""
    said = f"{raw.path.name} has one band of indices into a palette, which was expanded to red, green and blue."
    return [said] if raw.palette is not None else []


def further_bands(raw: Raw, settings: IngestSettings) -> tuple[tuple[Band, ...], list[str]]:
    """The bands of a raster beside the image, and findings about them: those of an earlier image are called as the image's, and marked;
    those of any other by their own names, else by that of the file."""
    if raw.path.name == BEFORE:
        bands, findings = optical_bands(raw, settings)
        return tuple(Band(before(band.name), band.unit) for band in bands), findings
    stem = raw.path.stem
    names = [stem] if len(raw.bands) == 1 else [f"{stem}_{i + 1}" for i in range(len(raw.bands))]
    if raw.palette is not None:
        names = [f"{stem}_{colour.name}" for colour in raw.colours]
    bands = tuple(Band(band.name or name, band.unit) for band, name in zip(raw.bands, names, strict=True))
    return bands, palette_finding(raw)


def flat_bands(layers: Sequence[Layer], low: Any, high: Any) -> list[str]:
    """Findings about bands that are nodata, or one value but for the rounding of resampling, wherever the area is."""
    findings, bands = [], [(layer.path.name, band.name) for layer in layers for band in layer.bands]
    for (file, band), least, most in zip(bands, low, high, strict=True):
        if np.isnan(least):
            findings.append(f"{file}: band '{band}' has no value anywhere on the area.")
        elif most - least <= 1e-6 * max(abs(least), abs(most)):
            findings.append(f"{file}: band '{band}' is {least:.6g} throughout, so it says nothing.")
    return findings
