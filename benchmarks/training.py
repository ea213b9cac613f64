"""What contrast, data and number formats cost in a training step. `make bench`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from benchmarks.measure import Row, in_turn, keep, row
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training import contrast as contrast_module
from hpcl.training import loop, pairs
from hpcl.training.dataset import Tiles
from stages._stage import params

STEPS, ROUNDS = 6, 9
SIDE_PX = 1024
RIVALS = ("DeepLabV3Plus", "Unet", "Segformer")

Settings = tuple[ModelSettings, ContrastSettings, TrainSettings]


def make_tiles(folder: Path, bands: list[str], window_px: int) -> None:
    """An area of noise with landslide-like blobs, in the tiles' format."""
    rng = np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.normal(size=(SIDE_PX, SIDE_PX)), 24)
    labels = (ground > np.quantile(ground, 0.9)).astype(np.uint8)
    np.save(folder / "area.labels.npy", labels)
    np.save(folder / "area.split.npy", np.zeros_like(labels))
    np.save(folder / "area.bands.npy", rng.normal(size=(len(bands), SIDE_PX, SIDE_PX)).astype(np.float32))
    starts = range(0, SIDE_PX - window_px + 1, window_px // 2)
    at = [(r, c) for r in starts for c in starts]
    windows = [
        {"area": "area", "split": "val" if i == 0 else "train", "row_px": r, "column_px": c, "valid_frac": 1.0}
        | {"landslide_frac": float(labels[r : r + window_px, c : c + window_px].mean())}
        for i, (r, c) in enumerate(at)
    ]
    pd.DataFrame(windows).to_csv(folder / "windows.csv", index=False)
    kinds = {"n_east": "east", "n_north": "north", "n_up": "up"} | dict.fromkeys(
        ["red", "green", "blue", "nir"], "image"
    )
    facts = {
        "bands": [{"name": n, "kind": kinds.get(n, "scalar"), "unit": "", "mean": 0.0, "std": 1.0} for n in bands],
        "classes": ["landslide"],
        "window_px": window_px,
        "gap_px": 0,
        "sun": {"azimuth_deg": 315.0, "altitude_deg": 45.0},
        "areas": {"area": {"pixel_m": 2.0}},
    }
    (folder / "facts.json").write_text(json.dumps(facts))


class Trainer:
    """An endless training whose epochs are rounds; a call runs one and gives the median seconds of its steps."""

    def __init__(self, tiles: Tiles, settings: Settings) -> None:
        model, contrast, train = settings
        self.times: list[float] = []
        self.wait: list[float] = []
        endless = replace(train, epochs=1000, steps_per_epoch=STEPS, patience_epochs=1000)
        # The loss acts from the first step on: that is the dear part.
        self.epochs: Iterator[loop.Epoch] = loop.fit(
            tiles, model, replace(contrast, start_frac=0.0), endless, progress=self._tick
        )

    def _tick(self, done: int, total: int) -> None:
        self.times.append(time.perf_counter())

    def __call__(self) -> float:
        """Median seconds of a step of the next round."""
        self.times = []
        self.wait.append(next(self.epochs).metrics["data_wait_frac"])
        return float(np.median(np.diff(self.times)))


def contrast_share(tiles: Tiles, settings: Settings, rounds: int) -> list[float]:
    """Pair construction, loss (forward and backward) and queues, as a share of the step they are part of."""
    seen: dict[str, tuple[Any, ...]] = {}

    def keeping(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            seen[name] = arguments
            return work(*arguments)

        return wrapped

    trainer = Trainer(tiles, settings)
    pairs, loss = pairs.sample_pairs, contrast_module.contrast_loss
    with (
        mock.patch.object(loop, "sample_pairs", keeping("pairs", pairs)),
        mock.patch.object(loop, "contrast_loss", keeping("loss", loss)),
    ):
        for _ in range(3):  # the queues fill
            trainer()

    def alone() -> float:
        anchors, anchor_classes, keys, key_classes, queues, temperature = seen["loss"]
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            pairs(*seen["pairs"])
            leaf = anchors.detach().requires_grad_()
            loss(leaf, anchor_classes, keys, key_classes, queues, temperature).backward()
            queues.push(keys, key_classes, 0)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return float(np.median(times))

    parts, steps = in_turn(rounds, alone, trainer)
    return [part / step for part, step in zip(parts, steps, strict=True)]


def main() -> None:
    """Measure with the settings of params.yaml, and keep the rows."""
    model = params("model", ModelSettings)
    contrast, train = params("contrastive", ContrastSettings), params("train", TrainSettings)
    window_px = int(params("tile", dict[str, Any])["window_px"])
    print(
        f"bench: {ROUNDS} rounds of {STEPS} steps of {train.batch_size} windows of {window_px} px, encoder {model.encoder}"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_tiles(folder, sorted({name for names in model.branches.values() for name in names}), window_px)
        tiles = Tiles(folder, model.branches)
        keep(measured(tiles, (model, contrast, train)))


def measured(tiles: Tiles, settings: Settings, rounds: int = ROUNDS) -> list[Row]:
    """All rows."""
    model, contrast, train = settings
    plain = model, replace(contrast, weight=0.0), train
    whole, bare = Trainer(tiles, settings), Trainer(tiles, plain)
    full, without = in_turn(rounds, whole, bare)
    rows = [
        row(
            "hpcl_step_vs_plain",
            [a / b for a, b in zip(full, without, strict=True)],
            "a step with contrast over one without",
        ),
        row(
            "contrast_share_of_step", contrast_share(tiles, settings, rounds), "pairs, loss and queues over their step"
        ),
        row("data_wait_share", whole.wait[1:], "waiting for windows over the epoch"),
    ]
    for name in RIVALS:
        rival = replace(model, architecture=name), plain[1], train
        ours, theirs = in_turn(rounds, whole, Trainer(tiles, rival))
        found = [a / b for a, b in zip(ours, theirs, strict=True)]
        rows.append(row(f"hpcl_step_vs_{name.lower()}", found, f"a step of HPCL-Net over one of {name}"))
    formats = {
        "bf16_step_vs_fp32": ("bf16-mixed precision over 32-true", replace(train, precision="bf16-mixed")),
        "channels_last_step": ("channels_last over the usual layout", replace(train, channels_last=True)),
        "compiled_step": ("torch.compile over eager", replace(train, compile=True)),
    }
    for name, (what, other) in formats.items():
        base = replace(train, channels_last=False) if name == "channels_last_step" else train
        works = (Trainer(tiles, (model, contrast, chosen)) for chosen in (other, base))
        changed, usual = in_turn(rounds, *works)
        rows.append(row(name, [a / b for a, b in zip(changed, usual, strict=True)], what))
    return rows


if __name__ == "__main__":
    main()
