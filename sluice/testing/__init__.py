"""Backends that compute nothing, for tests and benchmarks."""
