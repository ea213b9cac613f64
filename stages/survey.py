"""Hold the headers of an area's raw files against params.yaml again, when they have changed since `check` looked."""

from __future__ import annotations

from pathlib import Path

from stages._raw import look
from stages._stage import run


def main(area: str) -> None:
    """Write data/surveyed/<area>, whose bytes never change: `ingest` waits for it and is never outdated by it."""
    look(area)
    out = Path("data/surveyed") / area
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("What the raw files say of themselves fits params.yaml.\n")


if __name__ == "__main__":
    run(main)
