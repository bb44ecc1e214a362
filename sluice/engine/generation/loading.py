"""From a checkpoint to a generator: its model on a device, and as large a cache as there is room for."""

from __future__ import annotations

import torch

from sluice.domain.enums import Task, Tier
from sluice.engine.accelerator import TorchAccelerator
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import fault
from sluice.engine.checkpoint.task import CONFIG
from sluice.engine.generation.attention.backend import hindrance
from sluice.engine.generation.attention.layer_arguments import hand_down
from sluice.engine.generation.engine import ContinuousGenerator
from sluice.engine.generation.shape import shape_for
from sluice.engine.precision.loader import load_precise
from sluice.runtime.cpu import granted_cores
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.free_memory import free_memory_bytes

ACCELERATOR_TEXTS = 256
CPU_TEXTS = 16
# A copy that is staged beside its full model must leave that one its room.
_SHARE_OF_LESSER = 0.25


def open_generator(
    spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device, precision: str
) -> ContinuousGenerator:
    """Load `checkpoint` in `precision` on `device`. Its cache takes the share of the room that is left by `spec`.

    Raises InvalidRequest naming the file or field at fault, and MemoryError when there is no room.
    """
    on_cpu = device.type == "cpu"
    if on_cpu:
        torch.set_num_threads(spec.threads or granted_cores())
    model = load_precise(checkpoint.path, precision=precision, device=device, task=Task.TEXT_GENERATION)
    if missing := hindrance(model):
        raise fault(checkpoint.path, CONFIG, f"describes {missing}, which this release does not write texts with")
    room = spec.generation
    share = room.memory_share * (1.0 if spec.tier is Tier.FULL else _SHARE_OF_LESSER)
    free_bytes = free_memory_bytes() if on_cpu else TorchAccelerator(device).room_bytes()
    shape = shape_for(
        model.config.get_text_config(),
        device_type=device.type,
        dtype=model.dtype,
        texts=room.max_texts or (CPU_TEXTS if on_cpu else ACCELERATOR_TEXTS),
        max_tokens=checkpoint.max_tokens,
        memory_bytes=share * free_bytes,
    )
    # What hands arguments past a layer is not known to a compiler.
    compiles = not hand_down(model) and room.compiles and not on_cpu
    return ContinuousGenerator(spec, checkpoint, model, shape, precision=precision, compiles=compiles)
