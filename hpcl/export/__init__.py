"""What leaves the project: the model as one file for other programs, its card, stacks of bands, and a manifest of hashes."""
