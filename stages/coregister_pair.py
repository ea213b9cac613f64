"""Say how far one DEM must be moved to lie on another: any two DEMs, no pipeline."""

from __future__ import annotations

from pathlib import Path

from hpcl.coregister.apply import in_pixels
from hpcl.coregister.reference import align
from hpcl.settings.coregister import CoregisterSettings
from stages._stage import params, run


def main(reference: str, dem: str) -> None:
    """Print the shift in metres and in columns and rows of ``dem``; nothing is written."""
    settings = params("coregister", CoregisterSettings)
    shift = align(Path(reference), Path(dem), settings)
    columns, rows = in_pixels(Path(dem), shift)
    print(f"move {dem} by {shift.east_m:+.2f} m east, {shift.north_m:+.2f} m north, {shift.vertical_m:+.3f} m up")
    print(f"that is {columns:+.4f} columns (to the right) and {rows:+.4f} rows (down) of its grid")
    print(f"tilt it by {shift.tilt_east_m_per_km:+.3f} m/km east and {shift.tilt_north_m_per_km:+.3f} m/km north")
    print(f"{'accepted' if shift.accepted else 'rejected'}: {shift.reason}")


if __name__ == "__main__":
    run(main)
