"""The codes of label arrays, fold arrays, class maps and network maps, each defined here and nowhere else."""

UNKNOWN = 255
"""Label of a pixel of which nobody knows whether it is landslide: outside the labelled extent, or no image. It teaches
nothing and is not scored. 0 is background, classes count from 1."""
BACKGROUND = "background"
"""What code 0 is called among the names of classes, so that no class may be called so."""

MAX_FOLDS = 10
"""Fold codes count from 0; a fold's name is its code plus 1. A pixel's bit k of a teaching array says whether it may teach the
network of fold code k."""
TEST_AREA = 254
"""Fold code of labelled ground in a test area: it lies outside all folds and teaches no network."""
OUTSIDE = 255
"""Fold code of a block without labels, and of ground beside all blocks."""

UNMAPPED = 255
"""Class code of ground in a class map that no network saw."""

ALL_NETWORKS = 0
"""Code of ground in a network map that is the mean of all networks; k is the network of fold k, which counts from 1."""
NO_NETWORK = 255
"""Code of ground in a network map that none could map."""
