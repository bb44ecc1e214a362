"""The CPU tiers against their targets: `python -m benchmarks.cpu`."""
