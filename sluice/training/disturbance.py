"""Noise on a batch's words, so that a model learns to use all of them."""

from __future__ import annotations

import torch

from sluice.training.encoding import Batch

_MAX_SHARE = 0.15
_FIRST_WORD = 5
"""The demo's tokenizer has its special tokens before this one."""


class Disturbance:
    """Replaces some tokens of half of the texts by a mask or by any other token; the first and the last one stay.

    A model that must do without some words learns to use all of them, which is what carries over to phrasings that
    it never saw.
    """

    def __init__(self, *, vocabulary: int, mask_id: int) -> None:
        self._vocabulary = vocabulary
        self._mask_id = mask_id

    def __call__(self, batch: Batch) -> Batch:
        """The batch with other ids."""
        ids = batch.ids
        rate = (torch.rand(ids.shape[0], 1, device=ids.device) - 0.5).clamp(min=0) * 2 * _MAX_SHARE
        inner = batch.mask.bool() & torch.roll(batch.mask, -1, dims=1).bool()
        inner[:, 0] = inner[:, -1] = False
        hit = (torch.rand(ids.shape, device=ids.device) < rate) & inner
        noise = torch.randint(_FIRST_WORD, self._vocabulary, ids.shape, device=ids.device)
        noise = noise.masked_fill(torch.rand(ids.shape, device=ids.device) < 0.5, self._mask_id)
        return Batch(torch.where(hit, noise, ids), batch.mask, batch.labels)
