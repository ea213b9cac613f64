"""Training: data, pairs, contrast, segmentation loss, the loop and its watch on held-out ground. No GDAL."""
