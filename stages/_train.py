"""Training as the stages `train` and `train_variant` share it: cost said first, resumed where it was killed, best weights kept,
calibrated on validation windows.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from hpcl.core.digest import sha256
from hpcl.core.records import TrainedFacts
from hpcl.networks.base import Network
from hpcl.networks.device import described, unused_gpu
from hpcl.training import calibrate, checkpoint, distributed, loop
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._caller import is_first
from stages._inputs import remembered_md5s
from stages._stage import check_inputs, progress
from stages.tracking import execution

TILES = Path("data/tiles")
LATEST, BEST = "latest.safetensors", "best.safetensors"  # checkpoints
CODE = Path(loop.__file__).parents[1]
PACKAGES = ("core", "networks", "settings", "training")  # what a training runs
LIBRARIES = ("torch", "timm", "segmentation-models-pytorch")


class BusyError(RuntimeError):
    """Another process trains with the same settings."""


@dataclass(frozen=True)
class Result:
    """The best network, calibrated, and how it came about; ``history`` has one entry per epoch."""

    network: Network
    facts: TrainedFacts
    history: list[dict[str, float]]
    val_iou: float
    best_epoch: int
    findings: list[str]
    checkpoints: Path

    def kept(self) -> None:
        """Say that all results are written, so that `track` may clear the checkpoints away."""
        (self.checkpoints / "finished").touch()


def tiles_for(recipe: Recipe) -> Tiles:
    """The tiles with the bands that this training reads."""
    return Tiles(TILES, recipe.model.branches, downhill=recipe.needs_toe)


def train(label: str, recipe: Recipe) -> Result | None:
    """Train and calibrate; of several processes, only the first one gets the result.

    Raises `BusyError` if another training goes on from the same checkpoints.
    """
    place = _checkpoints(recipe)
    with _alone(place):
        return _train(label, recipe, place)


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


def _train(label: str, recipe: Recipe, place: Path) -> Result | None:
    tiles, limits = tiles_for(recipe), recipe.train
    print(
        f"{label}: {len(tiles.numbers('train'))} training and {len(tiles.numbers('val'))} validation windows of "
        f"{tiles.window_px} px; at most {limits.epochs} epochs of {limits.steps_per_epoch} steps of {limits.batch_size} windows;"
        f" on {described()}"
    )
    for encoder in recipe.model.encoders:
        if weights := recipe.model.weights.get(encoder):
            print(f"{label}: encoder {encoder} starts from {weights.file}")
    if unused := unused_gpu():
        print(f"{label}: {unused}")
    history = _learn(label, recipe, tiles, place)
    if distributed.number():
        return None
    kept = checkpoint.load(place / BEST)
    network = loop.new_network(recipe, tiles)
    network.load_state_dict(kept["weights"])
    temperature, threshold, iou = calibrate.calibrate(tiles, network, limits)
    facts = TrainedFacts(
        bands=list(tiles.bands),
        classes=tiles.facts.classes,
        window_px=tiles.window_px,
        sun=tiles.sun,
        trained_on=sorted(set(tiles.windows["area"][tiles.windows["split"] == "train"])),
        pixel_m=sorted({area.pixel_m for area in tiles.facts.areas.values()}),
        dem_pixel_m=sorted({area.dem_pixel_m for area in tiles.facts.areas.values()}),
        ground=tiles.facts.ground,
        temperature=round(temperature, 6),
        threshold=round(threshold, 6),
        epoch=kept["epoch"],
    )
    check_inputs()
    print(
        f"{label}: best epoch {kept['epoch'] + 1}; validation IoU {iou:.3f} at threshold {threshold:.2f}, temperature {temperature:.2f}"
    )
    findings = calibrate.findings(history[kept["epoch"]], threshold, tiles.classes, limits)
    for finding in findings:
        print(f"{label}: {finding}")
    return Result(network, facts, history, iou, kept["epoch"], findings, place)


def _learn(label: str, recipe: Recipe, tiles: Tiles, place: Path) -> list[dict[str, float]]:
    """All epochs, from the last checkpoint on; the metrics of each. `LATEST` and `BEST` are written as they come."""
    latest = place / LATEST
    resume = checkpoint.load(latest) if latest.exists() else None
    history: list[dict[str, float]] = resume["history"] if resume else []
    if resume:
        print(f"{label}: resuming after epoch {resume['epoch'] + 1} from {latest}")
    for epoch in loop.fit(tiles, recipe, resume=resume, progress=_with_estimate(label, progress(label))):
        if distributed.number():
            continue  # the first process writes; all know the same
        history.append({"epoch": epoch.number, **epoch.metrics})
        if epoch.best:
            checkpoint.save(place / BEST, {"weights": epoch.weights, "epoch": epoch.number})
        checkpoint.save(latest, epoch.state | {"history": history})
        execution.live(epoch.metrics, epoch.number)
        shown = [n for n in ("loss", "contrast_loss", "val_iou") if n in epoch.metrics]
        numbers = ", ".join(f"{name} {epoch.metrics[name]:.3f}" for name in shown)
        speed = f"{epoch.metrics['windows_per_s']:.1f} windows/s{' *' * epoch.best}"
        print(f"{label}: epoch {epoch.number + 1}/{recipe.train.epochs}: {numbers}, {speed}")
    return history


def _checkpoints(recipe: Recipe) -> Path:
    """A folder outside the outs for exactly these settings, tiles and this code, so that no other run resumes from it."""
    key = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    key.update(" ".join(f"{package} {version(package)}" for package in LIBRARIES).encode())
    code = sorted(path for package in PACKAGES for path in (CODE / package).glob("*.py"))
    for path in code:
        key.update(path.name.encode())
        key.update(bytes.fromhex(sha256(path)))
    place = Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt"
    tiles = remembered_md5s(TILES, place / "hashes.json")  # they may be gigabytes
    key.update(json.dumps(tiles, sort_keys=True).encode())
    return place / key.hexdigest()[:16]


def _with_estimate(label: str, inner: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Say how long it will take once ten steps have shown it."""
    seen: list[tuple[int, float]] = []

    def hook(done: int, total: int) -> None:
        seen.append((done, time.monotonic()))
        if len(seen) == 10:
            (first, began), (last, now) = seen[0], seen[-1]
            minutes = (now - began) / (last - first) * (total - done) / 60
            print(f"{label}: about {minutes:.1f} minutes for the remaining {total - done} steps, if not stopped early")
        inner(done, total)

    return hook
