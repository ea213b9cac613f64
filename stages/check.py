"""Check what DVC is about to act upon, before it looks for files and empties outs: the names of the areas."""

from pathlib import Path
from typing import Any

from hpcl import areas
from stages._stage import params, run

OUT = Path("data/checked")


def main() -> None:
    """Write data/checked, whose bytes never change: later stages wait for it and are never outdated by it."""
    params("areas", areas.Names)
    areas.distinct(params("synthesize", dict[str, Any]).get("areas") or ())
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("The names of the areas are sound.\n")


if __name__ == "__main__":
    run(main)
