"""The full tier on an accelerator against its targets: `python -m benchmarks.gpu`."""
