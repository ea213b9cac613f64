"""Run by a python that has QGIS, not by ours: opens the files of an area of an export without a window. Prints JSON.

Usage: export_in_qgis.py FOLDER_OF_AREA ROW COLUMN; values are those of the pixel there.
"""

import json
import sys

from qgis.core import QgsApplication, QgsPointXY, QgsRasterLayer, QgsVectorLayer


def pixel(layer, row, column):
    """The values of all bands at the middle of a pixel."""
    extent, wide, high = layer.extent(), layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()
    point = QgsPointXY(extent.xMinimum() + (column + 0.5) * wide, extent.yMaximum() - (row + 0.5) * high)
    return [layer.dataProvider().sample(point, band + 1)[0] for band in range(layer.bandCount())]


def main(folder, row, column):
    application = QgsApplication([], False)
    application.initQgis()
    found = {}
    for name in ("probability.tif", "bands.vrt"):
        layer = QgsRasterLayer(f"{folder}/{name}", name)
        assert layer.isValid(), name
        found[name] = {
            "size": [layer.height(), layer.width()],
            "crs": layer.crs().toWkt(),
            "pixel": pixel(layer, row, column),
        }
    layer = QgsVectorLayer(f"{folder}/landslides.gpkg", "landslides")
    assert layer.isValid()
    rows = list(layer.getFeatures())
    found["landslides.gpkg"] = {
        "polygons": len(rows),
        "area_m2": sum(row.geometry().area() for row in rows),
        "weights": sorted({row["weights_sha256"] for row in rows}),
    }
    print(json.dumps(found))
    del layer, rows  # QGIS must not end before what it holds
    application.exitQgis()


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
