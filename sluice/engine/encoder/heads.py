"""The head of a backend: what turns a model's numbers into the outputs of its task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sluice.domain.errors import WorkerFailed
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import NAN_LOGITS
from sluice.engine.checkpoint.sentence_transformers import SentenceModules, pool
from sluice.worker.execution.backend import Classification, Embedding, Item, Output

# From logits to labels: probabilities of the head, the best label, and the runners-up who are asked for.


class ClassificationHead:
    """Names the labels of logits, in the order of `labels`; `multi_label` ones do not exclude each other."""

    def __init__(self, labels: Sequence[str], *, multi_label: bool) -> None:
        self._labels = labels
        self._multi_label = multi_label

    def outputs(self, computed: Tensor, mask: Tensor, items: Sequence[Item]) -> list[Output]:  # noqa: ARG002 - as Head has it
        """`computed` holds logits, (texts, labels), for which the model itself has heeded the mask."""
        logits = computed.float().cpu().numpy()
        finite = np.isfinite(logits.sum(axis=1))
        probabilities = probabilities_of(logits, multi_label=self._multi_label)
        best = probabilities.argmax(axis=1).tolist()
        return [
            self._classified(row, index, item.top_k) if fine else WorkerFailed(NAN_LOGITS)
            for row, index, item, fine in zip(probabilities, best, items, finite, strict=True)
        ]

    def _classified(self, probabilities: NDArray[np.float32], best: int, top_k: int) -> Classification:
        runners: tuple[tuple[str, float], ...] = ()
        if top_k:
            order = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
            runners = tuple((self._labels[index], float(probabilities[index])) for index in order)
        return Classification(self._labels[best], float(probabilities[best]), runners)


def probabilities_of(logits: NDArray[np.float32], *, multi_label: bool) -> NDArray[np.float32]:
    """Softmax over each row, or the logistic function of each value where labels do not exclude each other."""
    with np.errstate(over="ignore", invalid="ignore"):
        if multi_label:
            shares: NDArray[np.float32] = np.reciprocal(1 + np.exp(-logits))
        else:
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares = shifted / shifted.sum(axis=1, keepdims=True)
    return shares


# From hidden states to one vector per text.


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
        return [Embedding(tuple(row)) if fine else WorkerFailed(NAN_LOGITS) for _, row, fine in rows]


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
