"""Ingest: any area's raw files, checked and brought onto one metric grid; its inventory repaired and rasterised.

`survey` (plan.py) reads every file once, refuses what is wrong in one sentence and writes nothing; `write` (output.py)
then writes what was found good. Raw files mark nodata, units and axes in every way there is, so they are opened with `Raw`
and not with `hpcl.raster.Source`, which knows only the convention of this project. Everything goes window by window.
"""

from hpcl.ingest.inventory import Inventory
from hpcl.ingest.output import write
from hpcl.ingest.plan import Plan, survey
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import UNKNOWN, IngestError, IngestSettings

__all__ = ["UNKNOWN", "IngestError", "IngestSettings", "Inventory", "Plan", "Raw", "survey", "write"]
