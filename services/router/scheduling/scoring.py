"""Assignment: which variant answers a request. Pure: load, prices and dice are arguments.

Among the variants that will answer in time, with the certainty that a request of its importance is owed, the one that
is worth most at the present prices of device time: quality weighed by priority and by the chance to be in time, less
what the device time costs. That maximises the quality of answers in time under the devices' capacity, as Proteus
(Ahmad et al., ASPLOS 2024) does with an integer program, one request at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from services.router.requests.device_pool import DevicePool, price_multiplier
from services.router.scheduling.capacity_snapshot import VariantCapacity
from services.router.scheduling.latency_estimator import Candidate
from services.router.scheduling.prices import LOWEST
from sluice.domain.enums import QueryClass, Tier

# Preference: the order in which a query class tries the tiers, and the fixed policy that looks at nothing else.
#
# The policy is the control of experiments, `assignment: preference`. A tier that is down is passed over for the next
# in the class's order, and never for one below the caller's minimum.


# First the tier made for the class, then the one that costs the caller least to fall over to.
PREFERENCE: Mapping[QueryClass, tuple[Tier, ...]] = {
    QueryClass.SIMPLE: (Tier.LIGHT, Tier.QUANTIZED, Tier.FULL),
    QueryClass.COMPLEX: (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED),
    QueryClass.REAL_TIME: (Tier.QUANTIZED, Tier.LIGHT, Tier.FULL),
}


def fixed_order_pick(
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
    undegraded_tier = next((tier for tier in order if tier in offered), None)
    for tier in order:
        variants = serving.get(tier)
        if variants:
            chosen = variants[0] if len(variants) == 1 else min(variants, key=lambda name: (backlog(name), name))
            missed = undegraded_tier is not None and tier < undegraded_tier
            return chosen, undegraded_tier if missed and undegraded_tier else Tier.UNSPECIFIED
    return None


# The probability of being in time that a variant must offer: to hot requests, to others, and to the least important.
OWED_HOT = 0.95
OWED = 0.90
OWED_LEAST = 0.80
LEAST_PRIORITY = 0.5
# What hot requests, and those that lost their worker, try rather than be refused.
LAST_HOPE = 0.3
PRIORITY_WEIGHT = 4.0
# What an answer loses of its worth when it takes all the time there is.
HASTE = 0.25
# What the tiers that a named query class prefers are better than their quality, by their place in its order.
PREFERRED = (0.5, 0.25, 0.0)
# An estimate that is no longer than this many times that of an idle router is one of an idle variant.
IDLE = 1.25
# A conversation changes its variant for no less than this share of the score.
FAITHFUL = 0.1


@dataclass(slots=True, kw_only=True)
class SchedulingRequest:
    """What a request is, to assignment. `query_class` is the caller's own, or UNSPECIFIED.

    `slack_s` is its time left; `bucket` that of its complexity; `kept` the variant that answered its conversation.
    `diverted` keeps it off the accelerators and `lightened` off the full tier, where anybody else can serve it. With
    no variant that is certain enough it takes the likeliest, if that has at least the chance `hope`.
    """

    query_class: QueryClass
    minimum_tier: Tier
    priority: float
    hot: bool
    slack_s: float
    bucket: int
    tokens: int
    hope: float
    kept: str = ""
    diverted: bool = False
    lightened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The variant that shall answer, in which pool, for how much of a device's time per token.

    `degraded_from` is the better tier that would have answered at full service without load, if any, and
    `diverted_token_s` the accelerator's time per token that keeping off it has saved.
    """

    variant_id: str
    degraded_from: Tier
    pool: DevicePool
    token_s: float
    diverted_token_s: float = 0.0


class Cause(IntEnum):
    """Why nobody shall answer."""

    NOBODY = 0
    """No acceptable tier is served."""
    TOO_LATE = 1
    """Nobody could answer in time even if there were no other work."""
    TOO_BUSY = 2
    """Others stand before it, and it would be too late behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The cause, and how much sooner the likeliest variant would have to be free.

    `slack_s` is the time that the request has left, and `fastest_s` what its fastest variant needs on an idle worker.
    """

    cause: Cause
    excess_s: float = 0.0
    slack_s: float = 0.0
    fastest_s: float = 0.0


def pick(
    ask: SchedulingRequest,
    options: Sequence[Candidate],
    *,
    prices: Sequence[float],
    best: Mapping[Tier, VariantCapacity],
) -> Assignment | Refused:
    """Choose among `options`, one for each variant and crew, at `prices` by pool.

    `best` are the model's tiers at their best, served now or not.
    """
    acceptable = [option for option in options if option.offer.tier >= ask.minimum_tier]
    if not acceptable:
        return Refused(cause=Cause.NOBODY)
    permitted = filter_by_level(acceptable, ask)
    owed = required_probability(ask)
    certain = [option for option in permitted if option.chance >= owed]
    if not certain and len(permitted) < len(acceptable):
        certain = [option for option in acceptable if option.chance >= owed]
    if certain:
        chosen = _choose(ask, certain, prices)
    else:
        chosen = max(acceptable, key=lambda option: (option.chance, -option.expected_s))
        if chosen.chance < ask.hope:
            return _refuse(ask, acceptable)
    offer = chosen.offer
    return Assignment(
        variant_id=offer.variant_id,
        degraded_from=_missed(ask, offer.tier, best),
        pool=offer.pool,
        token_s=offer.token_s,
        diverted_token_s=_diverted(ask, acceptable, prices) if ask.diverted and offer.pool is DevicePool.CPU else 0.0,
    )


