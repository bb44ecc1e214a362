"""A mixture of few experts, computed by giving every token to all of them: two large products instead of many small.

What a router did not choose is multiplied by nought. That takes some times as many operations, and on an accelerator a
fraction of the time: tokens need not be sorted, nobody waits for their counts, and autocast applies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

_NAME = "sluice_all_experts"
_MOST_OPERATIONS = 4
"""How many times the operations of the chosen experts this may take."""


def compute_all_experts(model: Any, device: torch.device) -> None:
    """Have `model`, which is to run on `device`, give its tokens to all experts, if that is an accelerator and pays.

    Nothing changes for a model without experts, with many, or of a kind that transformers computes otherwise. What is
    saved of the model stays the same.
    """
    experts = [module for module in model.modules() if hasattr(module, "gate_up_proj") and hasattr(module, "has_gate")]
    chosen = getattr(model.config, "num_experts_per_tok", None)
    if device.type == "cpu" or not experts or not chosen or not all(_is_plain(one) for one in experts):
        return
    if experts[0].num_experts > _MOST_OPERATIONS * chosen:
        return
    ALL_EXPERTS_FUNCTIONS.register(_NAME, all_experts)
    model.set_experts_implementation(_NAME)


def all_experts(module: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The output of the experts in `module`, tokens x width, as transformers' interface for experts has it.

    `hidden` is tokens x width; `chosen` and `weights` name each token's experts and what they weigh.
    """
    shares = torch.zeros(len(hidden), module.num_experts, dtype=weights.dtype, device=weights.device)
    shares = shares.scatter(1, chosen, weights)
    both = functional.linear(hidden, module.gate_up_proj.flatten(0, 1))
    inner = module._apply_gate(both.view(len(hidden), module.num_experts, -1))  # noqa: SLF001 - part of that interface
    weighed = (inner * shares.unsqueeze(-1).to(inner.dtype)).flatten(1)
    return functional.linear(weighed, module.down_proj.transpose(0, 1).flatten(1)).to(hidden.dtype)


def _is_plain(module: nn.Module) -> bool:
    """Whether gate and projection are one matrix, of rows for outputs, and there is no bias."""
    wanted = {"has_gate": True, "has_bias": False, "is_transposed": False, "is_concatenated": True}
    return all(getattr(module, name, None) is value for name, value in wanted.items())
