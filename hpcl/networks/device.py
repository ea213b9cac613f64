"""Where networks run, what to say of it, and what fits when its memory does not suffice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from hpcl.core import freed_memory

freed_memory.keep()

DRIVERS = (Path("/proc/driver/nvidia/gpus"), Path("/dev/kfd"))
"""What Linux shows where there is a GPU of NVIDIA or of AMD, whether torch can use it or not."""


def device() -> torch.device:
    """The GPU if torch can use one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def described() -> str:
    """The device in words: ``NVIDIA H200, 139.8 GiB``, or ``CPU, 2 threads``."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB"
    return f"CPU, {torch.get_num_threads()} threads"


def unused_gpu() -> str:
    """What to say where there is a GPU that torch cannot use; nothing where it can, or where somebody hid it on purpose."""
    hidden = any(os.environ.get(name) in ("", "-1") for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"))
    if hidden or torch.cuda.is_available() or not any(path.exists() for path in DRIVERS):
        return ""
    built = torch.version.cuda or torch.version.hip
    reason = f"its driver does not suit torch's CUDA or ROCm {built}; bring it up to date" if built else (
        "this torch is built for CPUs alone; install the one for your GPU"
    )  # fmt: skip
    return f"There is a GPU, but torch {torch.__version__} cannot use it: {reason}. Until then the CPU does the work, far slower."


def largest_that_fits(windows: int, attempt: Callable[[int], object], least: int = 1) -> int:
    """The largest of half of the windows, a quarter and so on, down to ``least``, that can be attempted within the memory; 0
    if none can.

    For a sentence only: nobody trains or maps with another number than was asked for.
    """
    while (windows := windows // 2) >= least:
        try:
            attempt(windows)
        except torch.OutOfMemoryError:
            continue
        return windows
    return 0
