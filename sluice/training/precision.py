"""Mixed precision, in one place: what a model computes in while it learns, and how small gradients survive fp16."""

from __future__ import annotations

import inspect
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sluice.runtime.cpu import CPU_INFO, read_cpu_info

AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "fp16")
_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
_MAX_GRADIENT_NORM = 1.0
_PROBE_WIDTH = 16
# What multiplies bf16 matrices in hardware of its own. With AVX-512's bf16 alone, which only widens what it multiplies,
# two of the demo's three models learned more slowly than in fp32.
_MATRIX_UNIT = "amx_bf16"


def pick_precision(name: str, device: torch.device, *, cpu_info: Path = CPU_INFO) -> str:
    """The precision that `name` means on `device`: one of PRECISIONS, or AUTO.

    AUTO is bf16 on an accelerator that computes in that natively, fp16 on one that only does in that, else fp32. On the
    CPU it is fp32, unless `cpu_info` tells of a unit for products of bf16 matrices.
    """
    if name != AUTO:
        return name
    if device.type == "cpu":
        return "bf16" if _MATRIX_UNIT in read_cpu_info(cpu_info).get("flags", "").split() else "fp32"
    told = _tells_bf16(device)
    if told or (told is None and _learns("bf16", device)):
        return "bf16"
    return "fp16" if _learns("fp16", device) else "fp32"


def _tells_bf16(device: torch.device) -> bool | None:
    """Whether the device says that it computes in bf16 without emulation; None: it does not say."""
    tell = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    if tell is None:
        return None
    asks_for_emulation = "including_emulation" in inspect.signature(tell).parameters
    return bool(tell(including_emulation=False) if asks_for_emulation else tell())


def _learns(precision: str, device: torch.device) -> bool:
    """Whether a layer on `device` takes a step in `precision`, scaling of its gradients included."""
    layer = nn.utils.skip_init(nn.Linear, _PROBE_WIDTH, 1, device=device)  # type: ignore[no-untyped-call]
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    try:
        with warnings.catch_warnings():
            # Autocast warns of a type that it does not know, and goes on in fp32.
            warnings.simplefilter("ignore")
            arithmetic = MixedPrecision(precision, device)
            with arithmetic.autocast():
                said = layer(torch.ones(1, _PROBE_WIDTH, device=device))
        arithmetic.step(said.float().sum(), layer, torch.optim.SGD(layer.parameters()))
    except RuntimeError:
        return False
    return said.dtype is _NARROW[precision]


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
