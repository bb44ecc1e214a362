"""Makes a small model learn from a large one, its layers or another shape, and measures how like it becomes."""

# Before transformers: it holds back what torchao says when that imports it.
import sluice.engine as _engine  # noqa: F401
