"""Training as the stages `train` and `train_variant` share it: a network for each fold, cost said first, resumed where it was
killed.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from hpcl.core.artifacts import read_json
from hpcl.core.digest import sha256
from hpcl.core.records import FoldedArea, HeldLoss, TileFacts, TrainedFacts
from hpcl.networks.base import Network
from hpcl.networks.device import described, unused_gpu
from hpcl.training import checkpoint, distributed, loop, watch
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._caller import is_first
from stages._inputs import remembered_md5s
from stages._stage import check_inputs, progress
from stages.tracking import execution

TILES = Path("data/tiles")
LATEST = "latest.safetensors"
"""The checkpoint of a fold: all that a training goes on from, and after its last epoch the weights that ship."""
CODE = Path(loop.__file__).parents[1]
PACKAGES = ("core", "networks", "settings", "training")  # what a training runs
LIBRARIES = ("torch", "timm", "segmentation-models-pytorch")


class BusyError(RuntimeError):
    """Another process trains with the same settings."""


@dataclass(frozen=True)
class Result:
    """The network of one ``fold``, and how it came about; ``history`` has one entry per epoch."""

    fold: int
    network: Network
    facts: TrainedFacts
    history: list[dict[str, float]]
    held_iou: float
    findings: list[str]
    checkpoints: Path
    """Of all folds."""

    def kept(self) -> None:
        """Say that all up to this result is written: after the last fold's, `track` may clear the checkpoints away."""
        if self.fold == self.facts.folds:
            (self.checkpoints / "finished").touch()


def tiles_for(recipe: Recipe, fold: int, share: Path | None = None) -> Tiles:
    """The tiles as the network of a fold sees them, with the bands that this training reads, and of all labels or of a share."""
    return Tiles(TILES, recipe.model.branches, fold, downhill=recipe.needs_toe, share=share)


def train(label: str, recipe: Recipe, share: Path | None = None) -> Iterator[Result]:
    """Train a network for each fold, and yield each when it is trained; of several processes, only the first one gets results.

    ``share``: the folder of a share of the labels, if not all of them teach. Raises `BusyError` if another training goes on from the
    same checkpoints.
    """
    folds = range(1, 1 + len(read_json(TILES / "facts.json", TileFacts).folds))
    seen = [tiles_for(recipe, fold, share) for fold in folds]
    place = _checkpoints(recipe, share)
    with _alone(place):
        yield from _train(label, recipe, seen, place)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold a folder of checkpoints: two trainings in one would write each other's drafts. Ends with the process."""
    if not is_first():  # which is known before the processes of a training have met
        yield  # the first process holds it for all
        return
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / "lock", timeout=0):
            yield
    except Timeout as error:
        raise BusyError(
            f"A training with these very settings is under way already and holds {place / 'lock'}; wait for it, or stop it."
        ) from error


def _train(label: str, recipe: Recipe, seen: Sequence[Tiles], place: Path) -> Iterator[Result]:
    _say_cost(label, recipe, seen)
    for tiles in seen:
        name = f"{label}: fold {tiles.fold}"
        history = _learn(name, recipe, tiles, place / str(tiles.fold))
        if distributed.number():
            continue
        network = loop.new_network(recipe, tiles)
        network.load_state_dict(checkpoint.load(place / str(tiles.fold) / LATEST)["weights"])
        facts = _facts(tiles, watch.held_loss(network, tiles, recipe.train))
        findings = watch.findings(history[-1]["loss"], tiles.classes, recipe.train)
        for finding in findings:
            print(f"{name}: {finding}")
        check_inputs()
        yield Result(tiles.fold, network, facts, history, history[-1]["held_iou"], findings, place)


def _say_cost(label: str, recipe: Recipe, seen: Sequence[Tiles]) -> None:
    limits = recipe.train
    print(
        f"{label}: a network for each of {len(seen)} folds, each {limits.epochs} epochs of {limits.steps_per_epoch} steps of"
        f" {limits.batch_size} windows of {seen[0].window_px} px, together {len(seen) * recipe.steps} steps; on {described()}"
    )
    for tiles in seen:
        learnt, held = len(tiles.numbers("train")), len(tiles.numbers("held"))
        print(f"{label}: fold {tiles.fold}: {learnt} windows of other folds to learn from, {held} of its own to watch")
    for encoder in recipe.model.encoders:
        if weights := recipe.model.weights.get(encoder):
            print(f"{label}: encoder {encoder} starts from {weights.file}")
    if unused := unused_gpu():
        print(f"{label}: {unused}")


