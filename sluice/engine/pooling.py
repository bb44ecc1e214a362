"""Pooling: from one vector per token to one vector per text.

The modes, their names and the order in which several are concatenated are those of sentence-transformers' Pooling
module; `weightedmean` and `lasttoken` come from SGPT (Muennighoff, arXiv 2202.08904).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001 - all modes are called alike
    return hidden[:, 0]


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / mask.sum(1, keepdim=True)


def _mean_sqrt_len(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / mask.sum(1, keepdim=True).sqrt()


def _weightedmean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _sum(hidden, weights) / weights.sum(1, keepdim=True)


def _lasttoken(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1).long() - 1]


def _sum(hidden: Tensor, weights: Tensor) -> Tensor:
    # Padding is left out rather than multiplied by nought: what a model computes there need not be finite.
    kept = hidden.masked_fill(weights.unsqueeze(-1) == 0, 0.0)
    return torch.einsum("btw,bt->bw", kept, weights)


MODES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weightedmean,
    "lasttoken": _lasttoken,
}
"""The modes by name, in the order in which sentence-transformers concatenates them."""


def pool(hidden: Tensor, mask: Tensor, modes: Sequence[str]) -> Tensor:
    """One fp32 vector per text, (texts, width x modes), of `hidden`, (texts, tokens, width).

    `mask`, (texts, tokens), is 1 at attended tokens and 0 at the padding, which stands on the right. A text has at
    least one attended token.
    """
    values, attended = hidden.float(), mask.float()
    return torch.cat([MODES[mode](values, attended) for mode in modes], dim=1)
