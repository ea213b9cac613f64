"""The codes of label arrays, split arrays and class maps, each defined here and nowhere else."""

UNKNOWN = 255
"""Label of a pixel of which nobody knows whether it is landslide: outside the labelled extent, or no image. It teaches
nothing and is not scored. 0 is background, classes count from 1."""

SPLITS = ("train", "val", "test")
"""Names of the splits; the place of each is its code in a split array."""
TRAIN, VALIDATION, TEST = range(3)
GAP = 3
"""Split code of ground between two splits."""
OUTSIDE = 255
"""Split code of ground without a usable label."""

UNMAPPED = 255
"""Class code of ground in a class map that no network saw."""
