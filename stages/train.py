"""Train HPCL-Net on the tiles; keep the best weights by validation, resume where a killed run stopped."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from hpcl import checkpoint, fit, networks, ranks
from hpcl.contrast import ContrastSettings
from hpcl.dataset import Tiles
from hpcl.model import ModelSettings
from stages import _track
from stages._stage import params, progress, run, write_json

TILES, MODEL, REPORTS = Path("data/tiles"), Path("data/model"), Path("reports/train")


def main() -> None:
    """Say the cost, train, calibrate on the validation windows, and write model and curves."""
    settings = (
        params("model", ModelSettings),
        params("contrastive", ContrastSettings),
        params("train", fit.TrainSettings),
    )
    train = settings[2]
    tiles = Tiles(TILES, settings[0].branches)
    print(
        f"train: {len(tiles.numbers('train'))} training and {len(tiles.numbers('val'))} validation windows of "
        f"{tiles.window_px} px; at most {train.epochs} epochs of {train.steps_per_epoch} steps of {train.batch_size} windows"
    )
    place = _checkpoints(settings)
    latest, best = place / "latest.safetensors", place / "best.safetensors"
    resume = checkpoint.load(latest) if latest.exists() else None
    history = resume["history"] if resume else []
    if resume:
        print(f"train: resuming after epoch {resume['epoch'] + 1} from {latest}")
    bar = _with_estimate(progress("train"))
    for epoch in fit.fit(tiles, *settings, resume=resume, progress=bar):
        if ranks.number():
            continue  # the first process writes; all know the same
        history.append({"epoch": epoch.number, **epoch.metrics})
        if epoch.best:
            checkpoint.save(best, {"weights": epoch.weights, "epoch": epoch.number})
        checkpoint.save(latest, epoch.state | {"history": history})
        _track.live(epoch.metrics, epoch.number)
        shown = ", ".join(
            f"{name} {epoch.metrics[name]:.3f}"
            for name in ("loss", "contrast_loss", "val_iou")
            if name in epoch.metrics
        )
        print(
            f"train: epoch {epoch.number + 1}/{train.epochs}: {shown}, {epoch.metrics['windows_per_s']:.1f} windows/s{' *' * epoch.best}"
        )
    if ranks.number():
        return
    kept = checkpoint.load(best)
    network = fit.build(tiles, *settings).network
    network.load_state_dict(kept["weights"])
    temperature, threshold, iou = fit.calibrate(tiles, network, train)
    facts = {
        "bands": [asdict(band) for band in tiles.bands],
        "classes": tiles.facts["classes"],
        "window_px": tiles.window_px,
        "pixel_m": sorted({area["pixel_m"] for area in tiles.facts["areas"].values()}),
        "temperature": round(temperature, 6),
        "threshold": round(threshold, 6),
        "epoch": kept["epoch"],
    }
    networks.save(MODEL, network, facts)
    # Speeds differ from run to run and would make equal results unequal: they stay in the live curves.
    curves = pd.DataFrame(history).drop(columns=["windows_per_s", "data_wait_frac"])
    REPORTS.mkdir(parents=True, exist_ok=True)
    curves.to_csv(REPORTS / "curves.csv", index=False, float_format="%.6g")
    write_json(
        REPORTS / "summary.json",
        {
            "val_iou": iou,
            "threshold": threshold,
            "temperature": temperature,
            "best_epoch": kept["epoch"],
            "epochs": len(history),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    )
    (place / "finished").touch()  # `track` may clear it away now
    print(
        f"train: best epoch {kept['epoch'] + 1}; validation IoU {iou:.3f} at threshold {threshold:.2f}, temperature {temperature:.2f}"
    )


def _checkpoints(settings: tuple[object, ...]) -> Path:
    """A folder outside the outs for exactly these settings and tiles, so that no other run resumes from it."""
    key = hashlib.sha256(json.dumps([asdict(s) for s in settings], sort_keys=True).encode())  # type: ignore[call-overload]  # pydantic dataclasses are dataclasses
    for path in sorted(TILES.iterdir()):
        key.update(path.name.encode())
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    return Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt" / key.hexdigest()[:16]


def _with_estimate(inner: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Say how long it will take once ten steps have shown it."""
    seen: list[tuple[int, float]] = []

    def hook(done: int, total: int) -> None:
        seen.append((done, time.monotonic()))
        if len(seen) == 10:
            (first, began), (last, now) = seen[0], seen[-1]
            minutes = (now - began) / (last - first) * (total - done) / 60
            print(f"train: about {minutes:.1f} minutes for the remaining {total - done} steps, if not stopped early")
        inner(done, total)

    return hook


if __name__ == "__main__":
    run(main)
