"""Mixed precision, in one place: what a model computes in while it learns, and how small gradients survive fp16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "fp16")
_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
_MAX_GRADIENT_NORM = 1.0


def pick_precision(name: str, device: torch.device) -> str:
    """The precision that `name` means on `device`: one of PRECISIONS, or AUTO.

    AUTO is fp32 on the CPU, where anything else would be slower, and on an accelerator bf16 if it computes in that
    natively. One that does not gets fp16, and one that does not tell fp32.
    """
    if name != AUTO:
        return name
    if device.type == "cpu":
        return "fp32"
    tell = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    if tell is None:
        return "fp32"
    return "bf16" if tell(including_emulation=False) else "fp16"


class MixedPrecision:
    """Weights in fp32 and their use in `precision`, by torch's autocast; gradients of fp16 are scaled.

    Source of the scaling: P. Micikevicius et al., "Mixed Precision Training" (ICLR 2018), as in torch.amp: a step
    whose gradients overflowed is left out, and the next ones are scaled by half as much.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        self._device = device
        self._narrow = _NARROW.get(precision)
        self.scales = precision == "fp16"
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.scales)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which models are asked."""
        if self._narrow is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._narrow)

    def step(self, loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """One step of `optimizer` down the gradient of `loss`, whose norm over the whole model is at most 1."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad(set_to_none=True)

    def is_exhausted(self) -> bool:
        """Whether so many steps in a row were left out that no scale is left: nothing will be learned any more."""
        return self.scales and self._scaler.get_scale() < 1.0

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on; empty where nothing is scaled."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        if self.scales:
            self._scaler.load_state_dict(state)
