"""Which areas and bands params.yaml should name: pure functions of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcl.first_look.proposals import Proposal, Values

Names = tuple[str, ...]


def of_areas(area: str, values: Values) -> list[Proposal]:
    """The area on the list, and the synthetic areas off it: whoever brings ground of their own wants a map of that."""
    listed, synthetic = values["areas"], tuple(values["synthesize.areas"])
    if area in synthetic:
        wanted, made = listed, synthetic
    else:
        kept = tuple(name for name in listed if name not in synthetic)
        wanted, made = kept if area in kept else (*kept, area), ()
    if area not in wanted:
        wanted = (*wanted, area)
    found = []
    if wanted != listed:
        out = " without the synthetic areas" if set(listed) - set(wanted) else ""
        found.append(Proposal("areas", listed, wanted, f"this area{out}"))
    if made != synthetic:
        found.append(Proposal("synthesize.areas", synthetic, {}, "they would be made again and used by nothing"))
    tested = values["tile.test_areas"]
    if (left := tuple(name for name in tested if name in wanted)) != tested:
        found.append(Proposal("tile.test_areas", tested, left, "only areas that are listed"))
    return found


def of_bands(optical: Names, further: Names, values: Values) -> list[Proposal]:
    """The image's bands by the names that they have, for ingest, alignment and the branches."""
    found = []
    if optical != values["ingest.optical_bands"]:
        found.append(
            Proposal("ingest.optical_bands", values["ingest.optical_bands"], optical, "as optical.tif has them")
        )
    counting = tuple(name for name in values["coregister.bands"] if name in optical + further)
    if counting != values["coregister.bands"]:
        found.append(
            Proposal("coregister.bands", values["coregister.bands"], counting, "only bands that the image has")
        )
    return found


def of_branches(optical: Names, further: Names, before: Names, after: Names, values: Values) -> list[Proposal]:
    """Branches of bands that there are; ``before`` and ``after`` are the names of the terrain's bands, with the relief bands
    called by the radii of now and by those proposed.

    In a branch that names bands which ingest expected and the image lacks, those of its bands that no branch names take their
    place.
    """
    branches: Mapping[str, Names] = values["model.branches"]
    relief = [tuple(name for name in names if name.startswith("relief_")) for names in (before, after)]
    there = {*optical, *further, *after}
    free = [name for name in optical if not any(name in bands for bands in branches.values())]
    found = []
    for branch, bands in branches.items():
        gone = {name for name in bands if name in relief[0] and name not in after}
        lacking = {name for name in values["ingest.optical_bands"] if name in bands and name not in there}
        renewed = _replaced(bands, gone, [name for name in relief[1] if name not in bands])
        if lacking and (free or set(bands) - lacking):
            renewed = _replaced(renewed, lacking, free)
            free = []
        if renewed != bands:
            reason = "bands of the image" if lacking else "called by their radii"
            found.append(Proposal(f"model.branches.{branch}", bands, renewed, reason))
    return found


def _replaced(bands: Sequence[str], old: set[str], new: Sequence[str]) -> Names:
    """The bands with ``new`` ones in place of the first of the ``old``, without the others of these.

    >>> _replaced(("slope", "relief_30m", "relief_120m", "roughness"), {"relief_30m", "relief_120m"}, ["relief_100m"])
    ('slope', 'relief_100m', 'roughness')
    """
    out: list[str] = []
    for band in bands:
        if band not in old:
            out.append(band)
        elif new:
            out += new
            new = []
    return tuple(out)
