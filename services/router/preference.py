"""Preference: the order in which a query class tries the tiers, and the fixed policy that looks at nothing else.

The policy is the control of experiments, `assignment: preference`. A tier that is down is passed over for the next in
the class's order, and never for one below the caller's minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from sluice.domain.enums import QueryClass, Tier

# First the tier made for the class, then the one that costs the caller least to fall over to.
PREFERENCE: Mapping[QueryClass, tuple[Tier, ...]] = {
    QueryClass.SIMPLE: (Tier.LIGHT, Tier.QUANTIZED, Tier.FULL),
    QueryClass.COMPLEX: (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED),
    QueryClass.REAL_TIME: (Tier.QUANTIZED, Tier.LIGHT, Tier.FULL),
}


def prefer(
    query_class: QueryClass,
    minimum_tier: Tier,
    *,
    serving: Mapping[Tier, Sequence[str]],
    offered: Collection[Tier],
    backlog: Callable[[str], float],
) -> tuple[str, Tier] | None:
    """A variant of one model and the better tier that was missed, if any; None when no acceptable tier is up.

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
            return chosen, intended if missed and intended else Tier.UNSPECIFIED
    return None
