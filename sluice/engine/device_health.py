"""Whether a device is lost: only where it says so, and a trial fails as well."""

from __future__ import annotations

import re

import torch

from sluice.engine.out_of_memory import is_out_of_memory

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
