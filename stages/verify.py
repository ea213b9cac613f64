"""Follow each file and polygon of an export to weights, inputs, commit and run, by hashes: `python -m stages.verify data/export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from hpcl.core.artifacts import ArtifactError
from hpcl.export import crate, manifest
from hpcl.export.form import ExportError
from hpcl.export.manifest import Manifest
from hpcl.export.stac import links as catalogue
from hpcl.geo.vector import VectorError
from stages.tracking import state


def main() -> None:
    """Say which links are broken, one sentence each, and end with 1 if any is."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("data/export"), help="data/export if it is left out"
    )
    folder: Path = parser.parse_args().folder
    try:
        links = manifest.read(folder)
        found = [
            *manifest.broken(folder, links),
            *catalogue.broken(folder),
            *crate.broken(folder, links.files),
            *manifest.not_here(links, Path()),
            *_of_run(links),
        ]
    except (ExportError, ArtifactError, VectorError) as error:
        sys.exit(f"verify: {error}")
    for sentence in found:
        print(f"verify: {sentence}")
    if found:
        sys.exit(1)
    print(
        f"verify: all links of {folder} hold: {len(links.files)} files and the polygons of {len(links.areas)} areas to weights"
        f" {links.weights_sha256[:12]}, their inputs, commit {links.commit[:12]} and run {links.run}."
    )


def _of_run(links: Manifest) -> Iterator[str]:
    """What does not hold of commit and run."""
    commit = links.commit.removesuffix("+")
    if not commit:
        yield "The export names no commit, for it was made outside of git."
    elif not state.git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").strip():
        yield f"Commit {commit[:12]}, which the export was made at, is not in this repository."
    if links.commit.endswith("+"):
        yield f"Code was edited after commit {commit[:12]} when the export was made, so the commit does not say how."
    if state.here(Path.cwd())["key"] != links.run_key:
        yield f"Parameters, code or raw data are not those of run {links.run}, which the export was made from."


if __name__ == "__main__":
    main()
