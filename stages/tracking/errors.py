"""Errors of the tracking itself: each is said in one sentence and the work goes on, unless HPCL_TRACK=strict.

``HPCL_TRACK=off`` switches tracking off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stages.tracking.addresses import public

LATER = "the work goes on; `python -m stages.tracking sync` delivers it later"


class TrackingError(RuntimeError):
    """Tracking failed, and HPCL_TRACK=strict asks to stop then."""


def mode() -> str:
    """What HPCL_TRACK asks for: on, off or strict."""
    given = os.environ.get("HPCL_TRACK", "") or "on"
    if given not in ("on", "off", "strict"):
        raise TrackingError(f"HPCL_TRACK is '{given}'; it may be on, off or strict.")
    return given


@contextmanager
def reported(outcome: str = LATER) -> Iterator[None]:
    """Tracking must not kill a night of training: say what failed and go on, unless HPCL_TRACK=strict."""
    try:
        yield
    except Exception as error:
        what = sentence(error)
        if mode() == "strict":
            raise TrackingError(f"tracking failed and HPCL_TRACK is strict: {what}") from error
        print(f"tracking: {what}: {outcome}", file=sys.stderr, flush=True)


def sentence(error: Exception) -> str:
    """An error in one line, whole: what to do often stands at its end."""
    return public(" ".join(f"{type(error).__name__}: {error}".split()))