def probe_refused(ask: SchedulingRequest, options: Sequence[Candidate]) -> Candidate | None:
    """What to probe with a request that would be refused: of the variants that are idle, the one that may be soonest.

    A variant that has work to do is late for a reason, and none is probed that the request does not accept.
    """
    idle = [one for one in options if one.offer.tier >= ask.minimum_tier and is_idle(ask, one)]
    return min(idle, key=lambda one: one.expected_s, default=None)


def probe_avoided(
    ask: SchedulingRequest, options: Sequence[Candidate], chosen: Assignment, prices: Sequence[float]
) -> Sequence[Candidate]:
    """What might be worth more than `chosen`, if only it were fast: the best first.

    Nothing for a hot request, which a probe must not cost its deadline.
    """
    if ask.hot:
        return ()
    acceptable = filter_by_level([one for one in options if one.offer.tier >= ask.minimum_tier], ask)
    scores = [score(ask, one, prices) for one in acceptable if one.offer.variant_id == chosen.variant_id]
    if not scores:
        return ()
    others = [one for one in acceptable if one.offer.variant_id != chosen.variant_id and is_idle(ask, one)]
    worth = [(score(ask, Candidate(one.offer, 0.0, 1.0), prices), place) for place, one in enumerate(others)]
    return [others[place] for value, place in sorted(worth, reverse=True) if value > max(scores)]


def is_idle(ask: SchedulingRequest, option: Candidate) -> bool:
    """Whether the request would hardly wait there for the work of others."""
    return option.expected_s <= IDLE * option.offer.alone_s(ask.tokens)


def as_probe(ask: SchedulingRequest, option: Candidate, best: Mapping[Tier, VariantCapacity]) -> Assignment:
    """The assignment of a request that probes `option`."""
    offer = option.offer
    return Assignment(
        variant_id=offer.variant_id,
        degraded_from=_missed(ask, offer.tier, best),
        pool=offer.pool,
        token_s=offer.token_s,
    )


def filter_by_level(options: Sequence[Candidate], ask: SchedulingRequest) -> Sequence[Candidate]:
    """What the levels in force leave of `options`: a level steers, and never takes the last one away."""
    if ask.lightened:
        options = [option for option in options if option.offer.tier is not Tier.FULL] or options
    if ask.diverted:
        options = [option for option in options if option.offer.pool is DevicePool.CPU] or options
    return options


def required_probability(ask: SchedulingRequest) -> float:
    """How certain a variant must be for this request."""
    if ask.hot:
        return OWED_HOT
    return OWED if ask.priority >= LEAST_PRIORITY else OWED_LEAST


def score(ask: SchedulingRequest, option: Candidate, prices: Sequence[float]) -> float:
    """What `option` is worth to the request, at `prices` by pool, in units of a full answer of no importance."""
    offer = option.offer
    value = offer.quality[ask.bucket]
    if ask.query_class is not QueryClass.UNSPECIFIED:
        value += PREFERRED[PREFERENCE[ask.query_class].index(offer.tier)]
    # An answer in the last moment is worth less than one at once: so work spreads over those who could do it.
    freshness = 1.0 - HASTE * min(1.0, option.expected_s / ask.slack_s)
    worth = (1.0 + PRIORITY_WEIGHT * ask.priority) * option.chance * value * freshness
    return worth - price_multiplier(offer.pool, hot=ask.hot) * prices[offer.pool] * offer.relative_cost


def _choose(ask: SchedulingRequest, certain: Sequence[Candidate], prices: Sequence[float]) -> Candidate:
    if len(certain) == 1:
        return certain[0]
    scores = [score(ask, option, prices) for option in certain]
    most = max(scores)
    top = certain[scores.index(most)]
    if ask.kept and top.offer.variant_id != ask.kept:
        kept = [place for place, option in enumerate(certain) if option.offer.variant_id == ask.kept]
        if kept:
            own = max(kept, key=scores.__getitem__)
            if most - scores[own] <= FAITHFUL * abs(scores[own]):
                return certain[own]
    return top


def undegraded_tier(ask: SchedulingRequest, best: Mapping[Tier, VariantCapacity]) -> Tier:
    """The tier that would answer at full service, with all of the model's tiers up and no other work."""
    able = [
        offer for tier, offer in best.items() if tier >= ask.minimum_tier and offer.alone_s(ask.tokens) <= ask.slack_s
    ]
    if not able:
        return Tier.UNSPECIFIED
    idle = [Candidate(offer, 0.0, 1.0) for offer in able]
    return _choose(ask, idle, [LOWEST for _ in DevicePool]).offer.tier


def _missed(ask: SchedulingRequest, tier: Tier, best: Mapping[Tier, VariantCapacity]) -> Tier:
    if tier is Tier.FULL:
        return Tier.UNSPECIFIED
    better = undegraded_tier(ask, best)
    return better if better > tier else Tier.UNSPECIFIED


def _diverted(ask: SchedulingRequest, acceptable: Iterable[Candidate], prices: Sequence[float]) -> float:
    """The accelerator's time per token that the request would have taken had it not been kept off."""
    certain = [option for option in acceptable if option.chance >= required_probability(ask)]
    if not certain:
        return 0.0
    offer = _choose(ask, certain, prices).offer
    return offer.token_s if offer.pool is DevicePool.ACCELERATOR else 0.0


def _refuse(ask: SchedulingRequest, acceptable: Sequence[Candidate]) -> Refused:
    soonest = min(acceptable, key=lambda option: option.expected_s)
    fastest_s = min(option.offer.alone_s(ask.tokens) for option in acceptable)
    if fastest_s > ask.slack_s:
        return Refused(cause=Cause.TOO_LATE, slack_s=ask.slack_s, fastest_s=fastest_s)
    return Refused(cause=Cause.TOO_BUSY, excess_s=max(0.0, soonest.expected_s - ask.slack_s))
