"""A trained network over a whole scene, in memory that does not grow with it. No GDAL, no training."""
