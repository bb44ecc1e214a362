"""From hidden states to one vector per text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sluice.domain.errors import WorkerFailed
from sluice.engine.checkpoint.errors import NO_NUMBER
from sluice.engine.checkpoint.sentence_transformers import SentenceModules
from sluice.engine.pooling import pool
from sluice.worker.execution.backend import Embedded, Item, Output


class EmbeddingHead:
    """Pools hidden states and takes the vectors through what sentence-transformers calls the modules behind."""

    def __init__(self, modules: SentenceModules) -> None:
        self._modules = modules

    @torch.inference_mode()
    def outputs(self, computed: Tensor, mask: Tensor, items: Sequence[Item]) -> list[Output]:
        """`computed` holds hidden states, (texts, tokens, width); what comes of them is fp32 whatever they are."""
        vectors = pool(computed, mask.to(computed.device), self._modules.modes).cpu()
        for step in self._modules.steps:
            vectors = step(vectors)
        finite = vectors.isfinite().all(1).tolist()
        rows = zip(items, vectors.tolist(), finite, strict=True)
        return [Embedded(tuple(row)) if fine else WorkerFailed(NO_NUMBER) for _, row, fine in rows]
