"""Before a new area is mapped: how far it lies from the ground that the networks learnt, and which landslide IoU to expect."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hpcl import distance, likeness
from hpcl.core import artifacts
from hpcl.core.artifacts import ArtifactError
from hpcl.core.records import AreaGround, ModelFacts
from hpcl.core.trained import model_facts
from hpcl.geo import raster
from hpcl.metrics.records import Metrics
from hpcl.passport import lines, passport
from stages._stage import run

METRICS = Path("reports/evaluate/metrics.json")


def main(area: str) -> None:
    """Print it; what `predict` writes has the distances too, and the report shows both for areas that it lists."""
    models = model_facts(Path("data/model"))
    first = models[0]
    if area in first.grounds:
        print(f"passport: {area} has labels, so its map was scored; reports/report.html shows that.")
        return
    if not first.grounds:
        print(
            "passport: the model does not say how its ground looks, for it was trained before that was kept; train it again."
        )
    away = distance.from_ground(_ground(area, first), distance.learnt(first), first.branches)
    for line in lines(passport(away, models, _metrics())):
        print(f"passport: {line}")


def _metrics() -> Metrics | str:
    """The scores, or why there are none: a model may be used away from them."""
    try:
        return artifacts.read_json(METRICS, Metrics)
    except ArtifactError as error:
        return str(error)


def _ground(area: str, model: ModelFacts) -> AreaGround:
    """How those bands of an area are distributed that the model knows; what it lacks, `predict` says."""
    files = [Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"]
    with ExitStack() as stack:
        sources = [stack.enter_context(raster.Source(path)) for path in files]
        grid = raster.common_grid({source.path: source.grid for source in sources})
        held = [[band.name for band in source.bands if band.name in model.band_names] for source in sources]
        asked = [(source, names) for source, names in zip(sources, held, strict=True) if names]

        def read(roi: raster.Roi) -> likeness.Float32:
            return np.concatenate([source.read(roi, names) for source, names in asked])

        rows, columns = grid.shape
        pixels = likeness.sample(read, (rows, columns)) if asked else np.empty((0, 0), np.float32)
    kinds = {band.name: band.kind for band in model.bands}
    names = [name for _, own in asked for name in own]
    return distance.described(names, [kinds[name] for name in names], pixels, rows * columns)


if __name__ == "__main__":
    run(main)
