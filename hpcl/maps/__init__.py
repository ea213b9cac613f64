"""Maps: the one place where rasters and networks meet, and what becomes of their probabilities."""
