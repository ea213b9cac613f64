"""Training: data, pairs, contrast, losses, the loop and its calibration. No GDAL."""
