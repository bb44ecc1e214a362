"""What a model is trained to do: to say the right label, or to be like a teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from sluice.training.encoding import UNLABELLED, Batch

Disturb = Callable[[Batch], Batch]
"""Gives a batch with other ids."""


class Objective(Protocol):
    """A loss to bring down."""

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """The mean loss of `model` on a batch, in fp32; called in the context that the model computes in."""


class Likeness(Protocol):
    """One way to compare what a student said with what its teacher said."""

    def __call__(self, said: Any, wanted: Any, batch: Batch) -> Tensor:
        """A loss of two outputs of transformers models for the same batch, in fp32: 0 where they are alike."""


def _as_it_is(batch: Batch) -> Batch:
    return batch


class HardLabels:
    """Cross-entropy with the right labels; every text must have one."""

    def __init__(self, disturb: Disturb = _as_it_is) -> None:
        self._disturb = disturb

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """As Objective has it."""
        seen = self._disturb(batch)
        logits = model(input_ids=seen.ids, attention_mask=seen.mask).logits.float()
        return functional.cross_entropy(logits, seen.labels)


class Imitation:
    """The sum of all `likenesses` of student and `teacher`, which is not changed; it computes on the batch's device.

    Both are shown the same disturbed text, as in L. Beyer et al., "Knowledge Distillation: A Good Teacher Is Patient
    and Consistent" (CVPR 2022). `hidden_states` asks both for theirs, for a likeness that compares them.
    """

    def __init__(
        self,
        teacher: Any,
        likenesses: Sequence[Likeness],
        *,
        hidden_states: bool = False,
        disturb: Disturb = _as_it_is,
    ) -> None:
        self._teacher = teacher.eval()
        self._likenesses = likenesses
        self._options = {"output_hidden_states": True} if hidden_states else {}
        self._disturb = disturb

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """As Objective has it."""
        seen = self._disturb(batch)
        with torch.no_grad():
            wanted = self._teacher(input_ids=seen.ids, attention_mask=seen.mask, **self._options)
        said = model(input_ids=seen.ids, attention_mask=seen.mask, **self._options)
        return torch.stack([likeness(said, wanted, seen) for likeness in self._likenesses]).sum()


class SoftTargets:
    """The divergence from the teacher's probabilities, and beside it the cross-entropy with labels where there are any.

    Source: G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network" (2015): logits of both are
    divided by `temperature`, and the divergence is multiplied by its square so that it weighs the same at any. `alpha`,
    from 0 to 1, is what the right label weighs in the loss of a text that has one. With `multi_label` each label is a
    question of its own, divergences are summed over the labels, and `alpha` must be 0.
    """

    def __init__(self, *, temperature: float, alpha: float, multi_label: bool = False) -> None:
        self._temperature = temperature
        self._alpha = alpha
        self._divergence = binary_divergence if multi_label else divergence

    def __call__(self, said: Any, wanted: Any, batch: Batch) -> Tensor:
        """As Likeness has it."""
        logits, targets = said.logits.float(), wanted.logits.float()
        soft = self._divergence(targets / self._temperature, logits / self._temperature) * self._temperature**2
        if self._alpha == 0:
            return soft.mean()
        weight = self._alpha * (batch.labels != UNLABELLED)
        hard = functional.cross_entropy(logits, batch.labels, reduction="none", ignore_index=UNLABELLED)
        return ((1 - weight) * soft + weight * hard).mean()


def divergence(wanted: Tensor, said: Tensor) -> Tensor:
    """The Kullback-Leibler divergence, in nats, of each row of logits `said` from that of `wanted`."""
    said, wanted = said.log_softmax(-1), wanted.log_softmax(-1)
    return functional.kl_div(said, wanted, log_target=True, reduction="none").sum(-1)


def binary_divergence(wanted: Tensor, said: Tensor) -> Tensor:
    """The same where each logit is one of yes against no, summed over a row."""
    # As rows of two logits, of which the second is nought: the softmax of those is the logistic function.
    pairs = (torch.stack((logits, torch.zeros_like(logits)), dim=-1) for logits in (wanted, said))
    return divergence(*pairs).sum(-1)
