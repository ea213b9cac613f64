"""Processes and their ends: who called a stage, whether a process is still there, what it took."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil


def fingerprint(process: psutil.Process) -> list[Any]:
    """Host, id and birth of a process: ids alone are used again."""
    return [socket.gethostname(), process.pid, process.create_time()]


def is_gone(born: list[Any]) -> bool:
    """Whether the process of this fingerprint has ended; of one on another machine we cannot know."""
    host, pid, created_s = born
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - created_s) > 1.0 or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def watch(caller: psutil.Process, last_words: Callable[[], None]) -> threading.Event:
    """Until the event is set, end this process when DVC is gone: killing DVC would leave us training unseen."""
    born, over = fingerprint(caller), threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            if is_gone(born):
                last_words()
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=look, name="watch-dvc", daemon=True).start()
    return over


def resources() -> dict[str, float]:
    """Peak memory and processor time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    per_gib = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, KiB elsewhere
    return {
        "system/peak_memory_gib": round(usage.ru_maxrss / per_gib, 4),
        "system/processor_s": round(usage.ru_utime + usage.ru_stime, 2),
    }