def _learn(label: str, recipe: Recipe, tiles: Tiles, place: Path) -> list[dict[str, float]]:
    """All epochs of one fold, from the last checkpoint on; the metrics of each. `LATEST` in ``place`` is written as they come."""
    latest = place / LATEST
    resume = checkpoint.load(latest) if latest.exists() else None
    history: list[dict[str, float]] = resume["history"] if resume else []
    if resume:
        told = "trained already, taken" if "weights" in resume else f"resuming after epoch {resume['epoch'] + 1}"
        print(f"{label}: {told} from {latest}")
    later = (len(tiles.facts.folds) - tiles.fold) * recipe.steps
    for epoch in loop.fit(tiles, recipe, resume=resume, progress=_with_estimate(label, later, progress(label))):
        if distributed.number():
            continue  # the first process writes; all know the same
        history.append({"epoch": epoch.number, **epoch.metrics})
        state = {"weights": epoch.weights, "epoch": epoch.number} if epoch.last else epoch.state
        checkpoint.save(latest, state | {"history": history})
        execution.live(epoch.metrics, epoch.number, part=f"fold {tiles.fold}")
        shown = [n for n in ("loss", "contrast_loss", "held_iou") if n in epoch.metrics]
        numbers = ", ".join(f"{name} {epoch.metrics[name]:.3f}" for name in shown)
        speed = f"{epoch.metrics['windows_per_s']:.1f} windows/s"
        print(f"{label}: epoch {epoch.number + 1}/{recipe.train.epochs}: {numbers}, {speed}")
    return history


def _facts(tiles: Tiles, held: HeldLoss) -> TrainedFacts:
    areas = {name: area for name, area in tiles.facts.areas.items() if not area.test}
    own = [field.name for field in fields(FoldedArea)]
    return TrainedFacts(
        bands=list(tiles.bands),
        classes=tiles.facts.classes,
        window_px=tiles.window_px,
        sun=tiles.sun,
        trained_on=sorted(set(tiles.windows["area"].iloc[tiles.numbers("train")])),
        pixel_m=sorted({area.pixel_m for area in areas.values()}),
        dem_pixel_m=sorted({area.dem_pixel_m for area in areas.values()}),
        ground=tiles.facts.ground,
        grounds=tiles.facts.grounds,
        fold=tiles.fold,
        folds=len(tiles.facts.folds),
        areas={name: FoldedArea(**{field: getattr(area, field) for field in own}) for name, area in areas.items()},
        held=held,
    )


def _checkpoints(recipe: Recipe, share: Path | None = None) -> Path:
    """A folder outside the outs for exactly these settings, tiles, share of the labels and this code, so that no other run resumes
    from it; each fold has its own in there."""
    key = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    key.update(" ".join(f"{package} {version(package)}" for package in LIBRARIES).encode())
    code = sorted(path for package in PACKAGES for path in (CODE / package).glob("*.py"))
    for path in code:
        key.update(path.name.encode())
        key.update(bytes.fromhex(sha256(path)))
    place = Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt"
    tiles = remembered_md5s(TILES, place / "hashes.json")  # they may be gigabytes
    key.update(json.dumps(tiles, sort_keys=True).encode())
    for path in sorted(share.iterdir()) if share else []:
        key.update(bytes.fromhex(sha256(path)))
    return place / key.hexdigest()[:16]


def _with_estimate(label: str, later: int, inner: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Say how long it will take once ten steps have shown it, with ``later`` steps after the last one."""
    seen: list[tuple[int, float]] = []

    def hook(done: int, total: int) -> None:
        seen.append((done, time.monotonic()))
        if len(seen) == 10:
            (first, began), (last, now) = seen[0], seen[-1]
            left = total - done + later
            minutes = (now - began) / (last - first) * left / 60
            print(f"{label}: about {minutes:.1f} minutes for the {left} steps that are left of this and later folds")
        inner(done, total)

    return hook
