"""The training loop: AdamW, warm-up then cosine decay, bf16 autocast where the device is a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import Any

import torch
from torch.nn import functional

from sluice.training.encoding import Encoded, shuffled_rows
from sluice.training.expert_balance import ExpertBalance
from sluice.training.recipe import Recipe

_WARMUP_SHARE = 0.05
_FINAL_SHARE = 0.02
_MAX_GRADIENT_NORM = 1.0

Progress = Callable[[int, float], None]
"""Called after each step with the step's number and its loss, which is NaN between two readings of the device."""


def train(
    model: Any, recipe: Recipe, data: Encoded, *, device: torch.device, steps: int, seed: int, progress: Progress
) -> None:
    """Trains `model` in place for `steps` batches of `data`; leaves it on `device` in evaluation mode."""
    torch.manual_seed(seed)
    model.to(device).train()
    optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    balance = ExpertBalance(model)
    batches = shuffled_rows(data, recipe.batch_size, Random(seed))  # noqa: S311 - order of texts, no secret
    for step in range(1, steps + 1):
        ids, mask, labels = data.batch(next(batches), device)
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
