"""What a GPU gives at real size: windows a second, how much of the time it works, memory. `python -m benchmarks.gpu`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from benchmarks.measure import NO_HELD, machine
from benchmarks.training import contrast_share, make_tiles
from hpcl.ablation.score import TileScene
from hpcl.core.records import TrainedFacts
from hpcl.inference.predict import predict
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.store import Trained
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training import loop
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._stage import params

TABLE = Path("reports/benchmarks_gpu.csv")
WINDOW_PX, SIDE_PX, WORKERS = 512, 2048, 8
STEPS, TIMED_STEPS, PROFILED_STEPS, EPOCHS = 30, 15, 5, 2


@dataclass(frozen=True)
class Case:
    """One way to train."""

    encoder: str
    precision: Literal["32-true", "bf16-mixed"]
    channels_last: bool
    compile: bool
    batch_size: int


CASES = (
    Case("resnet50", "32-true", False, False, 16),
    Case("resnet50", "bf16-mixed", False, False, 16),
    Case("resnet50", "bf16-mixed", True, False, 16),
    Case("resnet50", "bf16-mixed", True, True, 16),
    Case("tf_efficientnet_lite0", "bf16-mixed", True, False, 16),
    Case("tf_efficientnet_lite0", "bf16-mixed", True, True, 16),
)


class Watched:
    """A training whose last epoch is watched: the clock first, then what the GPU did; and the memory that it took."""

    def __init__(self, tiles: Tiles, recipe: Recipe) -> None:
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self.step_s = self.busy_frac = np.nan
        self._began = 0.0
        torch.cuda.reset_peak_memory_stats()
        self.metrics = [epoch.metrics for epoch in loop.fit(tiles, recipe, progress=self._tick)]
        self.peak_gib = torch.cuda.max_memory_allocated() / 2**30

    def _tick(self, done: int, total: int) -> None:
        left = total - done
        if left not in (TIMED_STEPS + PROFILED_STEPS + 1, PROFILED_STEPS + 1, 1):
            return
        torch.cuda.synchronize()
        seconds = time.perf_counter() - self._began
        if left == PROFILED_STEPS + 1:
            self.step_s = seconds / TIMED_STEPS
            self.profiler.start()
        elif left == 1:
            self.profiler.stop()
            self.busy_frac = covered_s(self._kernels()) / seconds
        self._began = time.perf_counter()

    def _kernels(self) -> Iterator[tuple[float, float]]:
        for event in self.profiler.events() or ():
            if event.device_type.name == "CUDA":
                yield event.time_range.start / 1e6, event.time_range.end / 1e6


def covered_s(spans: Iterator[tuple[float, float]]) -> float:
    """Length of what the spans cover together.

    >>> covered_s(iter([(0, 2), (1, 3), (5, 6)]))
    4.0
    """
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def training_row(tiles: Tiles, recipe: Recipe, case: Case) -> dict[str, Any]:
    """Figures of one way to train."""
    model = replace(recipe.model, encoder=case.encoder, pretrained=False)
    train = replace(
        recipe.train, precision=case.precision, channels_last=case.channels_last, compile=case.compile,
        batch_size=case.batch_size, workers=WORKERS, steps_per_epoch=STEPS, epochs=EPOCHS,
    )  # fmt: skip
    asked = Recipe(model, replace(recipe.contrast, start_frac=0.0), train)
    watched = Watched(tiles, asked)
    share = contrast_share(tiles, asked, 3) if not case.compile else [np.nan]
    found = asdict(case) | {
        "windows_per_s": case.batch_size / watched.step_s,
        "busy_frac": watched.busy_frac,
        "contrast_share": float(np.median(share)),
        "data_wait_frac": watched.metrics[-1]["data_wait_frac"],
        "peak_gib": watched.peak_gib,
        "machine": machine(),
    }
    print({k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}, flush=True)
    return found


def mapped_windows_per_s(folder: Path, tiles: Tiles, recipe: Recipe, encoder: str, batch_size: int) -> float:
    """Windows a second of a whole map by one network, blending included."""
    network = loop.new_network(replace(recipe, model=replace(recipe.model, encoder=encoder, pretrained=False)), tiles)
    facts = TrainedFacts(
        bands=list(tiles.bands), classes=["landslide"], window_px=WINDOW_PX, sun=tiles.sun, trained_on=["area"], pixel_m=[2.0],
        fold=1, folds=2, areas={}, held=NO_HELD,
    )  # fmt: skip
    ensemble = Ensemble((Trained(network, facts),))
    settings = replace(params("inference", InferenceSettings), batch_size=batch_size, tta="none", adapt_windows=0)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        for _part in predict(TileScene(folder, "area", tiles.facts, ensemble), ensemble, settings):
            pass
        seconds.append(time.perf_counter() - began)
    windows = len(range(0, SIDE_PX - WINDOW_PX + 1, WINDOW_PX // 2)) ** 2
    found = windows / float(np.median(seconds[1:]))
    print(f"mapping, {encoder}, batch {batch_size}: {found:.1f} windows/s", flush=True)
    return found


def main(cases: Sequence[Case] = CASES) -> None:
    """Measure, and keep the table."""
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: torch sees no GPU here; python -m benchmarks.training measures on CPUs.")
    recipe = Recipe(
        params("model", ModelSettings), params("contrastive", ContrastSettings), params("train", TrainSettings)
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_tiles(folder, sorted({n for names in recipe.model.branches.values() for n in names}), WINDOW_PX, SIDE_PX)
        tiles = Tiles(folder, recipe.model.branches, 1)
        rows = [training_row(tiles, recipe, case) for case in cases]
        for encoder in ("resnet50", "tf_efficientnet_lite0"):
            mapped_windows_per_s(folder, tiles, recipe, encoder, 16)
    TABLE.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(TABLE, index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main()
