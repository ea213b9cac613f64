"""One area as a project beside its review: which files of the stages it shows, in which order, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcl import qgis
from hpcl.geo import raster
from hpcl.qgis_project import ground, questions
from hpcl.qgis_project.document import RASTER, VECTOR, Layer, render


@dataclass(frozen=True)
class Files:
    """What the stages left of an area called ``name``."""

    name: str
    data: Path

    @property
    def mapped(self) -> Path:
        """The map of probabilities; there is no audit without it."""
        return self.data / "predict" / self.name / "probability.tif"

    def outlines(self, title: str, stage: str, colour: str) -> Layer:
        """The landslides of a stage."""
        return Layer(title, VECTOR, self._seen(self._outlines(stage)), ground.outlines(colour))

    def inventory(self) -> Iterator[Layer]:
        """The landslides that were given, if there are any."""
        if self._outlines("ingest").exists():
            yield self.outlines("landslides of the inventory", "ingest", qgis.INVENTORY)

    def raster(
        self, title: str, path: Path, draw: Callable[[raster.Source], str], shown: bool = True
    ) -> Iterator[Layer]:
        """A raster, if it is there."""
        if path.exists():
            with raster.Source(path) as source:
                yield Layer(title, RASTER, self._seen(path), ground.pipe(draw(source)), shown=shown)

    def _outlines(self, stage: str) -> Path:
        return self.data / stage / self.name / "landslides.gpkg"

    def _seen(self, path: Path) -> str:
        """From data/audit/<area>."""
        return f"../../{path.relative_to(self.data).as_posix()}"


def project(name: str, data: Path, asked: Mapping[str, Sequence[str]]) -> str:
    """The project for data/audit/<area>, in whose review.gpkg there are layers ``asked`` with these columns.

    A layer whose file is not there is left out; the map's polygons may follow later, for no question depends on them.
    """
    files = Files(name, data)
    with raster.Source(files.mapped) as source:
        grid = source.grid
    image, relief = data / "ingest" / name / "image.tif", data / "terrain" / name / "terrain.tif"
    groups = {
        "Review": [questions.layer(layer, columns) for layer, columns in asked.items()],
        "Map": [
            *files.inventory(),
            files.outlines("landslides of the map", "outline", qgis.CLASS_COLOURS[1]),
            *files.raster("probability", files.mapped, ground.probability, shown=False),
            *files.raster("uncertainty", files.mapped, ground.uncertainty, shown=False),
        ],
        "Ground": [*files.raster("image", image, ground.image), *files.raster("hillshade", relief, ground.hillshade)],
    }
    return render(name, grid, groups)
