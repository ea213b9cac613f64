"""The page itself: markup, style, scripts and data in one file, and a policy that lets it fetch nothing."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from hpcl import qgis
from hpcl.core.review import COLUMNS, LAYERS

WEB = Path(__file__).with_name("web")
SCRIPTS = (
    "vendor/leaflet.js",
    "decisions.js",
    "rasters.js",
    "layers.js",
    "ground.js",
    "panel.js",
    "alike.js",
    "main.js",
)
"""In the order in which they build on each other."""
STYLES = ("vendor/leaflet.css", "page.css")

COLOURS = {"mapped": qgis.CLASS_COLOURS[1], "inventory": qgis.INVENTORY, "alike": "#e6007e", **qgis.DECISIONS}
"""Of outlines, and of candidates by decision."""


def render(areas: Sequence[dict[str, Any]]) -> str:
    """The page for ``areas`` as `hpcl.page.area` reads them; equal for equal areas."""
    style = "\n".join(_text(name) for name in STYLES)
    scripts = [_text(name) for name in SCRIPTS]
    common = {
        "columns": list(COLUMNS),
        "layers": list(LAYERS),
        "colours": COLOURS,
        "ramps": {
            "probability": [[value, colour] for value, colour in qgis.RAMP],
            "uncertainty": [[step / (len(qgis.CIVIDIS) - 1), colour] for step, colour in enumerate(qgis.CIVIDIS)],
        },
    }
    return Template(_text("page.html")).substitute(
        policy=escape(_policy(style, scripts)),
        title=escape(", ".join(area["name"] for area in areas)),
        licence=escape(_text("vendor/LICENSE")),
        style=style,
        data=_data("common", common) + "".join(_data("area", area) for area in areas),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _text(name: str) -> str:
    """A file of the page, its lines ending as a browser counts them for its hash."""
    return (WEB / name).read_text(encoding="utf-8")


def _policy(style: str, scripts: Iterable[str]) -> str:
    """What the page may do: show pictures that it holds itself, and run these scripts, whatever its data say."""
    hashes = " ".join(f"'{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; img-src data: blob:; style-src '{_hash(style)}'; script-src {hashes};"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _data(kind: str, facts: Any) -> str:
    """Data for the scripts. Nothing in them can end the element: in JSON ``<`` only stands in texts, and may be escaped."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" data-kind="{kind}">{text}</script>\n'
