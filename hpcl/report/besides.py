"""The section of an area that `make map` mapped and params.yaml does not list: short, for nothing was scored there."""

from __future__ import annotations

from hpcl.report.areas import figure_key, map_beside_image, what_was_mapped
from hpcl.report.facts import Mapped, Report
from hpcl.report.findings import of_mapped
from hpcl.report.html import Plates, Section, callout, paragraph, table_html
from hpcl.report.use import passport_of


def besides_section(area: Mapped, report: Report) -> Section:
    """What is said of it: the map, what to expect of it, and what the stages found."""
    text = "Mapped by make map; areas in params.yaml does not list it, so nothing was trained or scored here."
    body = [
        callout("Synthetic ground.", "Figures from it prove wiring, not science.", "warn") if area.synthetic else "",
        _out_of_date(area, report),
        paragraph(f"{what_was_mapped(area)} {text}"),
        map_beside_image(area, Plates(report.figures)),
        *passport_of(area, report),
        table_html("Findings of the stages", ["stage", "finding"], [list(told) for told in of_mapped(area)], words=2),
    ]
    return Section(figure_key("area", area.name), f"Area {area.name}, mapped only", body)


def _out_of_date(area: Mapped, report: Report) -> str:
    """A warning where the map is not of these networks and thresholds."""
    old = area.predict.weights_sha256 != report.weights_sha256
    old = old or any(other.outline.thresholds.elsewhere != area.outline.thresholds.elsewhere for other in report.areas)
    if not old:
        return ""
    text = f"It was made with other networks or thresholds than those of this report; make map AREA={area.name} makes it again."
    return callout("An older map.", text, "bad")
