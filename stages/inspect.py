"""Look at a raw area before anything runs: what its files say, what is too small to be seen, and which parameters suit it.

Headers and outlines are read, no pixels: seconds for any scene. Nothing is written but, with --write, params.yaml: the values
that are proposed, where they stand; every other line stays as it is. What `check` would refuse is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcl.core import areas
from hpcl.first_look import naming, proposals, words
from hpcl.first_look.ground import Ground, laid_blocks, look
from hpcl.first_look.proposals import Proposal, Values
from hpcl.ingest import IngestSettings, vector_files
from hpcl.settings.coregister import CoregisterSettings
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.model import Branches
from hpcl.settings.outline import OutlineSettings
from hpcl.settings.synthesize import SynthesizeSettings
from hpcl.settings.terrain import TerrainSettings, names
from hpcl.settings.tile import TileSettings
from hpcl.settings.train import TrainSettings
from hpcl.tiles import folds
from stages import check
from stages._params_file import changed, renamed
from stages._raw import RAW
from stages._stage import PARAMS, drafted, params, sentences

ABLATION = Path("ablation/params.yaml")
RECORDS = {
    "ingest": IngestSettings, "coregister": CoregisterSettings, "terrain": TerrainSettings, "tile": TileSettings,
    "train": TrainSettings, "outline": OutlineSettings, "evaluate": EvaluateSettings,
}  # fmt: skip


class RefusedError(ValueError):
    """What was proposed would not pass `check`."""


def main() -> None:
    """Read the command line, look, say what was found; with --write change params.yaml."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("area", help="name of an area, a folder in data/raw")
    parser.add_argument("--write", action="store_true", help="write the proposed values into params.yaml")
    given = parser.parse_args()
    values = _values()
    ground = look(RAW / areas.checked(given.area), params("ingest", IngestSettings), values["areas"])
    found = _proposals(ground, values)
    suited = _with(values, found)
    blocks = laid_blocks(ground, suited["tile.block_px"]) if suited["tile.split"] != "areas" else []
    found += _seed(blocks, suited)
    suited = _with(values, found)
    doubts = _doubts(ground, suited) + _elsewhere(ground, values, suited)
    for line in (
        *words.of_ground(ground, suited),
        *words.of_folds(ground, suited, len(blocks), _shares(blocks, suited)),
        *words.of_encoders(ground, suited),
        *words.of_cost(ground, suited),
        *words.of_proposals(found),
        *words.of_doubts(doubts),
    ):
        print(line)
    if given.write and found:
        _write(found)
    elif found:
        print(
            f"\nNothing was written. `python -m stages.inspect '{ground.area}' --write` writes these values into {PARAMS}."
        )


def _values() -> dict[str, Any]:
    """Every parameter that is looked at, by its dotted name."""
    values = {
        "areas": params("areas", areas.Names),
        "synthesize.areas": params("synthesize", SynthesizeSettings).areas,
        "model.branches": params("model.branches", Branches),
        "model.output_stride": params("model.output_stride", int),
        "model.pretrained": params("model.pretrained", bool),
        "model.weights": params("model.weights", dict[str, Any]),
    }
    for section, record in RECORDS.items():
        values |= {f"{section}.{name}": value for name, value in vars(params(section, record)).items()}
    return values


def _proposals(ground: Ground, values: Values) -> list[Proposal]:
    """What should change; for an area without an inventory nothing, for it takes the parameters of those that are trained on."""
    if ground.polygons is None:
        return []
    found = naming.of_areas(ground.area, values)
    found += naming.of_bands(ground.optical, ground.further, values)
    found += proposals.of_sizes(ground.sizes(), _with(values, found))
    before, after = _terrain_names(values), _terrain_names(_with(values, found))
    return found + naming.of_branches(ground.optical, ground.further, before, after, values)


def _with(values: Values, found: list[Proposal]) -> dict[str, Any]:
    """The values as they would be with what is proposed."""
    return {**values, **{proposal.parameter: proposal.proposed for proposal in found}}


def _terrain_names(values: Values) -> tuple[str, ...]:
    terrain = params("terrain", TerrainSettings)
    return names(replace(terrain, relief_radii_m=values["terrain.relief_radii_m"]))


def _tile(values: Values) -> TileSettings:
    own = {name.removeprefix("tile."): value for name, value in values.items() if name.startswith("tile.")}
    return replace(params("tile", TileSettings), **own)


def _shares(blocks: list[folds.Block], values: Values) -> list[float]:
    """The share of an area's landslides that each fold holds."""
    settings = replace(_tile(values), test_areas=())
    return folds.landslide_fracs({blocks[0].area: blocks}, settings).tolist() if blocks else []


def _seed(blocks: list[folds.Block], values: Values) -> list[Proposal]:
    """Another seed where one deals the landslides of a single area badly: `tile` stops at a fold that has none."""
    fair = 1 / values["tile.folds"]
    poorest = min(_shares(blocks, values), default=fair)
    if len(values["areas"]) > 1 or poorest >= folds.FAIR * fair:
        return []
    seed = folds.fairer_seed({blocks[0].area: blocks}, replace(_tile(values), test_areas=()))
    reason = f"a fold would hold {poorest:.0%} of the landslides, where {fair:.0%} is fair"
    return [] if seed is None else [Proposal("tile.seed", values["tile.seed"], seed, reason)]


def _doubts(ground: Ground, values: Values) -> list[str]:
    """What no parameter mends, in the words of the stages that will say so."""
    return [] if ground.polygons is None else proposals.said(ground.sizes(), values)


def _elsewhere(ground: Ground, before: Values, after: Values) -> list[str]:
    """What the proposals would break for other labelled areas, because parameters are those of the whole project."""
    told = []
    for area in after["areas"]:
        folder = RAW / area
        own = area == ground.area or area in after["synthesize.areas"]
        if own or not folder.is_dir() or vector_files.find(folder).inventory is None:
            continue
        sizes = look(folder, params("ingest", IngestSettings)).sizes()
        worse = [said for said in proposals.said(sizes, after) if said not in proposals.said(sizes, before)]
        told += [
            f"Parameters are those of all areas, and these suit {ground.area}; for {area}: {said}" for said in worse
        ]
    return told


def _write(found: list[Proposal]) -> None:
    """Change params.yaml, and names of bands in the ablation's; raises `RefusedError` if `check` would refuse the result."""
    text = changed(_text(PARAMS), {proposal.parameter: proposal.proposed for proposal in found})
    with drafted(text):
        try:
            check.sound()
        except ValueError as error:
            raise RefusedError(
                f"{PARAMS} was not changed, because `check` would refuse it with these values: {error}"
            ) from error
    files = {PARAMS: text}
    if ABLATION.exists():
        files[ABLATION] = renamed(_text(ABLATION), _relief_names(found))
    for path, new in files.items():
        if new != _text(path):
            draft = path.with_suffix(".draft")
            draft.write_bytes(new.encode())
            draft.replace(path)
            print(f"\n{path} was changed; `git diff {path}` shows how.")


def _text(path: Path) -> str:
    """A file with its line ends as they are."""
    return path.read_bytes().decode()


def _relief_names(found: list[Proposal]) -> Mapping[str, str]:
    """New names of relief bands by the old ones."""
    for proposal in found:
        if proposal.parameter == "terrain.relief_radii_m":
            pairs = zip(proposal.now, proposal.proposed, strict=False)
            return {f"relief_{old:g}m": f"relief_{new:g}m" for old, new in pairs}
    return {}


if __name__ == "__main__":
    with sentences("inspect"):
        main()
