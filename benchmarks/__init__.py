"""Benchmarks: what a call costs, measured."""
