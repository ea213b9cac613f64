"""Who started this process: DVC, or the program that a person started a stage from.

`stages/__init__.py` asks before anything else is imported: torch takes seconds to load, and if DVC is killed meanwhile,
the ancestor found afterwards would be the first process of the machine, which never ends.
"""

from __future__ import annotations

import os

import psutil

SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "busybox"}


def _nearest() -> psutil.Process | None:
    """The nearest ancestor that is not the shell in between, or None if it ended while we looked.

    A process whose DVC is gone already hangs on the first process of the machine; in a container DVC may be that itself.
    """
    try:
        found = next((process for process in psutil.Process().parents() if process.name() not in SHELLS), None)
        return None if found is None or (found.pid == 1 and "dvc" not in " ".join(found.cmdline())) else found
    except psutil.Error:
        return None


CALLER = _nearest()
"""The caller as it was when this process began; None if there was none."""


def is_first() -> bool:
    """Whether this is the only process of a stage, or the first of those that torchrun started."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
