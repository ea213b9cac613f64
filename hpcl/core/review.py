"""What a mapper is asked after a map, and what the answers may be: layers, columns and decisions of a review file.

`audit` asks in data/audit/<area>/review.gpkg, the command `review` gathers the answers in data/raw/<area>/review.gpkg (or
review.geojson, which carries the same), and `ingest` heeds them.
"""

from __future__ import annotations

from typing import Literal

OMISSIONS, DOUBTFUL, OUTLINES, NEXT = "omissions", "doubtful", "outlines", "next"
LAYERS = (OMISSIONS, DOUBTFUL, OUTLINES, NEXT)
"""Mapped and not in the inventory; in the inventory and not supported by the map; in both, and drawn differently; ground without
labels where mapping teaches most. The geometry is what the row proposes: of `OUTLINES` the outline as mapped, of `DOUBTFUL` that of
the inventory."""

Decision = Literal["", "accept", "reject", "unsure", "redraw"]
"""Empty until decided. A row is accepted if what it says is right: there is a landslide, this is none, this outline is better.
Redrawn: there is one, with the outline that the row has now."""

ALLOWED: dict[str, tuple[Decision, ...]] = {
    OMISSIONS: ("accept", "reject", "unsure", "redraw"),
    DOUBTFUL: ("accept", "reject", "unsure"),
    OUTLINES: ("accept", "reject", "unsure", "redraw"),
    NEXT: ("accept", "reject", "unsure"),
}

COLUMNS = {
    "id": str,  # the layer and a digest of the geometry as asked: equal question, equal id
    "rank": int,  # from 1
    "probability": float,  # of the row being right; NaN in `NEXT`
    "reason": str,
    "decision": str,
    "note": str,
    "area_m2": float,
    "inventory_id": int,  # of the landslide in data/ingest/<area>/landslides.gpkg that it speaks of; 0: of none
    "inventory_sha256": str,  # digest of that landslide's outline, by which it is known again; empty: of none
    "weights_sha256": str,  # of the networks that made the map
}
"""What every layer has; a layer may have more behind them."""
