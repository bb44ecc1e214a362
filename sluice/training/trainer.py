"""The training loop: AdamW, warm-up then cosine decay, bf16 autocast where the device is a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sluice.training.encoding import Encoded, shuffled_rows
from sluice.training.expert_balance import ExpertBalance
from sluice.training.recipe import Recipe

_WARMUP_SHARE = 0.05
_FINAL_SHARE = 0.02
_MAX_GRADIENT_NORM = 1.0
_MAX_DISTURBED = 0.15

Progress = Callable[[int, float], None]
"""Called after each step with the step's number and its loss, which is NaN between two readings of the device."""


def train(
    model: Any,
    recipe: Recipe,
    data: Encoded,
    *,
    device: torch.device,
    seed: int,
    mask_id: int,
    progress: Progress,
) -> None:
    """Trains `model` in place for the recipe's steps; leaves it on `device` in evaluation mode."""
    steps = recipe.steps
    torch.manual_seed(seed)
    model.to(device).train()
    optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    balance = ExpertBalance(model)
    batches = shuffled_rows(data, recipe.batch_size, Random(seed))  # noqa: S311 - order of texts, no secret
    for step in range(1, steps + 1):
        ids, mask, labels = data.batch(next(batches), device)
        ids = _disturb(ids, mask, vocabulary=model.config.vocab_size, mask_id=mask_id)
        with autocast(device):
            logits = model(input_ids=ids, attention_mask=mask).logits
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        balance.step()
        progress(step, loss.item() if step % 50 == 0 or step == steps else math.nan)
    balance.close()
    model.eval()


def _disturb(ids: Tensor, mask: Tensor, *, vocabulary: int, mask_id: int) -> Tensor:
    """Replaces some tokens of half of the texts by a mask or by any other token.

    A model that must do without some words learns to use all of them, which is what carries over to phrasings that
    it never saw. The first and last token of a text stay.
    """
    rate = (torch.rand(ids.shape[0], 1, device=ids.device) - 0.5).clamp(min=0) * 2 * _MAX_DISTURBED
    inner = mask.bool() & torch.roll(mask, -1, dims=1).bool()
    inner[:, 0] = inner[:, -1] = False
    hit = (torch.rand(ids.shape, device=ids.device) < rate) & inner
    noise = torch.randint(5, vocabulary, ids.shape, device=ids.device)
    noise[torch.rand(ids.shape, device=ids.device) < 0.5] = mask_id
    return torch.where(hit, noise, ids)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Returns bf16 autocast on a GPU and nothing on the CPU, where it would be slower."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def _groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _share(step: int, steps: int) -> float:
    warmup = max(1, int(steps * _WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return _FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))
