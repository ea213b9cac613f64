"""Outlines: a map of probabilities becomes classes and polygons; the network is not asked. No torch."""
