"""Makes models smaller: quantization to 8 or 4 bits, pruning, and what that costs in accuracy."""

# Before transformers: it holds back what torchao says when that imports it.
import sluice.engine as _engine  # noqa: F401
