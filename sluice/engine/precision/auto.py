"""The best precision that a device has for a model: by what it can compute, and by what fits its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch

from sluice.domain.errors import InvalidRequest
from sluice.engine.accelerator import TorchAccelerator
from sluice.engine.checkpoint.weight_size import weight_bytes
from sluice.engine.precision.quantizers import FP8, INT4, quantizer_of
from sluice.worker.resources.memory import free_memory_bytes
from sluice.worker.resources.reading import MonitorError

# The rest of the memory that is free is for what is computed between the weights.
WEIGHTS_SHARE = 0.7
# A CPU is slower in anything but fp32, unless memory is what it lacks; an accelerator is slower in fp32.
CPU_ORDER = ("fp32", "mixed", FP8, INT4)
ACCELERATOR_ORDER = ("mixed", FP8, INT4)

logger = logging.getLogger(__name__)


def choose(
    order: Iterable[str], *, can: Callable[[str], bool], size_bytes: Callable[[str], float], room_bytes: float | None
) -> str:
    """The first of `order` that the device `can` compute and whose weights leave room for the rest.

    If none does, the smallest that it can: whether that fits shows when it is loaded. While nobody knows the room, all
    of them fit. Only what is needed to decide is asked. Raises ValueError if the device can compute none.
    """
    seen = []
    for precision in order:
        if can(precision):
            seen.append((size_bytes(precision), precision))
            if room_bytes is None or seen[-1][0] <= WEIGHTS_SHARE * room_bytes:
                return precision
    if not seen:
        raise ValueError("there is no precision to choose from")
    return min(seen)[1]


def best_precision(checkpoint: Path, device: torch.device) -> str:
    """What `choose` chooses for the weights of `checkpoint` on `device`, by its name in a variant."""
    on_cpu = device.type == "cpu"
    return choose(
        CPU_ORDER if on_cpu else ACCELERATOR_ORDER,
        can=partial(_can, device=device),
        size_bytes=partial(weight_bytes, checkpoint),
        room_bytes=_room_of(device),
    )


def _can(precision: str, *, device: torch.device) -> bool:
    if precision not in {FP8, INT4}:
        return True
    try:
        quantizer_of(precision, device)
    except InvalidRequest as error:
        logger.info("not a choice", extra={"precision": precision, "why": error.message})
        return False
    return True


def _room_of(device: torch.device) -> float | None:
    try:
        return free_memory_bytes() if device.type == "cpu" else TorchAccelerator(device).room_bytes()
    except (MonitorError, RuntimeError, AttributeError, NotImplementedError):
        return None
