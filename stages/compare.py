"""Compare the scores of two runs on the ground that both were scored on: `python -m stages.compare A [B]`.

A and B are git revisions (a commit, a branch, HEAD~1), DVC experiments, or runs in MLflow by name or id. Without B, A is
compared with the results in this folder.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from hpcl.metrics import common
from hpcl.metrics.common import Comparison
from hpcl.settings.evaluate import EvaluateSettings
from stages._stage import ParameterError, params
from stages.tracking import earlier


def main() -> None:
    """Read the command line and both tables of blocks; print what compares."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", metavar="A", help="the run before")
    parser.add_argument("b", metavar="B", nargs="?", help="the run after; the results in this folder if it is left out")
    given = parser.parse_args()
    try:
        settings = params("evaluate", EvaluateSettings)
        root = Path.cwd()
        runs = [earlier.named(root, given.a), earlier.named(root, given.b) if given.b else earlier.here()]
        tables = [common.read(run.table, run.name) for run in runs]
        print("\n".join(_told(common.compare(tables[0], tables[1], settings), runs[0].name, runs[1].name)))
    except (ParameterError, common.CommonError, earlier.EarlierError) as error:
        sys.exit(f"compare: {error}")


def _told(found: Comparison, before: str, after: str) -> Iterator[str]:
    for name, share in ((f"A: {before}", found.before), (f"B: {after}", found.after)):
        yield f"{name}: {share.blocks} blocks, {share.px:,} labelled pixels, {share.common_frac:.1%} of them common"
    if found.is_all:
        yield f"All ground is common: the same {found.blocks} blocks with the same labels."
    elif found.blocks:
        yield f"{found.blocks} blocks are common; the others are not compared."
    else:
        yield "No ground is common, so the scores of the two do not compare."
        if not found.changed:
            yield (
                "No block even lies where one of the other run does: their areas, the extent or the pixels of their rasters, or"
                " tile.block_px differ."
            )
    if found.changed:
        yield f"Labels changed, so not compared ({len(found.changed)}, by number in B): {', '.join(found.changed)}"
    yield ""
    yield f"{'landslide IoU':16s}{'A':>7s}{'B':>7s}  {'B minus A':26s}{'all of A':>9s}{'all of B':>9s}"
    for name, change in found.maps.items():
        difference = "" if math.isnan(change.difference) else common.difference(change)
        yield (
            f"{name:16s}{_score(change.before)}{_score(change.after)}  {difference:26s}"
            f"{_score(change.all_before):>9s}{_score(change.all_after):>9s}"
        )
    if not found.is_all:
        yield "The last two columns are of different ground: their difference says nothing about the maps."


def _score(value: float) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.3f}':>7s}"


if __name__ == "__main__":
    main()
