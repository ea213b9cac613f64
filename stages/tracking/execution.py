"""One execution of a stage: recorded from beginning to end, and ended when the DVC that started it is gone.

Outside DVC (no ``DVC_ROOT``) nothing is recorded. Here it is also decided when journals are worth a delivery: after each
epoch of the training, and when a stage fails.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import Timeout

from stages._caller import CALLER, is_first
from stages.tracking import delivery, state
from stages.tracking.errors import mode, reported
from stages.tracking.journal import Journal
from stages.tracking.processes import fingerprint, is_gone, watch

LIVE = ("train",)  # stages whose curves are worth the import of MLflow while they run
PATIENCE_S = 60.0  # after a failed delivery, training does not try again for so long


class OrphanError(RuntimeError):
    """DVC, which started this stage, is gone."""


class _Execution:
    """The execution that this process is, and from when on a delivery is worth trying."""

    def __init__(self, root: Path, stage: str, arguments: tuple[str, ...], caller: psutil.Process) -> None:
        """Begin the journal with who runs what, in which pipeline state."""
        self.root, self.stage, self.journal = root, stage, Journal(root)
        self.retry_at_s = 0.0
        self.journal.append(
            stage="@".join((stage, *arguments)),
            process=fingerprint(psutil.Process()),
            caller=fingerprint(caller),
            state=state.here(root),
        )

    def deliver(self) -> None:
        """Carry this and all other journals to MLflow now, unless that failed a moment ago."""
        if time.monotonic() >= self.retry_at_s:
            try:
                delivery.deliver(self.root, wait_s=1.0)
            except Timeout:
                pass  # another process is delivering; this journal comes with the next delivery
            except Exception:
                self.retry_at_s = time.monotonic() + PATIENCE_S
                raise

    def close(self, status: str, note: str, monitor: Any) -> None:
        """End the journal; deliver at once where that is worth it: after a failure, or when MLflow is loaded anyway."""
        if monitor is not None:
            monitor.finish()
        self.journal.end(status, note)
        if status != "FINISHED" or "mlflow" in sys.modules or mode() == "strict":
            self.deliver()


_open: list[_Execution] = []  # the execution that this process is, if it is tracked


@contextmanager
def recorded(stage: str, *arguments: str) -> Iterator[None]:
    """Record what happens inside as one execution of ``stage``: time, status, traceback, resources."""
    switch, root = mode(), os.environ.get("DVC_ROOT")
    if root is None or not is_first():
        yield
        return
    caller = CALLER
    if caller is None or is_gone(fingerprint(caller)):
        raise OrphanError("DVC ended before this stage began, so nothing was done; run `dvc repro` again.")
    if switch != "off":
        with reported("the work goes on, but nothing of this execution will be in MLflow"):
            _open.append(_Execution(Path(root), stage, arguments, caller))
    over = watch(caller, _last_words)
    monitor, status, note = None, "FINISHED", ""
    try:
        if _open and (stage in LIVE or switch == "strict"):
            with reported():
                _open[-1].deliver()
                monitor = delivery.monitor(Path(root), _open[-1].journal.path) if stage in LIVE else None
        yield
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            note = traceback.format_exc()
        raise
    finally:
        over.set()
        if _open:
            with reported():
                _open.pop().close(status, note, monitor)


def _last_words() -> None:
    for execution in _open:
        execution.journal.end("KILLED", "DVC's process ended before this stage did.")


def live(metrics: Mapping[str, float], step: int, part: str | None = None) -> None:
    """Note numbers of a stage that is still running, such as one epoch's, under their names in curves.csv; training
    shows them at once, others at the next delivery. A ``part`` of the stage, such as one fold's training, has a run of its
    own, so that MLflow lays the curves of all parts over each other. Parts come one after the other."""
    if _open:
        with reported(f"the work goes on, but the numbers of step {step} will not be in MLflow"):
            curves = {f"curves/{name}": float(value) for name, value in metrics.items()}
            _open[-1].journal.append(metrics=curves, step=step, part=part)
        if _open[-1].stage in LIVE:
            with reported():
                _open[-1].deliver()
