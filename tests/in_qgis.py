"""Run by a python that has QGIS, not by ours: opens a project without a window, answers rows as its form does, and draws it.

Usage: in_qgis.py PROJECT ANSWERS PICTURE. ANSWERS is JSON: of a layer, of a rank, the values of fields. Prints JSON about the
project as it was opened, with the rows that each rule draws afterwards.
"""

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsExpressionContextUtils,
    QgsMapLayerType,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRenderContext,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

WIDTH_PX = 1100


def told(layer):
    """What QGIS understood of a layer."""
    facts = {"valid": layer.isValid(), "crs": layer.crs().authid(), "wkt": layer.crs().toWkt()}
    facts["renderer"] = layer.renderer().type()
    if layer.type() == QgsMapLayerType.RasterLayer:
        return facts
    facts |= {"rows": layer.featureCount(), "frozen": layer.readOnly(), "labelled": layer.labelsEnabled()}
    return facts | asking(layer) if facts["renderer"] == "RuleRenderer" else facts


def asking(layer):
    """The form and the table of a layer that is answered."""
    form, names = layer.editFormConfig(), layer.fields().names()
    widgets = {name: layer.editorWidgetSetup(number) for number, name in enumerate(names)}
    return {
        "editable": [name for number, name in enumerate(names) if not form.readOnly(number)],
        "widgets": {name: widget.type() for name, widget in widgets.items()},
        "choices": [value for pair in widgets["decision"].config()["map"] for value in pair.values()],
        "multiline": widgets["note"].config()["IsMultiline"],
        "form": {tab.name(): [field.name() for field in tab.children()] for tab in form.tabs()},
        "label": layer.labeling().settings().fieldName,
        "order": layer.attributeTableConfig().sortExpression(),
        "marked": len(layer.conditionalStyles().rowStyles()),
    }


def drawn(layer):
    """Rows by the label of the rule that draws them."""
    context = QgsRenderContext()
    context.expressionContext().appendScopes(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
    context.expressionContext().setFields(layer.fields())
    found = {}
    for rule in layer.renderer().rootRule().children():
        assert not rule.filter().hasParserError(), rule.filterExpression()
        rule.filter().prepare(context.expressionContext())
        found[rule.label()] = sum(rule.isFilterOK(row, context) for row in layer.getFeatures())
    return found


def answer(layer, rows):
    assert layer.startEditing()
    for row in layer.getFeatures():
        for field, value in rows.get(str(row["rank"]), {}).items():
            assert layer.changeAttributeValue(row.id(), layer.fields().indexOf(field), value)
    assert layer.commitChanges(), layer.commitErrors()


def draw(project, picture):
    extent = project.viewSettings().fullExtent()
    settings = QgsMapSettings()
    settings.setLayers(project.layerTreeRoot().checkedLayers())
    settings.setDestinationCrs(project.crs())
    settings.setExtent(extent)
    settings.setOutputSize(QSize(WIDTH_PX, round(WIDTH_PX * extent.height() / extent.width())))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert not job.errors(), [error.message for error in job.errors()]
    assert job.renderedImage().save(picture)


def main(path, answers, picture):
    application = QgsApplication([], False)
    application.initQgis()
    project = QgsProject.instance()
    assert project.read(path), project.error()
    layers = {layer.name(): layer for layer in project.mapLayers().values()}
    root = project.layerTreeRoot()
    facts = {
        "title": project.title(),
        "crs": project.crs().authid(),
        "wkt": project.crs().toWkt(),
        "groups": {group.name(): [member.name() for member in group.findLayers()] for group in root.children()},
        "shown": [layer.name() for layer in root.checkedLayers()],
        "layers": {name: told(layer) for name, layer in layers.items()},
    }
    for name, rows in json.loads(answers).items():
        answer(layers[name], rows)
    draw(project, picture)
    asked = [name for name, layer in layers.items() if layer.renderer().type() == "RuleRenderer"]
    print(json.dumps({**facts, "drawn": {name: drawn(layers[name]) for name in asked}}))
    project.clear()
    application.exitQgis()


main(*sys.argv[1:])
