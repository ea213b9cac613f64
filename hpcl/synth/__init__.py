"""Synthetic areas whose truth is known, in the layout of a user's raw data."""
