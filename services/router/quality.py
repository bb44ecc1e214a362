"""How good a variant's answers are, as a share of the full model's, by the complexity of the text."""

from __future__ import annotations

from sluice.domain.enums import Tier
from sluice.domain.variant import Variant

BUCKETS = 8
# What is believed until it is measured: the intercept, and the slope over complexity.
BELIEVED = {Tier.FULL: (1.00, 0.00), Tier.QUANTIZED: (0.99, 0.02), Tier.LIGHT: (0.97, 0.10)}


def bucket_of(complexity: float) -> int:
    """The bucket of a complexity in [0, 1]: equally wide ones, the simplest first."""
    return min(BUCKETS - 1, max(0, int(complexity * BUCKETS)))


def relative_quality(variant: Variant, full: Variant | None) -> tuple[float, ...]:
    """Quality of `variant` over that of `full`, by bucket, at most 1: no copy is trusted to be better than the model.

    `full` is the model's full variant, if one was ever described. What is not measured is believed.
    """
    if variant.tier is Tier.FULL:
        return (1.0,) * BUCKETS
    own, reference = _measured(variant), _measured(full) if full is not None else ()
    if own and reference:
        return tuple(min(1.0, one / max(other, 1e-9)) for one, other in zip(own, reference, strict=True))
    start, slope = BELIEVED.get(variant.tier, BELIEVED[Tier.LIGHT])
    return tuple(start - slope * (place + 0.5) / BUCKETS for place in range(BUCKETS))


def _measured(variant: Variant) -> tuple[float, ...]:
    values = variant.quality_by_complexity
    if values:
        return tuple(values[int(place * len(values) / BUCKETS)] for place in range(BUCKETS))
    return (variant.quality,) * BUCKETS if variant.quality is not None else ()
