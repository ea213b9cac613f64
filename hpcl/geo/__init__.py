"""Rasters and vectors on disk and on the ground: the packages of raw data stand on it. No torch."""
