"""The pipeline from raw files to scores in the process of the tests, because starting one for each stage takes most of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages import (
    _stage,
    baselines,
    calibrate,
    coregister,
    evaluate,
    ingest,
    outline,
    predict,
    terrain,
    tile,
    train,
)


@contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """The folder as that of this process, in which no stage ran yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DVC_ROOT", raising=False)
        patch.setattr(_stage, "_inputs", [])  # of a stage that an earlier test was
        yield folder


def scored(area: str) -> None:
    """Run all stages from the raw files of a single area to the scores of its map."""
    for stage in (ingest, coregister, terrain):
        stage.main(area)
    for step in (tile, train, baselines):
        step.main()
    predict.main(area)
    calibrate.main()
    outline.main(area)
    evaluate.main()
