"""Groups of workers, as admission is told of them."""

from __future__ import annotations

from services.router.admission.resource_map import WorkerGroup
from sluice.domain.enums import Task, Tier
from sluice.domain.variant import Variant, variant_id


def variant(model: str = "m", tier: Tier = Tier.FULL, *, generates: bool = False) -> Variant:
    """A card."""
    task = Task.TEXT_GENERATION if generates else Task.TEXT_CLASSIFICATION
    return Variant(id=variant_id(model, tier, "fp32"), model=model, tier=tier, task=task)


def group(*variants: Variant, workers: tuple[str, ...] = ("w1",)) -> WorkerGroup:
    """Workers that serve these variants."""
    generates = all(one.task is Task.TEXT_GENERATION for one in variants)
    return WorkerGroup(generates=generates, workers=frozenset(workers), variants=variants)


VARIANT = variant()
GROUP = group(VARIANT)
