"""Scores of a landslide map on labelled ground: pixels, objects, boundaries, calibration, and how sure they are.

Everything is counted block by block while the scene passes in strips, so memory does not grow with it. Scores come from
counts **summed over all ground**, never from an average over windows. Intervals come from
resampling blocks, because the pixels of one hillside are no independent witnesses.

Four rules hold throughout: a class code >= 1 is landslide; an unknown pixel (code 255) is not scored; a pixel
without a prediction (NaN) was mapped as background with probability 0, and is counted; patches are
8-connected.
"""
