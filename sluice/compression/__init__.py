"""Makes models smaller: quantization to 8 or 4 bits, pruning, and what that costs in accuracy."""
