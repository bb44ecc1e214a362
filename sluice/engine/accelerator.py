"""An accelerator as torch sees it, whichever it is: memory through torch's own interface, utilisation by who tells it.

No kind of device is named here. Utilisation is asked of the device's module of torch, which asks the vendor's library
where that is installed (pynvml, amdsmi), or else of a plug-in: an entry point of the group `sluice.utilization`, named
as torch names the type of device, which is called with the device's index and returns a share from 0 to 1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import torch

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import is_out_of_memory

logger = logging.getLogger(__name__)


# Whether a device is lost: only where it says so, and a trial fails as well.


# Libraries and kernels of a device raise plain RuntimeErrors that name it.
_OF_A_DEVICE = re.compile(r"\b(CUDA|cuBLAS|CUBLAS|cuDNN|CUDNN|NCCL|HIP|XPU|MPS|Level.Zero)\b", re.IGNORECASE)


def is_of_device(error: BaseException) -> bool:
    """Whether the device, its driver or its libraries said that something is wrong with a computation of theirs.

    Shortage of memory is not: the device goes on as before.
    """
    if isinstance(error, Exception) and is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and _OF_A_DEVICE.search(str(error)) is not None
    )


def computes(device: torch.device) -> bool:
    """Try `device`: whether it adds one and one. After a fault that broke its context it does nothing any more."""
    try:
        return torch.ones(1, device=device).add_(1).item() == 2
    except RuntimeError as error:
        return is_out_of_memory(error)


def is_lost(error: BaseException, device: torch.device) -> bool:
    """Whether what `error` tells of is the end of `device` for this process."""
    return is_of_device(error) and not computes(device)


PLUG_INS = "sluice.utilization"
_PERCENT = 100


class TorchAccelerator:
    """Reads `device`. Every method may raise what torch or the driver raise."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module: Any = torch.get_device_module(device)
        self._share = _share_of(device, self._module)

    def memory_bytes(self) -> tuple[float, float]:
        """Free, and in all; other programs' use of the device counts as not free."""
        most = getattr(self._module, "recommended_max_memory", None)
        if most is None:
            free, total = torch.accelerator.get_memory_info(self._device)
            return free, total
        # Memory that is shared with the CPU: the system says how much of it the device had better use.
        total = most()
        return max(0, total - self._module.driver_allocated_memory()), total

    def reusable_bytes(self) -> float:
        """What torch's caching allocator holds for its next tensors."""
        accelerator = torch.accelerator
        reserved, allocated = accelerator.memory_reserved(self._device), accelerator.memory_allocated(self._device)
        return float(max(0, reserved - allocated))

    def utilization(self) -> float | None:
        """The share of time in which the device computed, if anybody tells."""
        return None if self._share is None else self._share()

    def room_bytes(self) -> float:
        """What may still be taken: free, or held and not in use."""
        return self.memory_bytes()[0] + self.reusable_bytes()


def pick_device(name: str) -> torch.device:
    """The device that `name` means; `auto` is the accelerator if there is one, else the CPU.

    Raises InvalidRequest when torch has no such device here.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator if accelerator is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidRequest(
            f"device '{name}' cannot be used: {' '.join(str(error).split())}", field="device"
        ) from error
    return device


def device_name(kind: str) -> str:
    """What the current device of type `kind` calls itself, or `kind` where torch cannot ask it."""
    try:
        return str(torch.get_device_module(kind).get_device_name())
    except (RuntimeError, AttributeError, AssertionError):
        return kind


def _share_of(device: torch.device, module: Any) -> Callable[[], float] | None:
    index = device.index or 0
    for plug_in in entry_points(group=PLUG_INS, name=device.type):
        tell = plug_in.load()
        return lambda: float(tell(index))
    percent = getattr(module, "utilization", None)
    if percent is None:
        return None
    try:
        percent(device)
    except Exception as error:  # the vendor's library is missing, or will not speak
        logger.info("the driver tells no utilisation", extra={"device": str(device), "why": str(error)})
        return None
    return lambda: float(percent(device)) / _PERCENT
