"""Tiles: ground split by place, windows laid on it, and the arrays that training reads."""
