"""The head of a backend: what turns a model's numbers into the outputs of its task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.classification import ClassificationHead
from sluice.engine.embedding import EmbeddingHead
from sluice.worker.execution.backend import Item, Output


class Head(Protocol):
    """One of a kind for each task."""

    def outputs(self, computed: Tensor, mask: Tensor, items: Sequence[Item]) -> list[Output]:
        """One output per item, in order, from what the model `computed` for their texts, as OUTPUT_NAMES says.

        `mask`, (texts, tokens), is 1 at attended tokens and 0 at the padding. A text for which `computed` is not
        finite gets WorkerFailed.
        """


def head_of(checkpoint: Checkpoint) -> Head:
    """The head that the checkpoint's own files ask for."""
    if checkpoint.modules is not None:
        return EmbeddingHead(checkpoint.modules)
    return ClassificationHead(checkpoint.labels, multi_label=checkpoint.multi_label)
