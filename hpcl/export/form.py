"""The form of the exported graph: what its input and outputs are called, and what stands where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

INPUT, LANDSLIDE, CLASSES = "bands", "landslide", "classes"
NODATA = -1.0
"""Stands in place of a probability where a branch has no band with data. It is below every threshold: a program that compares
with one draws no landslide there, as it would for NaN, which is not equal to 0."""
WEIGHTS = "hpcl_weights_sha256"
"""The key of the graph's metadata that names its weights."""


class ExportError(ValueError):
    """What would be exported is not what the project has, or what was exported is not there."""


def outputs(classes: Sequence[str]) -> list[str]:
    """The names of what the graph gives, in order."""
    return [LANDSLIDE, CLASSES] if len(classes) > 1 else [LANDSLIDE]
