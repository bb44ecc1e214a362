"""Triton kernels for what torch has no fast operator for. Each module can be imported where Triton is not installed."""
