"""Ratios measured side by side: what is compared runs in turn, round by round, so that a busy machine slows both."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hpcl.core.records import TEMPERATURES, HeldLoss

TABLE = Path("reports/benchmarks.csv")
NO_HELD = HeldLoss(loss=[0.0] * len(TEMPERATURES), px=1)
"""Of a network that was never trained: any temperature is as good for it."""


@dataclass(frozen=True)
class Row:
    """One benchmark: the median ``ratio`` over rounds and the interval of that median by resampling rounds."""

    name: str
    ratio: float
    low: float
    high: float
    what: str
    machine: str


def machine() -> str:
    """What it was measured on, in a few words."""
    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return f"{model}, {cores} cores{gpu}, torch {torch.__version__.partition('+')[0]}"


def row(name: str, ratios: list[float], what: str) -> Row:
    """The row of the ratios of all rounds."""
    values = np.array(ratios)
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    found = Row(name, float(np.median(values)), float(low), float(high), what, machine())
    print(f"{name:24s} {found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}]  {what}", flush=True)
    return found


def in_turn(rounds: int, *works: Callable[[], float]) -> list[list[float]]:
    """What each work gives in each round (seconds, usually); a first round warms up and does not count."""
    taken = [[work() for work in works] for _ in range(rounds + 1)]
    return [list(each) for each in zip(*taken[1:], strict=True)]


def keep(rows: list[Row]) -> None:
    """Put rows into the table; rows of other benchmarks stay."""
    new = pd.DataFrame([asdict(r) for r in rows])
    if TABLE.exists():
        before = pd.read_csv(TABLE)
        new = pd.concat([before[~before["name"].isin(new["name"])], new])
    TABLE.parent.mkdir(exist_ok=True)
    new.sort_values("name").to_csv(TABLE, index=False, float_format="%.4g", lineterminator="\n")
