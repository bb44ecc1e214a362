"""A ResNet-152 that learns, in fp32 and mixed: `python -m benchmarks.mixed_precision`."""
