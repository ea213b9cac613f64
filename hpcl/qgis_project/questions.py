"""How the project shows the rows of a review, and how they are answered: drawn by decision, with a form for it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from hpcl import qgis
from hpcl.core.review import ALLOWED, DOUBTFUL, NEXT, OMISSIONS, OUTLINES
from hpcl.qgis_project.document import VECTOR, Layer

ASKED = {
    OMISSIONS: "Is there a landslide, which the inventory lacks? accept: yes. redraw: yes, with the outline as it is now. reject: no.",
    DOUBTFUL: "Is this landslide of the inventory none? accept: it is none. reject: it is one.",
    OUTLINES: "Is this outline better than the inventory's? accept: yes. redraw: yes, as it is now. reject: no.",
    NEXT: "Does mapping here teach most? accept: it was mapped, in the inventory. reject: not worth it.",
}
"""What the rows of a layer ask, and what an answer says."""
FORM = ("rank", "probability", "reason", "decision", "note")
"""What a mapper needs, before all other columns."""
DRAWN = "class"
"""A landslide that a mapper adds to `OMISSIONS` may have a class."""
QUIET = ("fid", "inventory_sha256", "weights_sha256")
"""Columns that only programs read, hidden in the table."""
OPEN = "coalesce(\"decision\", '') = ''"


def layer(name: str, columns: Sequence[str]) -> Layer:
    """The layer of that name in review.gpkg, which has ``columns``."""
    return Layer(name, VECTOR, f"./review.gpkg|layername={name}", _body(name, columns), about=ASKED[name], asks=True)


def _body(layer: str, columns: Sequence[str]) -> str:
    """Symbols, labels, form and table."""
    fields = [*FORM, *(name for name in ("fid", *columns) if name not in FORM)]
    editable = {"decision", "note"} | ({DRAWN} if layer == OMISSIONS else set())
    return "\n   ".join(
        (
            _renderer(layer),
            _labels(),
            _widgets(layer, fields),
            _editable(fields, editable),
            _form(fields),
            _table(fields),
            '<previewExpression>"rank" || \': \' || "reason"</previewExpression>',
            '<mapTip>&lt;b>[% "rank" %]&lt;/b> [% "reason" %]</mapTip>',
        )
    )


def _renderer(layer: str) -> str:
    """A rule for each decision: what is open is thick and edged, what is decided thin."""
    style = "dash" if layer == NEXT else "solid"
    colours = qgis.DECISIONS
    kinds = [("undecided", OPEN, [("#222222", 1.6, "solid"), (colours["open"], 1.0, style)])]
    for decision in ALLOWED[layer]:
        line = (colours["accept"], 0.7, "dot") if decision == "redraw" else (colours[decision], 0.7, style)
        kinds.append((decision, f"\"decision\" = '{decision}'", [("#ffffff", 1.0, "solid"), line]))
    rules = "".join(
        f'<rule key="{{{layer}-{label}}}" filter={quoteattr(which)} symbol="{number}" label="{label}"/>'
        for number, (label, which, _) in enumerate(kinds)
    )
    symbols = "".join(qgis.symbol(str(number), lines) for number, (_, _, lines) in enumerate(kinds))
    return (
        f'<renderer-v2 type="RuleRenderer" symbollevels="0"><rules key="{{{layer}}}">{rules}</rules>'
        f"<symbols>{symbols}</symbols></renderer-v2>"
    )


def _labels() -> str:
    return (
        '<labeling type="simple"><settings>'
        '<text-style fieldName="rank" isExpression="0" fontSize="9" fontSizeUnit="Point" fontWeight="75" textColor="34,34,34,255"'
        ' textOpacity="1"><text-buffer bufferDraw="1" bufferSize="0.8" bufferSizeUnits="MM" bufferColor="255,255,255,255"'
        ' bufferOpacity="1"/></text-style>'
        '<placement placement="1" priority="8" centroidInside="1"/><rendering drawLabels="1" obstacle="0"/>'
        "</settings></labeling>"
    )


def _widgets(layer: str, fields: Sequence[str]) -> str:
    """What a field is answered with."""
    choices: list[tuple[str, str]] = [("(undecided)", ""), *((word, word) for word in ALLOWED[layer])]
    pairs = "".join(
        f'<Option type="Map"><Option name="{said}" type="QString" value="{word}"/></Option>' for said, word in choices
    )
    kinds = {
        "decision": ("ValueMap", f'<Option type="Map"><Option name="map" type="List">{pairs}</Option></Option>'),
        "note": ("TextEdit", _multiline(True)),
        "reason": ("TextEdit", _multiline(True)),
        **dict.fromkeys(QUIET, ("Hidden", '<Option type="Map"/>')),
    }
    widgets = []
    for name in fields:
        kind, config = kinds.get(name, ("TextEdit", _multiline(False)))
        widgets.append(
            f'<field name={quoteattr(name)}><editWidget type="{kind}"><config>{config}</config></editWidget></field>'
        )
    return f"<fieldConfiguration>{''.join(widgets)}</fieldConfiguration>"


def _multiline(lines: bool) -> str:
    return f'<Option type="Map"><Option name="IsMultiline" type="bool" value="{str(lines).lower()}"/></Option>'


def _editable(fields: Sequence[str], editable: set[str]) -> str:
    marks = "".join(f'<field name={quoteattr(name)} editable="{int(name in editable)}"/>' for name in fields)
    return f"<editable>{marks}</editable>"


def _form(fields: Sequence[str]) -> str:
    """The answer and what it needs, then everything else."""
    places = {name: f'<attributeEditorField name={quoteattr(name)} index="-1" showLabel="1"/>' for name in fields}
    boxes = {
        "Answer": [places[name] for name in FORM],
        "More": [place for name, place in places.items() if name not in (*FORM, *QUIET)],
    }
    containers = "".join(
        f'<attributeEditorContainer name="{name}" showLabel="1" columnCount="1" groupBox="1">{"".join(inside)}</attributeEditorContainer>'
        for name, inside in boxes.items()
    )
    return f"<editorlayout>tablayout</editorlayout><attributeEditorForm>{containers}</attributeEditorForm>"


def _table(fields: Sequence[str]) -> str:
    """Undecided rows first, by rank, and set off by their colour."""
    shown = "".join(
        f'<column type="field" name={quoteattr(name)} hidden="{int(name in QUIET)}" width="-1"/>' for name in fields
    )
    order = quoteattr(f'if({OPEN}, 0, 1000000) + coalesce("rank", 0)')
    return (
        f'<attributetableconfig actionWidgetStyle="dropDown" sortExpression={order} sortOrder="0"><columns>{shown}</columns>'
        "</attributetableconfig>"
        f'<conditionalstyles><rowstyles><style rule={quoteattr(OPEN)} name="undecided" background_color="#fbf7c4"'
        ' background_color_alpha="255"/></rowstyles><fieldstyles/></conditionalstyles>'
    )
