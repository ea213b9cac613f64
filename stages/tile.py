"""Deal the ground into folds by place, lay the windows, and write what trainings need: a few memory-mapped arrays."""

from pathlib import Path

from hpcl.core.areas import Names
from hpcl.settings.tile import TileSettings, check_areas, check_labelled, check_sizes
from hpcl.tiles.area import Area
from hpcl.tiles.write import write
from stages._stage import params, progress, run


def main() -> None:
    """Read every listed area that has an inventory; areas without one are mapped later, not trained on."""
    settings = params("tile", TileSettings)
    check_sizes(settings)
    areas = [Area(name) for name in params("areas", Names)]
    labelled = [area for area in areas if area.has_inventory()]
    for area in areas:
        if area not in labelled:
            print(f"tile: {area.name} has no inventory of landslides; it is mapped, and neither trained on nor scored.")
    check_labelled([area.name for area in labelled])
    check_areas(settings, [area.name for area in labelled], "labelled areas")
    for area in labelled:
        area.check_grids()
    for message in write(labelled, settings, Path("data/tiles"), progress("tile")):
        print(f"tile: {message}")


if __name__ == "__main__":
    run(main)
