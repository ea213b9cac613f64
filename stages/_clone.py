"""Whether this folder can be worked in: asked by `make setup` before it installs 7 GB.

A script for any Python 3 without packages: ``python stages/_clone.py``, in the root of the project.
"""

import subprocess
import sys
from pathlib import Path

SEPARATORS = {":": "the end of a folder", "\n": "the end of a line"}
"""What no tool can quote in the path of the clone, and what they take it for."""


def finding(root: Path) -> str:
    """One sentence about what stands in the way of a project in ``root``; empty if nothing does."""
    if sys.version_info < (3, 11):  # noqa: UP036  # this script is what says so
        return f"this is Python {sys.version.split()[0]}, and 3.11 or later is needed; say which with 'make PYTHON=python3.11'."
    for character, why in SEPARATORS.items():
        if character in str(root):
            return f"the path of this folder, {str(root)!r}, holds {character!r}, which tools take for {why}; move the clone."
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--show-prefix"], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError:
        return "there is no git here, which DVC needs; install git, then clone the project with it."
    said = " ".join(done.stderr.split())
    if done.returncode or done.stdout.strip():
        where = (
            f"git says: {said}"
            if said
            else f"it lies in the git repository of another folder, at {done.stdout.strip()}"
        )
        return (
            f"this folder is no clone of its own ({where}), and DVC needs one; use 'git clone' instead of a ZIP download, or"
            " run 'git init && git add -A && git commit -m start' here."
        )
    return ""


if __name__ == "__main__":
    if found := finding(Path.cwd()):
        sys.exit(f"setup: {found}")
