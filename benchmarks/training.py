"""What contrast, data and number formats cost in a training step. `make bench`."""

from __future__ import annotations

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
from hpcl.core.artifacts import write_json
from hpcl.core.records import (
    BandFacts,
    BandKind,
    FoldFacts,
    GroundFacts,
    ImageGround,
    LabelledGround,
    Sun,
    TileBand,
    TiledArea,
    TileFacts,
)
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training import contrast, loop, pairs
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._stage import params

STEPS, ROUNDS = 6, 9
SIDE_PX = 1024
BASELINE_NETWORKS = ("DeepLabV3Plus", "Unet", "Segformer")


def make_tiles(folder: Path, bands: list[str], window_px: int, side_px: int = SIDE_PX) -> None:
    """An area of noise with landslide-like blobs, in the tiles' format, as the network of fold 1 sees it: all of it but one window
    teaches it."""
    rng = np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.normal(size=(side_px, side_px)), 24)
    labels = (ground > np.quantile(ground, 0.9)).astype(np.uint8)
    np.save(folder / "area.labels.npy", labels)
    np.save(folder / "area.teaches.npy", np.ones_like(labels, np.uint16))
    np.save(folder / "area.bands.npy", rng.normal(size=(len(bands), side_px, side_px)).astype(np.float32))
    starts = range(0, side_px - window_px + 1, window_px // 2)
    at = [(r, c) for r in starts for c in starts]
    windows = [
        {"area": "area", "role": "held" if i == 0 else "train", "row_px": r, "column_px": c, "valid_frac": 1.0}
        | {"landslide_frac": float(labels[r : r + window_px, c : c + window_px].mean())}
        for i, (r, c) in enumerate(at)
    ]
    pd.DataFrame(windows).to_csv(folder / "windows_1.csv", index=False)
    kinds: dict[str, BandKind] = {"n_east": "east", "n_north": "north", "n_up": "up"}
    kinds |= {"red": "image", "green": "image", "blue": "image", "nir": "image"}
    area = TiledArea(
        crs="EPSG:32648",
        transform=[2.0, 0.0, 5e5, 0.0, -2.0, 4e6],
        shape=[side_px, side_px],
        pixel_m=2.0,
        dem_pixel_m=2.0,
        tops=[0],
        lefts=[0],
        folds=[0],
    )
    of_fold = FoldFacts(
        blocks=1,
        labelled_px=labels.size,
        landslide_px=int(labels.sum()),
        bands=[BandFacts(name, kinds.get(name, "scalar"), 0.0, 1.0) for name in bands],
    )
    facts = TileFacts(
        areas={"area": area},
        sun=Sun(315.0, 45.0),
        bands=[TileBand(name, kinds.get(name, "scalar"), "") for name in bands],
        ground=GroundFacts({}, ImageGround([], [], [])),
        classes=["landslide"],
        window_px=window_px,
        gap_px=0,
        folds=[of_fold, of_fold],
        test=LabelledGround(blocks=0, labelled_px=0, landslide_px=0),
    )
    write_json(folder / "facts.json", facts)


class Training:
    """An endless training whose epochs are rounds; a call runs one and gives the median seconds of its steps."""

    def __init__(self, tiles: Tiles, recipe: Recipe) -> None:
        self.times: list[float] = []
        self.wait: list[float] = []
        endless = replace(recipe.train, epochs=1000, steps_per_epoch=STEPS)
        acting = replace(recipe.contrast, start_frac=0.0)  # from the first step on: that is the dear part
        self.epochs: Iterator[loop.Epoch] = loop.fit(
            tiles, replace(recipe, contrast=acting, train=endless), progress=self._tick
        )

    def _tick(self, done: int, total: int) -> None:
        self.times.append(time.perf_counter())

    def __call__(self) -> float:
        """Median seconds of a step of the next round."""
        self.times = []
        self.wait.append(next(self.epochs).metrics["data_wait_frac"])
        return float(np.median(np.diff(self.times)))


def contrast_share(tiles: Tiles, recipe: Recipe, rounds: int) -> list[float]:
    """Pair construction, loss (forward and backward) and queues, as a share of the step they are part of."""
    seen: dict[str, tuple[Any, ...]] = {}

    def keeping(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            seen[name] = arguments
            return work(*arguments)

        return wrapped

    training = Training(tiles, recipe)
    sample, loss = pairs.sample_pairs, contrast.contrast_loss
    with (
        mock.patch.object(contrast, "sample_pairs", keeping("pairs", sample)),
        mock.patch.object(contrast, "contrast_loss", keeping("loss", loss)),
    ):
        for _ in range(3):  # the queues fill
            training()

    def alone() -> float:
        anchors, anchor_classes, keys, key_classes, queues, temperature = seen["loss"]
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            sample(*seen["pairs"])
            leaf = anchors.detach().requires_grad_()
            loss(leaf, anchor_classes, keys, key_classes, queues, temperature).backward()
            queues.push(keys, key_classes, 0)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return float(np.median(times))

    parts, steps = in_turn(rounds, alone, training)
    return [part / step for part, step in zip(parts, steps, strict=True)]


def main() -> None:
    """Measure with the settings of params.yaml, and keep the rows."""
    recipe = Recipe(
        params("model", ModelSettings), params("contrastive", ContrastSettings), params("train", TrainSettings)
    )
    model, train = recipe.model, recipe.train
    window_px = int(params("tile", dict[str, Any])["window_px"])
    print(
        f"bench: {ROUNDS} rounds of {STEPS} steps of {train.batch_size} windows of {window_px} px, encoder {model.encoder}"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_tiles(folder, sorted({name for names in model.branches.values() for name in names}), window_px)
        tiles = Tiles(folder, model.branches, 1)
        keep(measured(tiles, recipe))


def measured(tiles: Tiles, recipe: Recipe, rounds: int = ROUNDS) -> list[Row]:
    """All rows."""
    plain = replace(recipe, contrast=replace(recipe.contrast, weight=0.0))
    whole, bare = Training(tiles, recipe), Training(tiles, plain)
    full, without = in_turn(rounds, whole, bare)
    rows = [
        row(
            "hpcl_step_vs_plain",
            [a / b for a, b in zip(full, without, strict=True)],
            "a step with contrast over one without",
        ),
        row("contrast_share_of_step", contrast_share(tiles, recipe, rounds), "pairs, loss and queues over their step"),
        row("data_wait_share", whole.wait[1:], "waiting for windows over the epoch"),
    ]
    for name in BASELINE_NETWORKS:
        baseline = replace(plain, model=replace(plain.model, architecture=name))
        ours, theirs = in_turn(rounds, whole, Training(tiles, baseline))
        found = [a / b for a, b in zip(ours, theirs, strict=True)]
        rows.append(row(f"hpcl_step_vs_{name.lower()}", found, f"a step of HPCL-Net over one of {name}"))
    formats: dict[str, tuple[str, dict[str, Any]]] = {
        "bf16_step_vs_fp32": ("bf16-mixed precision over 32-true", {"precision": "bf16-mixed"}),
        "channels_last_step": ("channels_last over the usual layout", {"channels_last": True}),
        "compiled_step": ("torch.compile over eager", {"compile": True}),
    }
    for name, (what, changes) in formats.items():
        base = replace(recipe.train, channels_last=False) if name == "channels_last_step" else recipe.train
        works = (Training(tiles, replace(recipe, train=train)) for train in (replace(base, **changes), base))
        changed, usual = in_turn(rounds, *works)
        rows.append(row(name, [a / b for a, b in zip(changed, usual, strict=True)], what))
    return rows


if __name__ == "__main__":
    main()
