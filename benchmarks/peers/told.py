"""What a piece of work cost, told by the process that did it. Imports nothing, because other libraries' processes use it too."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path


def tell(warm_up: Callable[[], object], work: Callable[[], object]) -> None:
    """Do the work after a warm-up that does not count, and print its seconds, its seconds of CPU and the peak of memory in MiB."""
    warm_up()
    before, began = os.times(), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - began, os.times()
    cpu_s = sum(after[:4]) - sum(before[:4])  # with the processes that it started
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_mib = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_mib": peak_mib}))
