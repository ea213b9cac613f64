"""This pipeline beside the libraries that a user would take instead. `make bench-peers`; docs/benchmarks.md explains each row.

Each side is a process of its own, warmed up, in turn round by round; all have the same torch. An argument scales the scene: `python -m
benchmarks.peers.side_by_side 1024` is a quick look.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from benchmarks import rasters, training
from benchmarks.measure import Row, in_turn, keep, row
from hpcl.geo import raster
from hpcl.networks.smp_models import SmpNetwork
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training import loop
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._stage import params

HERE = Path(__file__).parent
PYTHON = Path(".bench-peers") / "bin" / "python"
SIDE_PX, DEM_PX, WIDE_PX, ROUNDS = 2048, 6000, 8192, 3
ARCHITECTURE = "DeepLabV3Plus"
MAPPERS = ("terratorch", "terratorch_channels_last", "geoai", "torchgeo")
RELIEFS = ("xdem", "xarray_spatial")
COMPRESSIONS = ("deflate", "zstd")
PACKAGES = {
    "terratorch": "terratorch",
    "terratorch_channels_last": "terratorch",
    "geoai": "geoai-py",
    "torchgeo": "torchgeo",
    "xdem": "xdem",
    "xarray_spatial": "xarray-spatial",
}
ALIKE = 0.95
"""Correlation that two maps of one network have at least: libraries weigh overlapping windows differently."""


class PeersError(RuntimeError):
    """A peer cannot be measured."""


@dataclass(frozen=True)
class Cost:
    """Of a whole piece of work: seconds, seconds of all cores, and the peak of memory [MiB]."""

    seconds: float
    cpu_s: float
    peak_mib: float


def cost(command: Sequence[str]) -> Cost:
    """What a process tells of its work. Raises `PeersError` with its last line if it fails."""
    own_threads = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own_threads)
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise PeersError(f"{' '.join(command)} failed: {last}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def ours(what: str, folder: Path) -> Cost:
    """What this pipeline costs."""
    return cost([sys.executable, "-m", "benchmarks.peers.ours", what, str(folder)])


def theirs(script: str, library: str, folder: Path) -> Cost:
    """What a library costs."""
    return cost([str(PYTHON), str(HERE / script), library, str(folder)])


def gdaldem(folder: Path, compression: str) -> Cost:
    """What two `gdaldem` processes cost that run in parallel; their memory together."""
    options = [option.replace("DEFLATE", compression.upper()) for option in rasters.COG]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    works = {
        what: subprocess.Popen(
            ["gdaldem", what, folder / "dem.tif", folder / f"{what}.tif", "-q", "-compute_edges", *options]
        )
        for what in ("slope", "hillshade")
    }
    peaks = dict.fromkeys(works, 0.0)
    while any(work.poll() is None for work in works.values()):
        for what, work in works.items():
            status = Path(f"/proc/{work.pid}/status")
            if work.returncode is None and "VmHWM:" in (text := status.read_text(encoding="ascii")):
                peaks[what] = int(text.split("VmHWM:")[1].split()[0]) / 1024
        time.sleep(0.02)
    if any(work.returncode for work in works.values()):
        raise PeersError("gdaldem failed")
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, sum(peaks.values()))


def compared(name: str, own: Sequence[Cost], other: Sequence[Cost], what: str) -> list[Row]:
    """Three rows: time, CPU time and memory of the other over ours; above 1 ours takes less."""
    words = {"seconds": "time", "cpu_s": "CPU time", "peak_mib": "peak memory"}
    return [
        row(
            f"{name}_{short}",
            [getattr(b, field) / getattr(a, field) for a, b in zip(own, other, strict=True)],
            f"{words[field]} of {what} over ours",
        )
        for field, short in (("seconds", "time"), ("cpu_s", "cpu"), ("peak_mib", "memory"))
    ]


def make_work(folder: Path, side_px: int, *, noise: bool = True) -> None:
    """A scene of noise for everybody, and one network in two forms: as this pipeline keeps it and as the others can build it."""
    for place, side in ((folder, side_px), (folder / "warm_up", 256)):
        ensemble = rasters.make_scene(place, side, noise=noise, architecture=ARCHITECTURE)
    (folder / "warm_up.tif").symlink_to(folder / "warm_up" / "scene.tif")
    network = ensemble.members[0].network
    assert isinstance(network, SmpNetwork)
    save_file(network.body.state_dict(), folder / "network.safetensors")
    settings = params("model", ModelSettings)
    window_px = ensemble.facts.window_px
    work = {
        "network": {
            "arch": ARCHITECTURE,
            "encoder_name": f"tu-{settings.encoder}",
            "encoder_weights": None,
            "in_channels": len(ensemble.facts.bands),
            "classes": 2,
            "encoder_output_stride": settings.output_stride,
        },
        "mean": [band.mean for band in ensemble.facts.bands],
        "std": [band.std for band in ensemble.facts.bands],
        "window_px": window_px,
        "overlap_px": window_px // 2 if noise else 0,
        "batch_size": 16,
    }
    (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")


def check_alike(folder: Path) -> None:
    """Raise `PeersError` unless all mapped the same."""
    with raster.Source(folder / "probability.tif") as source:
        own = source.read()[0][1:-1, 1:-1]
    for library in MAPPERS:
        with raster.Source(folder / f"{library}.tif") as source:
            other = source.read()[0][1:-1, 1:-1]  # geoai maps no pixel of the rim
        found = float(np.corrcoef(own.ravel(), other.ravel())[0, 1])
        print(f"bench: the map of {library} and ours correlate by {found:.3f}")
        if not found > ALIKE:
            raise PeersError(f"The map of {library} is another one than ours (correlation {found:.2f})")


def mapping(folder: Path, side_px: int) -> list[Row]:
    """One network over one scene, files included."""
    make_work(folder, side_px)
    works: list[Callable[[], Cost]] = [partial(ours, "maps", folder)]
    works += [partial(theirs, "maps.py", library, folder) for library in MAPPERS]
    own, *others = _in_turn(works)
    check_alike(folder)
    rows = []
    for library, other in zip(MAPPERS, others, strict=True):
        layout = ", channels_last" if library.endswith("channels_last") else ""
        what = f"mapping {side_px} x {side_px} px by {_named(library)}{layout}"
        rows += compared(f"map_vs_{library}", own, other, what)
    return rows


def relief(folder: Path, side_px: int) -> list[Row]:
    """Slope and hillshade of one DEM, files included; beside gdaldem with either compression."""
    rasters.make_dem(folder / "dem.tif", side_px)
    rasters.make_dem(folder / "small.tif", 512)
    own: dict[str, Callable[[], Cost]] = {name: partial(ours, f"terrain_{name}", folder) for name in COMPRESSIONS}
    others: dict[str, tuple[str, Callable[[], Cost]]] = {
        f"gdaldem_{name}": (name, partial(gdaldem, folder, name)) for name in COMPRESSIONS if shutil.which("gdaldem")
    }
    if not others:
        print("bench: gdaldem (Debian's gdal-bin) is not here; terrain is measured without it")
    others |= {library: ("deflate", partial(theirs, "reliefs.py", library, folder)) for library in RELIEFS}
    costs = dict(zip([*own, *others], _in_turn([*own.values(), *(work for _, work in others.values())]), strict=True))
    rows = []
    for library, (compression, _) in others.items():
        what = f"slope and hillshade of {side_px} x {side_px} px ({compression}) by {_named(library)}"
        rows += compared(f"terrain_vs_{library}", costs[compression], costs[library], what)
    return rows


def wide(folder: Path, side_px: int) -> list[Row]:
    """Peak memory of mapping a scene that is large, once each: what grows with the scene shows."""
    make_work(folder, side_px, noise=False)
    own = ours("wide", folder)
    rows = []
    for library in ("terratorch_channels_last", "geoai"):
        ratio = theirs("maps.py", library, folder).peak_mib / own.peak_mib
        rows.append(
            row(
                f"map_vs_{library}_wide_memory",
                [ratio],
                f"peak memory of mapping {side_px} x {side_px} px by {_named(library)} over ours",
            )
        )
    return rows


def step(folder: Path) -> Row:
    """A training step of the same network, ours over a bare loop that has its batch ready: jitter, flips and windows are ours alone."""
    settings, window_px = params("model", ModelSettings), int(params("tile", dict[str, Any])["window_px"])
    recipe = Recipe(
        replace(settings, architecture=ARCHITECTURE),
        replace(params("contrastive", ContrastSettings), weight=0.0),
        params("train", TrainSettings),
    )
    training.make_tiles(folder, sorted({name for names in settings.branches.values() for name in names}), window_px)
    tiles = Tiles(folder, settings.branches, 1)
    network = loop.new_network(recipe, tiles)
    assert isinstance(network, SmpNetwork)
    body = network.body.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        body.parameters(), lr=recipe.train.learning_rate, weight_decay=recipe.train.weight_decay
    )
    bands = sum(len(names) for names in settings.branches.values())
    images = torch.randn(recipe.train.batch_size, bands, window_px, window_px).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.randint(0, 2, (recipe.train.batch_size, window_px, window_px))
    dice = smp.losses.DiceLoss("multiclass")

    def bare() -> float:
        times = []
        for _ in range(training.STEPS):
            began = time.perf_counter()
            logits = body(images)
            loss = torch.nn.functional.cross_entropy(logits, labels) + recipe.train.dice_weight * dice(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            times.append(time.perf_counter() - began)
        return float(np.median(times))

    own, other = in_turn(ROUNDS, training.Training(tiles, recipe), bare)
    version = metadata.version("segmentation-models-pytorch")
    what = f"a training step of {ARCHITECTURE} of ours over one of segmentation-models-pytorch {version} in a bare loop"
    return row("step_vs_bare_loop", [a / b for a, b in zip(own, other, strict=True)], what)


def _in_turn(works: Sequence[Callable[[], Cost]]) -> list[list[Cost]]:
    """Costs of each work in each round."""
    rounds = []
    for number in range(ROUNDS):
        print(f"bench: round {number + 1} of {ROUNDS}", flush=True)
        rounds.append([work() for work in works])
    return [list(each) for each in zip(*rounds, strict=True)]


def _named(library: str) -> str:
    """A library with its version."""
    if library.startswith("gdaldem"):
        # check=False: old ones name their version and fail
        version = subprocess.run(["gdaldem", "--version"], capture_output=True, text=True, check=False).stdout
        return f"two gdaldem in parallel ({version.partition(',')[0]})"
    package = PACKAGES[library]
    version = subprocess.run(
        [PYTHON, "-c", f"from importlib.metadata import version; print(version({package!r}))"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return f"{package} {version.strip()}"


def main() -> None:
    """Measure, and keep the rows as they come."""
    side_px = int(sys.argv[1]) if len(sys.argv) > 1 else SIDE_PX
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as place:
        folder = Path(place).resolve()
        for name in ("map", "terrain", "step", "coregister", "wide"):
            (folder / name).mkdir()
        keep(mapping(folder / "map", side_px))
        keep(relief(folder / "terrain", side_px * DEM_PX // SIDE_PX))
        keep([step(folder / "step"), rasters.coregistration(folder / "coregister")])
        keep(wide(folder / "wide", side_px * WIDE_PX // SIDE_PX))


if __name__ == "__main__":
    try:
        main()
    except PeersError as error:
        sys.exit(f"bench: {error}")
