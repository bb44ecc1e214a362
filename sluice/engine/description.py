"""What routers are told of a checkpoint that a backend holds."""

from __future__ import annotations

from sluice.domain.variant import Variant, variant_id
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.worker.execution.backend import ModelSpec


def describe(spec: ModelSpec, checkpoint: Checkpoint, *, device: str, precision: str) -> Variant:
    """The variant that `checkpoint` is as it was asked for by `spec`, on a device of type `device`."""
    return Variant(
        id=variant_id(spec.model, spec.tier, precision),
        model=spec.model,
        tier=spec.tier,
        task=checkpoint.task,
        device=device,
        precision=precision,
        labels=checkpoint.labels,
        max_tokens=checkpoint.max_tokens,
        max_batch_size=spec.max_batch_size,
        quality=checkpoint.quality,
        quality_by_complexity=checkpoint.quality_by_complexity,
    )
