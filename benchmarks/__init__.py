"""Measurements. Each prints a table and writes its figures into benchmarks/results/."""
