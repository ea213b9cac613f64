"""Ingest: any area's raw files, checked and brought onto one metric grid; its inventory repaired and rasterised.

`headers.read` looks at what files say of themselves; `plan.examine` reads every file once, refuses what is wrong in one
sentence and writes nothing; `output.write` then writes what was found good. Raw files mark nodata, units and axes in every
way there is, so they are opened with `Raw` and not with `hpcl.geo.raster.Source`, which knows only the convention of this
project. Everything goes window by window.
"""

from hpcl.ingest.settings import IngestError, IngestSettings

__all__ = ["IngestError", "IngestSettings"]
