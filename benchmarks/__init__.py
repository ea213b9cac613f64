"""Measurements, not tests: run by hand or by `make bench`; docs/benchmarks.md explains each."""
