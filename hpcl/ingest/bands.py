"""What the bands of raw rasters are called."""

from __future__ import annotations

from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError, IngestSettings
from hpcl.raster import Band


def optical_bands(optical: Raw, settings: IngestSettings) -> tuple[tuple[Band, ...], str | None]:
    """The optical bands by name: the file's own names if it has any, else those of the settings. A file whose own names are
    only some of those of the settings lacks the others."""
    wanted = settings.optical_bands
    own = [band.name for band in optical.bands]
    if set(own) < set(wanted) and len(set(own)) == len(own):
        lacking = [name for name in wanted if name not in own]
        return optical.bands, f"{optical.path.name} has no band {', '.join(lacking)} of ingest.optical_bands."
    if len(own) != len(wanted):
        raise IngestError(
            f"{optical.path} has {len(optical.bands)} bands, but params.yaml ingest.optical_bands names {len(wanted)}"
            f" ({', '.join(wanted)}); give a file with these bands, or name the bands that it has (in the file itself, by their"
            " descriptions, if other areas have more)."
        )
    if not all(own):
        return tuple(Band(name, band.unit) for name, band in zip(wanted, optical.bands, strict=True)), None
    if own == list(wanted):
        return optical.bands, None
    differ = f"names its bands {', '.join(own)}, ingest.optical_bands {', '.join(wanted)}"
    return optical.bands, f"{optical.path.name} {differ}; its own names were kept."


def further_bands(raw: Raw) -> tuple[Band, ...]:
    """The bands of any other raster: by their own names, else by that of the file."""
    stem = raw.path.stem
    names = [stem] if len(raw.bands) == 1 else [f"{stem}_{i + 1}" for i in range(len(raw.bands))]
    return tuple(Band(band.name or name, band.unit) for band, name in zip(raw.bands, names, strict=True))
