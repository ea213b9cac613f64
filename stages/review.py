"""Gather a mapper's answers about an area in data/raw/<area>, where `ingest` heeds them; none that was given earlier is lost.

Answers are the rows with a decision in data/audit/<area>/review.gpkg, or in a file that is given, as reports/map.html saves one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import geopandas as gpd

from hpcl.core import areas
from hpcl.core.artifacts import ArtifactError, read_json
from hpcl.core.records import AreaFacts
from hpcl.core.review import LAYERS
from hpcl.geo import vector
from hpcl.ingest import IngestError, answers, headers, review_files, vector_files
from hpcl.tiles import stored
from stages import _outs

RAW, INGEST, AUDIT = Path("data/raw"), Path("data/ingest"), Path("data/audit")


class ReviewError(ValueError):
    """Answers that cannot be gathered; nothing was written."""


def main() -> None:
    """Read the command line, gather, say what was gathered."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("area", help="name of an area, a folder in data/raw")
    parser.add_argument("file", nargs="?", type=Path, help="the answers, if not data/audit/<area>/review.gpkg")
    parser.add_argument(
        "--counts", choices=get_args(answers.Counts), help="which of two different answers to one row counts"
    )
    given = parser.parse_args()
    try:
        for sentence in gather(given.area, given.file and given.file.expanduser(), given.counts):
            print(sentence)
    except (ReviewError, IngestError, ArtifactError, areas.AreaNameError, vector.VectorError) as error:
        sys.exit(f"review: {error}")


def gather(area: str, file: Path | None = None, counts: answers.Counts | None = None) -> list[str]:
    """Write the answers in ``file`` and all earlier ones into data/raw/<area>/review.gpkg, or into the form that is there.

    Returns sentences for the mapper. Raises a sentence, and writes nothing, where it is not clear what is meant.
    """
    headers.area_folder(RAW / areas.checked(area))
    image = stored.grid(read_json(INGEST / area / "facts.json", AreaFacts))
    asked = AUDIT / area / "review.gpkg"
    source = file or asked
    if file is None and not asked.exists():
        raise ReviewError(f"{asked} does not exist; make it (dvc repro audit), or say which file has the answers.")
    new, _ = review_files.read(source, image, area)
    if file is None:
        _check_undecided(new, source)
    there = vector_files.find(RAW / area).reviews
    earlier = answers.read(there, image)[0] if there else new.iloc[:0]
    try:
        joined = answers.joined(earlier, new, counts)
    except answers.ConflictError as error:
        raise ReviewError(
            f"{source}: {error}; say which counts, with --counts new or --counts earlier (with make: COUNTS=new)."
        ) from error
    if len(joined):
        for path in there or (RAW / area / "review.gpkg",):
            review_files.write(path, joined, area)
    if file is None:
        _outs.gathered("audit", (), asked)
    return _summary(area, source, earlier, joined)


def _check_undecided(rows: gpd.GeoDataFrame, path: Path) -> None:
    """Refuse an outline that was drawn again without a decision: the next audit would be the end of it."""
    for row in rows[rows["decision"] == ""].itertuples():
        if row.geometry is None or not review_files.is_as_asked(row.id, row.geometry):
            raise ReviewError(
                f"{path}: the outline of row {review_files.short(row.id)} of {row.layer} was changed, and the row has no decision;"
                " write redraw, or another one."
            )


def _summary(area: str, source: Path, earlier: gpd.GeoDataFrame, joined: gpd.GeoDataFrame) -> list[str]:
    decided = joined[joined["decision"] != ""]
    if not len(decided):
        return [f"{area}: no row of {source} has a decision."]
    counts = decided.groupby(["layer", "decision"]).size()
    said = [
        f"{layer}: {count} {decision}" for layer in LAYERS for (of, decision), count in counts.items() if of == layer
    ]
    before = set(earlier.loc[earlier["decision"] != "", ["layer", "id"]].itertuples(index=False, name=None))
    new = len(set(decided[["layer", "id"]].itertuples(index=False, name=None)) - before)
    return [
        f"{area}: {len(decided)} rows are answered, {new} of them now ({', '.join(said)}).",
        "`dvc repro` heeds them and maps again.",
    ]


if __name__ == "__main__":
    main()
