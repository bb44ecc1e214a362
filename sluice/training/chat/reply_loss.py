"""What a chat model is trained to do: to write the reply that was given, or to expect what a teacher expects in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sluice.training.encoding import Batch
from sluice.training.objective import divergence


class ReplyTokens:
    """Where the replies of a batch lie; a reply goes from behind its `<|assistant|>` to its `<|end|>`."""

    def __init__(self, *, assistant_id: int, end_id: int) -> None:
        self._assistant_id = assistant_id
        self._end_id = end_id

    def following(self, ids: Tensor) -> Tensor:
        """Whether the token after each one of `ids` (texts x length) belongs to a reply; texts x (length - 1), bool."""
        opened = (ids == self._assistant_id).cumsum(1) - (ids == self._end_id).cumsum(1)
        return opened[:, :-1] > 0

    def losses(self, logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each next token in nats, nought outside of replies, and the number of tokens of replies."""
        chosen = self.following(ids)
        loss = functional.cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none")
        return loss * chosen, chosen.sum()


class NextToken:
    """The mean cross-entropy of the tokens of replies; what customers write is read and not learned by heart."""

    def __init__(self, tokens: ReplyTokens) -> None:
        self._tokens = tokens

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """As Objective has it."""
        # Padding stands behind the texts, where nothing before it looks.
        losses, count = self._tokens.losses(model(input_ids=batch.ids).logits, batch.ids)
        return losses.sum() / count


class SoftReply:
    """The divergence from the teacher's next token in replies, and by `alpha` the cross-entropy with what stands there.

    Source: G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network" (2015), token by token.
    """

    def __init__(self, tokens: ReplyTokens, *, temperature: float, alpha: float) -> None:
        self._tokens = tokens
        self._temperature = temperature
        self._alpha = alpha

    def __call__(self, said: Any, wanted: Any, batch: Batch) -> Tensor:
        """As Likeness has it."""
        chosen = self._tokens.following(batch.ids)
        losses, count = self._tokens.losses(said.logits, batch.ids)
        student, teacher = (one.logits[:, :-1].float() / self._temperature for one in (said, wanted))
        soft = divergence(teacher, student) * chosen
        mixed = (1 - self._alpha) * self._temperature**2 * soft.sum() + self._alpha * losses.sum()
        return torch.as_tensor(mixed / count)
