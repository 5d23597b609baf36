"""Benchmarks: each prints a table and checks results exactly. Run one with ``python -m benchmarks.NAME``."""
