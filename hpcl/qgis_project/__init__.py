"""An area as a project for QGIS, in which a mapper decides on the rows of a review.

It is written as the XML of QGIS 3.22, which later versions read, so that QGIS need not be installed where the pipeline runs.
"""
