"""Complete this pipeline state's run in MLflow, and drop the checkpoints of finished trainings.

The stage declares no outs, so DVC never serves it from its run cache: it runs whenever a result is new.
"""

import os
import shutil
from pathlib import Path

from stages._stage import run
from stages.tracking import commands


def main() -> None:
    """Track, then remove each ``$DVC_ROOT/.ckpt/<train_key>/`` in which training has left a file ``finished``.

    Not earlier: a training whose process dies before DVC has recorded the model would otherwise begin again.
    """
    commands.complete()
    for mark in (Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt").glob("*/finished"):
        shutil.rmtree(mark.parent)


if __name__ == "__main__":
    run(main)
