"""Commands around the runs in MLflow: ``python -m stages.tracking init|sync|ui``.

``init`` once per clone: a private site cache for DVC, the MLflow store, the committed results in it.
``sync`` after experiments and commits: ties them to their runs, and delivers what did not get through.
``ui`` syncs, then starts the MLflow UI for this machine alone (port 5000, or ``PORT``).
"""

import sys
from pathlib import Path

from stages.tracking import commands
from stages.tracking.errors import sentence


def main(arguments: list[str]) -> None:
    """Run one command in the root of the project; an error is one sentence."""
    known = {"init": commands.init, "sync": commands.sync, "ui": commands.ui}
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    if len(arguments) != 1 or arguments[0] not in known:
        sys.exit(f"usage: python -m stages.tracking {'|'.join(known)}")
    if not Path(".dvc").is_dir():
        sys.exit("tracking: run this from the root of the project; there is no .dvc here.")
    try:
        known[arguments[0]](Path.cwd())
    except Exception as error:
        sys.exit(f"tracking: {sentence(error)}")


if __name__ == "__main__":
    main(sys.argv[1:])
