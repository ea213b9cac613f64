"""Operating points: thresholds that are chosen on the maps' own ground, and never on that of the fold that they serve.

The network of a fold never saw it, so its map of that fold is out-of-fold: counted against the labels, it says what a
threshold gives. No GDAL, no torch.
"""
