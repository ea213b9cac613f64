"""``python -m stages``: which stages and commands there are."""

from __future__ import annotations

import argparse
from pathlib import Path

from stages import _help
from stages._inputs import section_of


def main() -> None:
    """List the stages in the order of dvc.yaml, then the commands that no pipeline runs."""
    there = sorted(_help.modules())
    pipeline = list(section_of(Path("dvc.yaml"), "stages") or {})
    listed = [name for name in pipeline if name in there]
    lines = ["stages, in the order in which `dvc repro` runs them:", *map(_line, listed)]
    lines += ["", "commands:", *(_line(name) for name in there if name not in listed)]
    argparse.ArgumentParser(
        prog="python -m stages",
        usage="python -m stages.<name> [--help] [arguments]",
        description=__doc__,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    ).print_help()


def _line(name: str) -> str:
    return f"  {name:16s} {_help.docstrings(name)[0].splitlines()[0]}"


if __name__ == "__main__":
    main()
