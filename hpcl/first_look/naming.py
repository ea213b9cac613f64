"""Which areas and bands params.yaml should name: pure functions of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcl.core.dates import before as before_of
from hpcl.core.dates import is_before
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
    place. The bands of an earlier image become a branch of their own where no branch names any of them.
    """
    branches: Mapping[str, Names] = values["model.branches"]
    relief = [tuple(name for name in names if name.startswith("relief_")) for names in (before, after)]
    there = {*optical, *further, *after}
    named = {name for bands in branches.values() for name in bands}
    earlier = tuple(name for name in further if is_before(name))
    free = [name for name in (*optical, *earlier) if name not in named]
    expected = values["ingest.optical_bands"]
    found = []
    if earlier and not any(map(is_before, named)) and "before" not in branches:
        reason = "the earlier image as a branch of its own, which tells new landslides from old ones (docs/change.md)"
        found.append(Proposal("model.branches.before", (), earlier, reason))
    for branch, bands in branches.items():
        gone = {name for name in bands if name in relief[0] and name not in after}
        renewed = _replaced(bands, gone, [name for name in relief[1] if name not in bands])
        reason = "called by their radii"
        for date in (expected, tuple(map(before_of, expected))):
            lacking = {name for name in date if name in bands and name not in there}
            own = [name for name in free if is_before(name) == (date is not expected)]
            if lacking and (own or set(bands) - lacking):
                renewed, reason = _replaced(renewed, lacking, own), "bands of the image"
                free = [name for name in free if name not in own]
        if renewed != bands:
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
