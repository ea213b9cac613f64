"""Training: data, pairs, contrast, segmentation loss, the loop and its calibration. No GDAL."""
