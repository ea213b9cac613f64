"""Rasters as addresses of the kind `data:`, which a browser shows without a file or a network."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]

QUALITY = 78
"""Of WebP: at 90 a page has twice the bytes, at 60 the texture of scree is gone."""


@dataclass(frozen=True)
class Stretch:
    """The values of each band, from dark to light."""

    low: Array
    high: Array

    @classmethod
    def of(cls, bands: Array) -> Stretch:
        """From the 2nd to the 98th percentile of ``bands``, ``(band, row, column)`` with NaN."""
        known = [band[np.isfinite(band)] for band in bands]
        limits = [np.percentile(values, [2, 98]) if values.size else (0.0, 1.0) for values in known]
        low, high = np.array(limits, np.float32).T
        return cls(low, np.where(high > low, high, low + np.float32(1)))

    def picture(self, bands: Array) -> str:
        """One band as grey, or three as red, green and blue; transparent where any has no data."""
        low, high = (limit[:, None, None] for limit in (self.low, self.high))
        known = np.isfinite(bands).all(axis=0)
        shown = np.clip((np.where(known, bands, low) - low) / (high - low), 0, 1)
        rgba = np.empty((*known.shape, 4), np.uint8)
        rgba[..., :3] = np.moveaxis(np.round(shown * 255), 0, -1)  # one band fills all three
        rgba[..., 3] = known * np.uint8(255)
        image = Image.fromarray(rgba)
        if known.all():
            image = image.convert("RGB")
        packed = io.BytesIO()
        image.save(packed, "webp", quality=QUALITY, method=4)
        return _address("webp", packed.getvalue())


def numbers(values: Array, top: float, steps: int) -> str:
    """``values`` ``(row, column)`` from 0 to ``top`` as a grey picture that a program reads: 0 where there is no data, otherwise
    1 plus the number of whole steps.

    Rounded down, so that a value reaches a threshold that is a whole number of steps if and only if its code does.
    """
    known = np.isfinite(values)
    # float32 shares: 0.35 of them is 0.34999999, and must count as 0.35
    scaled = np.floor(np.where(known, values, 0) / np.float32(top) * np.float32(steps) + np.float32(1e-4))
    codes = np.where(known, 1 + np.clip(scaled, 0, steps), 0).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(codes).save(packed, "png", compress_level=6)  # 9 takes seven times as long for 7 % of the bytes
    return _address("png", packed.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"
