"""One network over one scene, as other libraries do it: `python maps.py <library> <folder>`, in their environment.

The folder holds ``scene.tif``, a small ``warm_up.tif``, the network's weights, and ``work.json``, which says how it is built, how bands are
normalised and how windows are laid. Every library writes ``<library>.tif``, the probability of landslide. What the libraries leave to
their users is done here in the simplest way: normalising, softmax, writing, and for torchgeo the blending.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from told import tell

Map = Callable[[Path, Path], None]
"""From a scene to a file of probabilities."""


class Work:
    """What every library is given."""

    def __init__(self, folder: Path) -> None:
        """Read ``work.json``, and build the network."""
        facts = json.loads((folder / "work.json").read_text(encoding="utf-8"))
        self.window_px, self.overlap_px, self.batch = facts["window_px"], facts["overlap_px"], facts["batch_size"]
        self.mean, self.std = (np.array(facts[name], np.float32)[:, None, None] for name in ("mean", "std"))
        self.network = smp.create_model(**facts["network"])
        self.network.load_state_dict(load_file(folder / "network.safetensors"))
        self.network.eval()

    def normalised(self, values: np.ndarray) -> np.ndarray:
        """Bands ``(band, row, column)`` as the network knows them; nodata is the mean."""
        return np.nan_to_num((values - self.mean) / self.std, copy=False)

    def probabilities(self, windows: torch.Tensor) -> torch.Tensor:
        """Of background and landslide, ``(window, class, row, column)``."""
        return self.network(windows).softmax(1)

    def channels_last(self, windows: torch.Tensor) -> torch.Tensor:
        """The same in the layout that a CPU prefers; the network must lie so too."""
        return self.probabilities(windows.contiguous(memory_format=torch.channels_last))


def terratorch(work: Work, forward: Callable[[torch.Tensor], torch.Tensor]) -> Map:
    """TerraTorch's `tiled_inference` over the whole scene in memory; ``delta`` 0, so that it lays as many windows as the others."""
    from terratorch.tasks.tiled_inference import tiled_inference

    def map_scene(scene: Path, out: Path) -> None:
        with rasterio.open(scene) as source:
            values, profile = work.normalised(source.read()), source.profile
        found = tiled_inference(
            forward, torch.from_numpy(values)[None], crop=work.window_px, stride=work.window_px - work.overlap_px,
            delta=0, batch_size=work.batch, padding=False,
        )  # fmt: skip
        _write(out, found[0, 1].numpy(), profile)

    return map_scene


def terratorch_channels_last(work: Work) -> Map:
    """The same with network and windows in the layout that a CPU prefers."""
    work.network.to(memory_format=torch.channels_last)
    return terratorch(work, work.channels_last)


def geoai(work: Work) -> Map:
    """geoai's `predict_geotiff`, which reads, blends and writes by itself."""
    from geoai.inference import predict_geotiff

    class Landslide(torch.nn.Module):
        """The probability of landslide alone, so that no other is written."""

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            """``(window, 1, row, column)``."""
            return work.probabilities(windows)[:, 1:]

    def map_scene(scene: Path, out: Path) -> None:
        predict_geotiff(
            Landslide(), str(scene), str(out), tile_size=work.window_px, overlap=work.overlap_px, batch_size=work.batch,
            num_classes=1, blend_mode="linear", preprocess_fn=work.normalised, device="cpu", compress="deflate", verbose=False,
        )  # fmt: skip

    return map_scene


def torchgeo(work: Work) -> Map:
    """torchgeo's `GridGeoSampler` and a DataLoader, as in its tutorials; it has no blending, so windows are added up here."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    def map_scene(scene: Path, out: Path) -> None:
        dataset = RasterDataset(str(scene))
        stride = work.window_px - work.overlap_px
        sampler = GridGeoSampler(dataset, size=work.window_px, stride=stride)
        ramp = np.minimum(np.arange(work.window_px) + 0.5, work.window_px - np.arange(work.window_px) - 0.5)
        weights = np.outer(ramp, ramp).astype(np.float32)
        with rasterio.open(scene) as source:
            profile, (height, width) = source.profile, source.shape
        total, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        places = _places(sampler, profile["transform"])
        loader = DataLoader(dataset, batch_size=work.batch, sampler=sampler, collate_fn=stack_samples)
        with torch.no_grad():
            for batch in loader:
                images = torch.from_numpy(np.stack([work.normalised(image) for image in batch["image"].numpy()]))
                for found in work.probabilities(images)[:, 1].numpy():
                    top, left = next(places)
                    rows, columns = slice(max(top, 0), top + work.window_px), slice(left, left + work.window_px)
                    inside = total[rows, columns].shape
                    cut = (
                        np.s_[work.window_px - inside[0] :, : inside[1]] if top < 0 else np.s_[: inside[0], : inside[1]]
                    )
                    total[rows, columns] += (found * weights)[cut]
                    weight[rows, columns] += weights[cut]
        _write(out, total / weight, profile)

    return map_scene


def _places(sampler: Any, transform: Any) -> Any:
    """First row and column of each of the sampler's windows."""
    for x, y, _ in sampler:
        yield round((y.stop - transform.f) / transform.e), round((x.start - transform.c) / transform.a)


def _write(out: Path, probability: np.ndarray, profile: Any) -> None:
    """A tiled, compressed GeoTIFF, as the scene is."""
    with rasterio.open(out, "w", **profile | {"count": 1, "dtype": "float32"}) as sink:
        sink.write(probability, 1)


def main(library: str, folder: Path) -> None:
    """Map the scene with a library, and tell what it cost."""
    warnings.simplefilter("ignore")  # of libraries that are guests here
    work = Work(folder)
    made: dict[str, Callable[[], Map]] = {
        "terratorch": lambda: terratorch(work, work.probabilities),
        "terratorch_channels_last": lambda: terratorch_channels_last(work),
        "geoai": lambda: geoai(work),
        "torchgeo": lambda: torchgeo(work),
    }
    map_scene = made[library]()
    out = folder / f"{library}.tif"
    tell(lambda: map_scene(folder / "warm_up.tif", out), lambda: map_scene(folder / "scene.tif", out))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
