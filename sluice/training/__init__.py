"""Making the demo models: the task's texts, the three small architectures, the training loop and the cards."""

# Before transformers: it holds back what torchao says when that imports it.
import sluice.engine as _engine  # noqa: F401
