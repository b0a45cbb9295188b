"""Whole-process benchmarks against the tools that people use today; `make bench` runs them."""
