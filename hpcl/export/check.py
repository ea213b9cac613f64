"""The exported graph against the pipeline's own probabilities, on windows of ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import torch

from hpcl.core.codes import ALL_NETWORKS
from hpcl.export.form import INPUT, NODATA, outputs
from hpcl.inference.compose import Window, composed, voices
from hpcl.inference.scene import Scene
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32
from hpcl.settings.inference import InferenceSettings
from hpcl.windows import pad, spread

TOLERANCE = 1e-4
"""Probabilities that differ by more are not those of the pipeline. Rounding of float32 leaves some 1e-6."""
WINDOWS = 16
"""Looked at in each area."""


def difference(model: bytes, scene: Scene, ensemble: Ensemble, settings: InferenceSettings) -> float:
    """The largest difference of any probability in `WINDOWS` windows of a scene; nan or -1 in the wrong place counts as 1."""
    window_px = ensemble.facts.window_px
    raw = np.stack([_read(scene, window_px, *place) for place in spread(scene.shape, window_px, WINDOWS)])
    ours, theirs = pipeline(scene, raw, ensemble, settings), answers(model, raw)
    expected = {name: layers for name, layers in ours.items() if name in theirs}
    away = [np.abs(layers - theirs[name]).max() for name, layers in expected.items()]
    return float(np.nan_to_num(max(away), nan=1.0))


def pipeline(scene: Scene, raw: Float32, ensemble: Ensemble, settings: InferenceSettings) -> dict[str, Float32]:
    """What `predict` finds of raw windows ``(window, band, row, column)`` on ground of no fold, before it blends them, in the
    form of the graph's outputs."""
    plain = replace(settings, tta="none", adapt_windows=0)
    codes = np.full(raw.shape[2:], ALL_NETWORKS, np.uint8)
    windows = [Window(window, codes) for window in raw]
    speaking = voices(ensemble, scene, plain, torch.device("cpu"))
    classes = composed(speaking, scene, windows, [(0, False)], ensemble.facts.sun)[:, :-1]
    known = np.stack([scene.has_data(window) for window in raw])[:, None]
    landslide = classes.sum(axis=1, keepdims=True)
    layers = [landslide, np.concatenate([1 - landslide, classes], axis=1)]
    names = outputs(ensemble.facts.classes)
    return {name: np.where(known, layer, np.float32(NODATA)) for name, layer in zip(names, layers, strict=False)}


def answers(model: bytes, raw: Float32) -> dict[str, Float32]:
    """What onnxruntime finds, by name."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: raw}), strict=True))


def _read(scene: Scene, window_px: int, top: int, left: int) -> Float32:
    rows, columns = slice(top, min(top + window_px, scene.shape[0])), slice(left, min(left + window_px, scene.shape[1]))
    return pad(scene.read((rows, columns)), window_px)
