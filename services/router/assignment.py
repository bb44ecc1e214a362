"""Assignment: which variant answers a request. Pure; the policy of this release is a preference per query class.

A tier that is down is passed over for the next in the class's order, and never for one below the caller's minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sluice.tier import QueryClass, Tier

# First the tier made for the class, then the one that costs the caller least to fall over to.
PREFERENCE: Mapping[QueryClass, tuple[Tier, ...]] = {
    QueryClass.SIMPLE: (Tier.LIGHT, Tier.QUANTIZED, Tier.FULL),
    QueryClass.COMPLEX: (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED),
    QueryClass.REAL_TIME: (Tier.QUANTIZED, Tier.LIGHT, Tier.FULL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The variant that shall answer, and the better tier that would have at full service, if any."""

    variant_id: str
    degraded_from: Tier


def assign(
    query_class: QueryClass,
    minimum_tier: Tier,
    *,
    serving: Mapping[Tier, Sequence[str]],
    offered: frozenset[Tier],
    backlog: Callable[[str], float],
) -> Assignment | None:
    """Choose a variant of one model, or None when no acceptable tier is up.

    `serving` holds the ids of the variants that workers serve now, by tier; `offered` the tiers in which the model has
    ever been served; `backlog` says how much work waits for a variant, in any unit. `query_class` must be specified.
    """
    order = [tier for tier in PREFERENCE[query_class] if tier >= minimum_tier]
    intended = next((tier for tier in order if tier in offered), None)
    for tier in order:
        variants = serving.get(tier)
        if variants:
            chosen = variants[0] if len(variants) == 1 else min(variants, key=lambda name: (backlog(name), name))
            missed = intended is not None and tier < intended
            return Assignment(variant_id=chosen, degraded_from=intended if missed and intended else Tier.UNSPECIFIED)
    return None
