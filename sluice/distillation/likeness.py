"""Ways to be like a teacher beside its probabilities: its vectors for texts, and its hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sluice.engine.checkpoint.sentence_transformers import pool
from sluice.training.encoding import Batch

_TINY = 1e-12


class SameVectors:
    """The squared distance of the pooled vectors, as a share of the teacher's squared length; the mean over the texts.

    It is 0 only where both vectors are the same, so that what comes behind the pooling may stay as it is.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        self._modes = modes

    def __call__(self, said: Any, wanted: Any, batch: Batch) -> Tensor:
        """As Likeness has it."""
        vectors, targets = (pool(one.last_hidden_state, batch.mask, self._modes) for one in (said, wanted))
        return relative_distance(vectors, targets).mean()


class SameHiddenStates:
    """`weight` times the squared distance of hidden states, as a share of the teacher's; the mean over the tokens.

    `kept` are the places, of `of`, that the student's layers had in the teacher. Each is to give what the teacher has
    at that place, and the last one what the teacher's last layer gives. Source: X. Jiao et al., "TinyBERT" (2020).
    """

    def __init__(self, kept: Sequence[int], *, of: int, weight: float) -> None:
        # The states of a layer stand behind those of the embeddings, which come first.
        self._places = (0, *(place + 1 for place in kept[:-1]), of)
        self._weight = weight

    def __call__(self, said: Any, wanted: Any, batch: Batch) -> Tensor:
        """As Likeness has it."""
        padding = batch.mask.unsqueeze(-1) == 0
        distances = []
        for mine, place in zip(said.hidden_states, self._places, strict=True):
            # What is computed at the padding need not be finite, and is nobody's business.
            states = (one.float().masked_fill(padding, 0.0) for one in (mine, wanted.hidden_states[place]))
            distances.append(relative_distance(*states).sum() / batch.mask.sum())
        return self._weight * torch.stack(distances).mean()


def relative_distance(vectors: Tensor, targets: Tensor) -> Tensor:
    """The squared distance of two vectors, in the last dimension, as a share of the squared length of `targets`."""
    return (vectors - targets).square().sum(-1) / targets.square().sum(-1).clamp(min=_TINY)
