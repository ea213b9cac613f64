"""Tiles to batches: which windows are drawn, how bands become numbers, and augmentation that keeps terrain terrain."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hpcl.core.areas import distinct
from hpcl.core.artifacts import read_csv, read_json, read_npy
from hpcl.core.codes import UNKNOWN
from hpcl.core.prefetch import ahead
from hpcl.core.records import LabelShare, TileFacts
from hpcl.networks.d4 import turn
from hpcl.networks.normalise import Float32, normalise
from hpcl.settings.train import AugmentSettings
from hpcl.training.toe import toe


class DatasetError(ValueError):
    """The tiles do not hold what the network asks for."""


def jitter(values: Float32, settings: AugmentSettings, rng: np.random.Generator) -> Float32:
    """Normalised image bands ``(band, row, column)`` under another light: gain and offset, part common, part per band."""
    common, own = rng.normal(size=2), rng.normal(size=(2, len(values)))
    gain, offset = ((common[:, None] + own) / np.sqrt(2)).astype(np.float32)
    return values * np.exp(settings.gain_std * gain)[:, None, None] + (settings.offset_std * offset)[:, None, None]


Sample = dict[str, Any]
Draw = tuple[int, int, int]
"""A window to draw: its number, and epoch and position, from which its augmentation follows."""


class Tiles:
    """The tile folder as the network of one ``fold`` sees it, memory-mapped: facts, windows, and raw windows of chosen bands;
    with ``downhill``, the surface normal is among them whether a branch sees it or not. Of a ``share`` of the labels, a folder
    that `hpcl.ablation.share` wrote, only that ground teaches.

    Folds count from 1. Windows have a role: the network learns from ``train``, and ``held`` are those of its fold, which
    it never learns from.
    """

    def __init__(
        self,
        folder: Path,
        branches: Mapping[str, Sequence[str]],
        fold: int,
        downhill: bool = False,
        share: Path | None = None,
    ) -> None:
        self.facts, self.fold = read_json(folder / "facts.json", TileFacts), fold
        if not 1 <= fold <= len(self.facts.folds):
            raise DatasetError(
                f"Fold {fold} was asked for, but {folder} has the folds {', '.join(self.facts.fold_names)}."
            )
        known = {band.name: band for band in self.facts.folds[fold - 1].bands}
        for branch, names in branches.items():
            for name in names:
                if name not in known:
                    raise DatasetError(
                        f"model.branches.{branch} asks for band '{name}', which no tile has; there are {', '.join(known)}."
                    )
        self.branches = {branch: tuple(known[name] for name in names) for branch, names in branches.items()}
        wanted = [b.name for bands in self.branches.values() for b in bands]
        # Turning a hillshade needs the normal too.
        if downhill or any(known[name].kind == "hillshade" for name in wanted):
            wanted += [b.name for b in known.values() if b.kind in ("east", "north", "up")]
        names = list(dict.fromkeys(wanted))
        self.bands = tuple(known[name] for name in names)
        self._layers = [list(known).index(name) for name in names]
        self._place = {b: [names.index(x.name) for x in bands] for b, bands in self.branches.items()}
        # Of half a million windows, names as categories and columns as arrays take a tenth of what objects take.
        table = (share or folder) / f"windows_{fold}.csv"
        self.windows = read_csv(
            table, {"area": "category", "role": "category", "row_px": int, "column_px": int, "landslide_frac": float}
        )
        self._at = [self.windows[name].to_numpy() for name in ("area", "row_px", "column_px", "role")]
        self.window_px = self.facts.window_px
        self.sun = self.facts.sun
        self.classes = 1 + len(self.facts.classes)
        if strange := set(self.windows["area"].cat.categories) - set(self.facts.areas):
            raise DatasetError(
                f"{table} has windows of {min(strange)}, which {folder / 'facts.json'} does not know; run the stage"
                " tile again (dvc repro -s -f tile)."
            )
        self._arrays = {area: self._area(folder, area) for area in distinct(self.facts.areas)}
        self._taken = self._blocks(share) if share else None

    def _area(self, folder: Path, area: str) -> tuple[npt.NDArray[Any], ...]:
        """Bands, labels and teaching bits of one area, as plain arrays: slicing a memmap costs more than reading a small window."""
        bands = read_npy(folder / f"{area}.bands.npy", "f", [len(self.facts.bands), None, None])
        codes = (read_npy(folder / f"{area}.{what}.npy", "iu", bands.shape[1:]) for what in ("labels", "teaches"))
        return tuple(map(np.asarray, (bands, *codes)))

    def _blocks(self, share: Path) -> dict[str, npt.NDArray[np.bool_]]:
        """By area, whether each of its blocks belongs to a share of the labels."""
        taken = read_json(share / "facts.json", LabelShare).folds[self.fold - 1].blocks
        areas = self.facts.areas
        return {name: np.isin(np.arange(len(area.folds)), taken.get(name, ())) for name, area in areas.items()}

    def raw(self, number: int) -> tuple[Float32, npt.NDArray[np.int64]]:
        """Window ``number``: raw bands ``(band, row, column)``, and labels ``(row, column)``: of a training window those that may
        teach this network, of a held one all, for it lies in blocks of the fold."""
        area, row, column, role = (column[number] for column in self._at)
        bands, labels, teaches = self._arrays[area]
        rows, columns = slice(row, row + self.window_px), slice(column, column + self.window_px)
        values = np.stack([bands[layer, rows, columns] for layer in self._layers])
        label = labels[rows, columns]
        if role == "train":
            label = np.where(teaches[rows, columns] >> (self.fold - 1) & 1, label, UNKNOWN)
            if self._taken is not None:
                height, width = label.shape
                blocks = self.facts.areas[area].blocks(slice(row, row + height), slice(column, column + width))
                label = np.where(self._taken[area][blocks], label, UNKNOWN)
        missing = self.window_px - label.shape[0], self.window_px - label.shape[1]
        if any(missing):
            values = np.pad(values, ((0, 0), (0, missing[0]), (0, missing[1])), constant_values=np.nan)
            label = np.pad(label, ((0, missing[0]), (0, missing[1])), constant_values=UNKNOWN)
        return values, label.astype(np.int64)

    def by_branch(self, values: Float32, branches: Iterable[str]) -> dict[str, Tensor]:
        """Normalised ``(band, row, column)`` values as one tensor for each of these branches."""
        return {branch: torch.from_numpy(values[self._place[branch]]) for branch in branches}

    def numbers(self, role: Literal["train", "held"]) -> npt.NDArray[np.int64]:
        """The numbers of the windows of a role."""
        return np.flatnonzero((self.windows["role"] == role).to_numpy())


class Windows(Dataset[Sample]):
    """Windows as network input: ``bands`` per branch, ``labels``; augmented ones also ``key_bands``, the same turned
    ground under an independent light (of the branches that light changes), and with ``toes`` where landslides end
    downhill."""

    def __init__(self, tiles: Tiles, augment: AugmentSettings | None, seed: int, toes: bool = False) -> None:
        self.tiles, self.augment, self.seed, self.toes = tiles, augment, seed, toes
        kinds = [band.kind for band in tiles.bands]
        if toes and not {"east", "north"} <= set(kinds):
            raise DatasetError("To know a landslide's toe, the tiles need the bands n_east and n_north.")
        self._image = [i for i, kind in enumerate(kinds) if kind == "image"]
        self._lit = [name for name, bands in tiles.branches.items() if any(band.kind == "image" for band in bands)]
        self._horizontal = [kinds.index(kind) for kind in ("east", "north")] if toes else []

    def __getitem__(self, draw: Draw) -> Sample:
        number, epoch, position = draw
        values, labels = self.tiles.raw(number)
        bands = self.tiles.bands
        if self.augment is None:
            return {
                "bands": self.tiles.by_branch(normalise(values, bands), self.tiles.branches),
                "labels": torch.from_numpy(labels),
            }
        rng = np.random.default_rng((self.seed, epoch, position))
        quarter_turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        turned = turn(values, bands, quarter_turns, mirror, self.tiles.sun)
        labels = np.rot90(labels[:, ::-1] if mirror else labels, quarter_turns).copy()
        slides = (labels > 0) & (labels != UNKNOWN)
        marks = {"toe": torch.from_numpy(toe(slides, *turned[self._horizontal]))} if self.toes else {}
        turned = normalise(turned, bands)
        plain = turned[self._image]
        turned[self._image] = jitter(plain, self.augment, rng)
        query = self.tiles.by_branch(turned, self.tiles.branches)
        turned[self._image] = jitter(plain, self.augment, rng)
        key = self.tiles.by_branch(turned, self._lit)
        if len(query) > 1 and rng.random() < self.augment.branch_dropout_frac:
            lost = str(rng.choice(list(query)))
            for views in (query, key):
                views.update({lost: torch.zeros_like(query[lost])} if lost in views else {})
        return {"bands": query, "key_bands": key, "labels": torch.from_numpy(labels), **marks}


def draw_epoch(tiles: Tiles, epoch: int, draws: int, landslide_windows_frac: float, seed: int) -> list[Draw]:
    """The windows of one training epoch, a function of seed and epoch alone (so that a resumed run draws the same).

    ``landslide_windows_frac`` of the draws come from windows with landslide ground, the rest from all windows.
    """
    rng = np.random.default_rng((seed, epoch))
    everywhere = tiles.numbers("train")
    share = tiles.windows["landslide_frac"].to_numpy()[everywhere]
    with_landslide = everywhere[share > 0.01] if (share > 0.01).any() else everywhere
    chosen = np.where(
        rng.random(draws) < landslide_windows_frac, rng.choice(with_landslide, draws), rng.choice(everywhere, draws)
    )
    return [(int(number), epoch, position) for position, number in enumerate(chosen)]


def batches(windows: Windows, draws: Iterable[Draw], batch_size: int, workers: int) -> Generator[Sample, None, None]:
    """Collated batches of the draws in their order, prepared by ``workers`` processes ahead of time; 0: by a thread that
    is one batch ahead.

    The draws are asked for as they are needed. Where there is a GPU, batches lie in memory that it can read by itself.
    """
    loaded = iter(
        DataLoader(
            windows,
            batch_sampler=_Groups(draws, batch_size),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            # A fixed source: the loader would draw its base seed from the global generator.
            generator=torch.Generator().manual_seed(0),
        )
    )
    if workers:
        yield from loaded
    else:
        with ThreadPoolExecutor(1) as thread:
            yield from takewhile(bool, ahead(lambda _: thread.submit(next, loaded, {}), count(), most=2))


@dataclass(frozen=True)
class _Groups(Sampler[list[Draw]]):
    """Draws, ``size`` at a time."""

    draws: Iterable[Draw]
    size: int

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = iter(self.draws)
        while group := list(islice(draws, self.size)):
            yield group
