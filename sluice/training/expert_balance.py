"""Keeps the experts of a DeepSeek-V3 model equally busy while it is trained, without an auxiliary loss.

Source: L. Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts" (2024), as used by
DeepSeek-V3: after each step, the routing bias of an overloaded expert goes down by a fixed rate, of an idle one up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_RATE = 1e-3


class ExpertBalance:
    """Counts the tokens that each expert was given and adjusts the routers' biases; does nothing without experts."""

    def __init__(self, model: nn.Module) -> None:
        self._routers = [module for module in model.modules() if hasattr(module, "e_score_correction_bias")]
        self._loads: dict[int, Tensor] = {}
        self._handles = [router.register_forward_hook(self._count) for router in self._routers]

    def _count(self, router: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
        if router.training:
            bias = router.e_score_correction_bias
            assert isinstance(bias, Tensor)  # noqa: S101 - tells the type checker what DeepSeek's router holds
            chosen = output[2].flatten()
            # Unlike bincount, this waits for nothing on an accelerator.
            self._loads[id(router)] = torch.zeros_like(bias).index_add_(
                0, chosen, torch.ones_like(chosen, dtype=bias.dtype)
            )

    @torch.no_grad()
    def step(self) -> None:
        """Moves each router's bias by one rate towards an even load."""
        for router in self._routers:
            load = self._loads.pop(id(router))
            bias = router.e_score_correction_bias
            assert isinstance(bias, Tensor)  # noqa: S101 - as above
            bias += _RATE * torch.sign(load.mean() - load)

    def close(self) -> None:
        """Takes the counters off the model."""
        for handle in self._handles:
            handle.remove()
