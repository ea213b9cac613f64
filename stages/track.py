"""Complete this pipeline state's run in MLflow, and drop the checkpoints of finished trainings.

The stage declares no outs, so DVC never serves it from its run cache: it runs whenever a result is new.
"""

import math
import os
import shutil
from pathlib import Path

from hpcl.metrics import common
from hpcl.settings.evaluate import EvaluateSettings
from stages._stage import params, run
from stages.tracking import commands, earlier


def main() -> None:
    """Track, and say how the scores compare if the run that this one follows was scored on other ground.

    Then remove each ``$DVC_ROOT/.ckpt/<train_key>/`` in which training has left a file ``finished``, and not earlier: a
    training whose process dies before DVC has recorded the model would otherwise begin again.
    """
    commands.complete(_compared)
    for mark in (Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt").glob("*/finished"):
        shutil.rmtree(mark.parent)


def _compared(before: earlier.Earlier) -> earlier.Told | None:
    """The results here beside those of another run; None where both stand on the same ground, or nothing can be said."""
    if not earlier.TABLE.exists():
        return None
    try:
        tables = [common.read(one.table, one.name) for one in (before, earlier.here())]
    except common.CommonError as error:
        print(f"not compared: {error}")
        return None
    found = common.compare(tables[0], tables[1], params("evaluate", EvaluateSettings))
    if found.is_all:
        return None
    words = common.sentence(found, before.name)
    print(words)
    ours = found.maps["hpcl_net"]
    metrics = {
        "common/landslide_iou": ours.after,
        "common/landslide_iou_before": ours.before,
        "common/landslide_iou_difference": ours.difference,
    }
    return earlier.Told(words, {name: value for name, value in metrics.items() if math.isfinite(value)})


if __name__ == "__main__":
    run(main)
